//! Counters that rise, on the screen: the first time in full, then how many packets and how fast, seldom enough to be read.

use std::collections::BTreeMap;

use super::block::{hint, render, rule_text};
use super::clock::{second_of_day, span, time_of_day};
use super::layout::{Row, Tone};
use super::record::{Cause, CounterEffect, CounterLine, CounterMatch, Line, Time};
use super::terminal::Look;
use super::words;

/// So many counters are told apart; others are told in full again.
const MAX_COUNTERS: usize = 1024;
/// At least this long between two counts of one counter, in nanoseconds.
const SHORTEST_NS: u64 = 1_000_000_000;
/// A counter that goes on rising is told of this often.
const LONGEST_NS: u64 = 10_000_000_000;

/// What has been told of counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By namespace, words and the rule's text: after a change another rule may have the number.
    told: BTreeMap<(u32, String, Option<String>), Told>,
}

#[derive(Debug)]
struct Told {
    /// Whose counter, in words.
    what: String,
    /// Packets that have been told of, and those that have been shown.
    total: u64,
    shown: u64,
    /// Between these moments.
    last: Time,
    shown_at: Time,
}

impl Counters {
    /// The rows for a counter that has risen; none if it has been told in full before and is not due.
    pub(super) fn line(&mut self, line: &Line, counter: &CounterLine, look: Look) -> String {
        let inode = counter.netns.as_ref().map_or(0, |netns| netns.inode);
        let words = words::counter(&counter.counter);
        let rule = counter.counter.rule.as_ref();
        let key = (inode, words.clone(), rule.and_then(|rule| rule.text.clone()));
        if let Some(told) = self.told.get_mut(&key) {
            told.total = told.total.saturating_add(counter.packets);
            told.last = line.time;
            return String::new();
        }
        if self.told.len() >= MAX_COUNTERS {
            self.told.clear();
        }
        let place = words::counter_place(counter, &line.node);
        self.told.insert(
            key,
            Told {
                what: format!("{words} {place}"),
                total: counter.packets,
                shown: counter.packets,
                last: line.time,
                shown_at: line.time,
            },
        );
        block(line, counter, &words, &place, look)
    }

    /// What has risen since it was shown and is due.
    pub(super) fn due(&mut self, now: Time, look: Look) -> String {
        self.take(now, look, |told| {
            let since = now.nanos_since(told.shown_at);
            (told.total >= 2 * told.shown && since >= SHORTEST_NS) || since >= LONGEST_NS
        })
    }

    /// What has risen since it was shown.
    pub(super) fn rest(&mut self, now: Time, look: Look) -> String {
        self.take(now, look, |_| true)
    }

    fn take(&mut self, now: Time, look: Look, is_due: impl Fn(&Told) -> bool) -> String {
        let due = self
            .told
            .values_mut()
            .filter(|told| told.total > told.shown && is_due(told));
        let rows = due.map(|told| {
            let (packets, nanos) = (told.total - told.shown, told.last.nanos_since(told.shown_at));
            let words = format!(
                "in {} since {} ({})  {}",
                span(nanos),
                second_of_day(told.shown_at),
                rate(per_second(packets, nanos)),
                told.what
            );
            (told.shown, told.shown_at) = (told.total, told.last);
            Row {
                time: time_of_day(now),
                tone: Tone::Alarm,
                ..Row::new(&format!("+{packets}"), words)
            }
        });
        render(&rows.collect::<Vec<_>>(), look)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per_second(packets: u64, nanos: u64) -> f64 {
    packets as f64 * 1e9 / nanos.max(1) as f64
}

/// `0.4/s`, `12/s`
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 10.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{per_second:.0}/s")
    }
}

