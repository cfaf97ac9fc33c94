//! What one node tells of a packet in more than one line becomes one line.
//!
//! `watch --all` tells a packet that no hook has seen for 100 ms. On a busy machine it then comes to its next hook after all, and the
//! rest of its way is another line. Such pieces are put together if the one must be the next of the other. What may be a piece and
//! need not is left apart, and is joined with nothing else: the whole way is not known.

use std::time::Duration;

use super::Trace;
use super::join::{MOST_ALIKE, runs};
use super::same::{Sight, sight};
use crate::report::record::{Event, Hook, Line, PassVerdict, Passage, Time};

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// So many lines have become part of another.
    pub(super) joined: usize,
    /// So many may be pieces and need not.
    pub(super) ambiguous: usize,
}

/// A line that tells of a packet.
struct Piece {
    line: usize,
    time: Time,
    sight: Sight,
}

/// Puts the pieces of a trace together.
pub(super) fn put_together(trace: &mut Trace, window: Duration) -> Done {
    let mut done = Done::default();
    let pieces = trace.lines.iter().enumerate().filter_map(|(number, line)| {
        Some(Piece {
            line: number,
            time: line.time,
            sight: sight(line)?,
        })
    });
    let mut pieces: Vec<Piece> = pieces.collect();
    pieces.sort_by_key(|piece| (piece.sight.kept, piece.time));
    let mut lines: Vec<Option<Line>> = std::mem::take(&mut trace.lines).into_iter().map(Some).collect();
    let mut apart = vec![false; lines.len()];
    for near in runs(pieces, window, |piece| (piece.sight.kept, piece.time)) {
        for chain in chains(near, window) {
            if chain.len() == 1 {
                continue;
            }
            let told: Vec<&Line> = chain
                .iter()
                .filter_map(|piece| lines[piece.line].as_ref())
                .collect();
            let is_one = chain.len() <= MOST_ALIKE && told.windows(2).all(|pair| is_next(pair[0], pair[1]));
            if is_one {
                let told = chain
                    .iter()
                    .filter_map(|piece| lines[piece.line].take())
                    .collect();
                lines[chain[0].line] = one_of(told);
                done.joined += chain.len() - 1;
            } else {
                chain.iter().for_each(|piece| apart[piece.line] = true);
                done.ambiguous += chain.len();
            }
        }
    }
    for (line, is_apart) in lines.into_iter().zip(apart) {
        let Some(line) = line else { continue };
        if is_apart {
            trace.apart.insert(trace.lines.len());
        }
        trace.lines.push(line);
    }
    done
}

/// Lines that may be of one packet, in the order of time.
fn chains(mut near: Vec<Piece>, window: Duration) -> Vec<Vec<Piece>> {
    // Too many to look at each with each.
    if near.len() > MOST_ALIKE {
        return vec![near];
    }
    let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let may = |one: &Piece, other: &Piece| {
        one.time.0.abs_diff(other.time.0) <= window_ns
            && (one.sight.may_be_before(&other.sight) || other.sight.may_be_before(&one.sight))
    };
    let mut chains = Vec::new();
    while let Some(first) = near.pop() {
        let mut chain = vec![first];
        let mut looked_at = 0;
        while let Some(one) = chain.get(looked_at) {
            let (linked, rest) = near.into_iter().partition(|other| may(one, other));
            near = rest;
            chain.extend::<Vec<Piece>>(linked);
            looked_at += 1;
        }
        chain.sort_by_key(|piece| piece.time);
        chains.push(chain);
    }
    chains
}

/// Whether what the second line tells of must be what the first does, further on its way.
fn is_next(first: &Line, second: &Line) -> bool {
    let (Some(one), Some(other)) = (sight(first), sight(second)) else {
        return false;
    };
    let (Some(before), Some(after)) = (passages(first), passages(second)) else {
        return false;
    };
    let (Some(last), Some(next)) = (
        before.iter().rfind(|passage| passage.at.is_some()),
        after.iter().find(|passage| passage.at.is_some()),
    ) else {
        return false;
    };
    let between = usize::from(next.outer.is_none() && is_forwarded_to(last, next, after));
    let hops_left = one
        .ttl
        .and_then(|ttl| usize::from(ttl).checked_sub(hops(before) + between));
    let hops_then = other.ttl.map(|ttl| match &second.event {
        // It is told as it was when it died.
        Event::Drop(_) => usize::from(ttl) + hops(after),
        _ => usize::from(ttl),
    });
    one.may_be_before(&other)
        && first.node == second.node
        && last.at <= next.at
        && !matches!(last.verdict, Some(PassVerdict::Drop | PassVerdict::Queue))
        && is_next_hook(last, next)
        && hops_left.is_some()
        && hops_left == hops_then
}

