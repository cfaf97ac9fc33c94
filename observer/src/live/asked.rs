//! What the person asks for beyond what the kernel side can test.

use std::borrow::Cow;
use std::collections::VecDeque;

use anyhow::Result;
use observer_common::{DropEvent, flag, hook_flag};

use super::filter::Namespaces;
use crate::cli::expression::{Expression, Seen};
use crate::cli::watch::Narrowed;
use crate::report::record::{Event, Line, Matched};
use crate::trace::{Way, device, packet, tuple};

/// So many are kept of what was asked before: what died under it has long been told.
const MOST_KEPT: usize = 32;

/// What is asked, and what was asked before: each with the moment of `CLOCK_MONOTONIC` from which on.
pub(super) struct Asked(VecDeque<(u64, Question)>);

/// What a packet is held against.
enum Question {
    /// What the kernel side tests is all.
    Nothing,
    Expression(Expression),
    /// No packet matches.
    Nobody,
}

impl Asked {
    /// # Errors
    /// A namespace that is not there.
    pub(super) fn of(narrowed: &Narrowed, namespaces: &mut Namespaces) -> Result<Self> {
        let question = Question::of(narrowed, namespaces)?;
        Ok(Self(VecDeque::from([(0, question)])))
    }

    /// From this moment on something else is asked.
    ///
    /// # Errors
    /// A namespace that is not there.
    pub(super) fn change(
        &mut self,
        from_ns: u64,
        narrowed: &Narrowed,
        namespaces: &mut Namespaces,
    ) -> Result<()> {
        let question = Question::of(narrowed, namespaces)?;
        if self.0.len() >= MOST_KEPT {
            self.0.pop_front();
        }
        self.0.push_back((from_ns, question));
        Ok(())
    }

    /// What was asked then.
    fn at(&self, then_ns: u64) -> &Question {
        let mut newest_first = self.0.iter().rev();
        let then = newest_first.find(|(from_ns, _)| *from_ns <= then_ns);
        then.or(self.0.front())
            .map_or(&Question::Nothing, |(_, question)| question)
    }

    /// The record as it is, where the kernel side tests all; else it says which view matched, or that it only keeps the counters' books
    /// straight, as the kernel side says of what does not match the filter.
    pub(super) fn of_drop<'a>(&self, event: &'a DropEvent) -> Cow<'a, DropEvent> {
        let question = self.at(event.time_ns);
        if matches!(question, Question::Nothing) || event.flags & flag::BOOKKEEPING != 0 {
            return Cow::Borrowed(event);
        }
        let names = [device(&event.dev_name), device(&event.route_name)];
        let mut seen = Seen::headers(&packet(event)).within(event.netns_inode);
        if event.flags & flag::CONN != 0 {
            let conn = &event.conn;
            seen = seen.in_connection(&tuple(&conn.original), &tuple(&conn.reply), conn.original.proto);
        }
        let seen = names.iter().fold(seen, |seen, name| seen.at(name.as_deref()));
        let mut told = *event;
        match question.matched(&seen) {
            Some(view) => told.matched = number(view),
            None => told.flags |= flag::BOOKKEEPING,
        }
        Cow::Owned(told)
    }

    /// The line of a packet that lives, if it is asked for.
    pub(super) fn line(&self, mut line: Line, way: &Way) -> Option<Line> {
        let question = way
            .last()
            .map_or(&Question::Nothing, |last| self.at(last.time_ns));
        let Event::Path(told) = &mut line.event else {
            return Some(line);
        };
        if matches!(question, Question::Nothing) {
            return Some(line);
        }
        let mut seen = Seen::headers(&told.packet);
        if let Some(last) = way.last().filter(|last| last.flags & hook_flag::CONN != 0) {
            let conn = &last.conn;
            seen = seen.in_connection(&tuple(&conn.original), &tuple(&conn.reply), conn.original.proto);
        }
        let namespaces = told.path.iter().filter_map(|passage| passage.netns.as_ref());
        let seen = namespaces
            .chain(&told.netns)
            .fold(seen, |seen, netns| seen.within(netns.inode));
        let devices = told
            .path
            .iter()
            .flat_map(|passage| [&passage.in_dev, &passage.out_dev]);
        let seen = devices.fold(seen, |seen, name| seen.at(name.as_deref()));
        let matched = question.matched(&seen)?;
        told.matched = Some(matched);
        Some(line)
    }
}