fn block(line: &Line, counter: &CounterLine, words: &str, place: &str, look: Look) -> String {
    let info = &counter.counter;
    let packets = if counter.packets == 1 { "packet" } else { "packets" };
    let default = if info.cause == Cause::Policy {
        "default "
    } else {
        ""
    };
    let tool = info
        .tool
        .map(|tool| format!(" ({})", tool.name()))
        .unwrap_or_default();
    let what = match info.effect {
        CounterEffect::Drop | CounterEffect::Reject => "died by",
        CounterEffect::Queue => "handed to a program by",
    };
    let mut rows = vec![
        Row {
            time: time_of_day(line.time),
            tone: Tone::Alarm,
            end: Some(("which packets is not known".to_owned(), Tone::Care)),
            ..Row::new(
                "CNT",
                format!(
                    "{} {packets} ({}) {what} {default}{words}{tool}",
                    counter.packets,
                    rate(counter.rate)
                ),
            )
        },
        Row::new("at", place),
    ];
    if info.chain_path.len() > 1 {
        rows.push(Row::new("path", info.chain_path.join(" → ")));
    }
    rows.extend(rule_text(info).map(|text| Row::new("rule", text)));
    rows.extend(info.text.as_ref().map(|text| Row::new("why", text.clone())));
    if info.effect == CounterEffect::Queue {
        let note = "the program decides; without one, or if its queue is full, they die";
        rows.push(Row::new("note", note));
    }
    if counter.filter == Some(CounterMatch::Excluded) {
        let note = "the rule itself excludes the filter's addresses: the filter's packets only if these are translated elsewhere";
        rows.push(Row::new("note", note));
    }
    rows.extend(counter.hints.iter().flat_map(hint));
    render(&rows, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{Event, samples};

    fn look() -> Look {
        Look {
            width: 80,
            color: false,
            is_terminal: false,
        }
    }

    fn counted(packets: u64, seconds: u64) -> (Line, CounterLine) {
        let mut line = samples::counter_line();
        line.time = Time(samples::NOON.0 + seconds * 1_000_000_000);
        let Event::Counter(counter) = &line.event else {
            panic!("a counter")
        };
        let mut counter = counter.as_ref().clone();
        counter.packets = packets;
        (line, counter)
    }

    #[test]
    fn a_counter_is_told_in_full_once_and_then_counted() {
        let mut counters = Counters::default();
        let (line, counter) = counted(5, 0);
        let first = counters.line(&line, &counter, look());
        for part in [
            "CNT  5 packets (20/s) died by default policy DROP of filter FORWARD",
            "(iptables-legacy)",
            "which packets is not known",
            "at   FORWARD in node02",
            "rule 11: -A FORWARD -d 10.244.0.0/16 -j ACCEPT",
            "fix  let Docker's own chain pass it",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
        let (line, counter) = counted(20, 2);
        assert_eq!(counters.line(&line, &counter, look()), "");
        let due = counters.due(line.time, look());
        assert!(
            due.contains("+20  in 2.0 s since") && due.contains("(10/s)  policy DROP"),
            "{due}"
        );
        assert_eq!(counters.due(line.time, look()), "");
        let (line, counter) = counted(1, 4);
        counters.line(&line, &counter, look());
        assert_eq!(counters.due(line.time, look()), "", "26 is not twice 25");
        assert!(counters.rest(line.time, look()).contains("+1 "));
        assert_eq!(counters.rest(line.time, look()), "");
    }

    #[test]
    fn a_flood_of_counters_takes_bounded_memory() {
        let mut counters = Counters::default();
        let (line, mut counter) = counted(5, 0);
        for number in 0..5000 {
            counter.counter.table = Some(number.to_string());
            counters.line(&line, &counter, look());
        }
        assert!(counters.told.len() <= MAX_COUNTERS);
    }

    #[test]
    fn hostile_names_are_escaped() {
        let (line, mut counter) = counted(5, 0);
        counter.counter.chain = Some("\u{1b}[2J".into());
        assert!(
            !Counters::default()
                .line(&line, &counter, look())
                .contains('\u{1b}')
        );
    }
}