/// Whether it was forwarded between the two: `ip_forward()` takes a hop before it asks the hook.
fn is_forwarded_to(last: &Passage, next: &Passage, after: &[Passage]) -> bool {
    let silently = after
        .iter()
        .take_while(|passage| passage.at.is_none())
        .any(|passage| passage.hook == Hook::Forward);
    next.hook == Hook::Forward
        || (next.hook == Hook::Postrouting
            && (silently || (last.hook == Hook::Prerouting && last.netns == next.netns)))
}

/// So many hops a way took from the first hook that saw the packet.
fn hops(path: &[Passage]) -> usize {
    let own = path
        .iter()
        .skip_while(|passage| passage.at.is_none())
        .filter(|passage| passage.outer.is_none());
    let mut hops = 0;
    let mut last: Option<&Passage> = path.iter().find(|passage| passage.at.is_some());
    for passage in own {
        let is_forward = |passage: &Passage| passage.hook == Hook::Forward;
        let is_same = last.is_some_and(|last| {
            is_forward(last) && last.outer.is_none() && last.netns == passage.netns && last.at == passage.at
        });
        if is_forward(passage) && !is_same {
            hops += 1;
        }
        last = Some(passage);
    }
    hops
}

/// Whether the one hook can come right after the other.
fn is_next_hook(last: &Passage, next: &Passage) -> bool {
    use Hook::{Forward, Input, Output, Postrouting, Prerouting};
    let leaves = matches!(last.hook, Postrouting | Output | Forward);
    let comes = matches!(next.hook, Prerouting | Input | Forward);
    match (last.outer.is_some(), next.outer.is_some()) {
        (false, true) => leaves && matches!(next.hook, Output | Postrouting),
        (true, false) => matches!(last.hook, Input | Prerouting) && comes,
        _ if last.netns != next.netns => leaves && comes,
        _ => matches!(
            (last.hook, next.hook),
            (Prerouting, Forward | Input | Postrouting) | (Forward | Output, Postrouting)
        ),
    }
}

/// The last line, with the way of all, and as the packet was first seen if it lives.
fn one_of(lines: Vec<Line>) -> Option<Line> {
    let mut lines = lines.into_iter();
    let mut whole = lines.next()?;
    for mut line in lines {
        let mut path = std::mem::take(passages_mut(&mut whole)?);
        let rest = std::mem::take(passages_mut(&mut line)?);
        // Without what came before, hooks that nothing is registered on are told again.
        let told = path.clone();
        let is_again = |passage: &Passage| {
            passage.at.is_none()
                && told.iter().any(|one| {
                    (one.hook, &one.netns, one.outer.is_some())
                        == (passage.hook, &passage.netns, passage.outer.is_some())
                })
        };
        path.extend(rest.into_iter().skip_while(is_again));
        if let (Event::Path(before), Event::Path(after)) = (&mut whole.event, &mut line.event) {
            std::mem::swap(&mut before.packet, &mut after.packet);
            std::mem::swap(&mut before.netns, &mut after.netns);
            after.flow = after.flow.take().or(before.flow.take());
            line.time = whole.time;
        }
        *passages_mut(&mut line)? = path;
        whole = line;
    }
    Some(whole)
}

fn passages(line: &Line) -> Option<&[Passage]> {
    match &line.event {
        Event::Drop(drop) => Some(&drop.path),
        Event::Path(path) => Some(&path.path),
        _ => None,
    }
}

pub(super) fn passages_mut(line: &mut Line) -> Option<&mut Vec<Passage>> {
    match &mut line.event {
        Event::Drop(drop) => Some(&mut drop.path),
        Event::Path(path) => Some(&mut path.path),
        _ => None,
    }
}