impl Question {
    fn of(narrowed: &Narrowed, namespaces: &mut Namespaces) -> Result<Self> {
        if narrowed.is_nobody {
            return Ok(Self::Nobody);
        }
        let Some(expression) = narrowed.expression.clone() else {
            return Ok(Self::Nothing);
        };
        let resolved = expression.resolved(|netns| namespaces.inode(netns))?;
        Ok(Self::Expression(resolved))
    }

    /// The first view that it holds for.
    fn matched(&self, seen: &Seen<'_>) -> Option<Matched> {
        match self {
            Self::Expression(expression) => expression.matched(seen),
            Self::Nothing | Self::Nobody => None,
        }
    }
}

/// As the kernel side has it.
fn number(view: Matched) -> u8 {
    let kernels = match view {
        Matched::Headers => observer_common::Matched::Headers,
        Matched::Original => observer_common::Matched::Original,
        Matched::Reply => observer_common::Matched::Reply,
    };
    kernels as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::filter::FilterSpec;

    fn narrowed(host: Option<&str>) -> Narrowed {
        let filter = FilterSpec {
            hosts: host.iter().map(|host| host.parse().expect("a network")).collect(),
            ..FilterSpec::default()
        };
        Narrowed {
            expression: Expression::of(&filter),
            is_nobody: host.is_none(),
            filter,
            ..Narrowed::default()
        }
    }

    /// The hosts that are asked for in turn, each from that time on.
    fn asked(turns: &[(u64, Option<&str>)]) -> Asked {
        let mut namespaces = Namespaces::default();
        let mut asked = Asked::of(&narrowed(turns[0].1), &mut namespaces).expect("asked");
        for (from_ns, host) in &turns[1..] {
            asked
                .change(*from_ns, &narrowed(*host), &mut namespaces)
                .expect("asked");
        }
        asked
    }

    fn is_told(asked: &Asked, then_ns: u64, dst: &str) -> bool {
        let packet = crate::report::record::Packet {
            dst: Some(dst.parse().expect("an address")),
            ..crate::report::record::Packet::default()
        };
        asked.at(then_ns).matched(&Seen::headers(&packet)).is_some()
    }

    #[test]
    fn a_packet_is_held_against_what_was_asked_at_its_time() {
        let asked = asked(&[
            (0, Some("10.0.0.5/32")),
            (100, Some("10.0.0.9/32")),
            (200, None),
            (300, Some("10.0.0.5/32")),
        ]);
        for (then_ns, old, new) in [
            (0, true, false),
            (99, true, false),
            (100, false, true),
            (199, false, true),
            (200, false, false),
            (300, true, false),
            (u64::MAX, true, false),
        ] {
            assert_eq!(is_told(&asked, then_ns, "10.0.0.5"), old, "{then_ns}");
            assert_eq!(is_told(&asked, then_ns, "10.0.0.9"), new, "{then_ns}");
        }
    }

    #[test]
    fn what_is_too_long_ago_is_held_against_the_oldest_that_is_kept() {
        let turns: Vec<(u64, Option<&str>)> = (0..100)
            .map(|turn| {
                (
                    turn * 10,
                    Some(if turn < 50 { "10.0.0.5/32" } else { "10.0.0.9/32" }),
                )
            })
            .collect();
        let asked = asked(&turns);
        assert_eq!(asked.0.len(), MOST_KEPT);
        assert!(is_told(&asked, 0, "10.0.0.9"));
    }
}
