//! Lines of one packet become one line.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::pieces::passages_mut;
use super::same::{Kept, Sight, sight};
use super::{Merged, Trace};
use crate::report::record::{Event, Line, Passage, Time};

/// More lines than these that are alike but for their addresses, one close to the next in time, are not told apart.
pub(super) const MOST_ALIKE: usize = 64;

/// A line that tells of a packet.
struct Seen {
    trace: usize,
    line: usize,
    time: Time,
    sight: Sight,
    /// It may be a piece of what another line of its trace tells: counted already, and joined with nothing.
    is_apart: bool,
}

pub(super) fn join(traces: Vec<Trace>, window: Duration, merged: &mut Merged) {
    let groups = groups(&traces, window, &mut merged.ambiguous);
    let mut lines: Vec<Vec<Option<Line>>> = traces
        .into_iter()
        .map(|trace| trace.lines.into_iter().map(Some).collect())
        .collect();
    let mut all = Vec::new();
    for group in groups {
        let taken = group
            .iter()
            .filter_map(|seen| lines[seen.trace][seen.line].take())
            .collect();
        all.extend(one_of(taken));
        merged.joined += 1;
    }
    all.extend(lines.into_iter().flatten().flatten());
    all.sort_by_key(|line| {
        let place = match line.event {
            Event::Start(_) => 0,
            Event::Summary(_) => 2,
            _ => 1,
        };
        (place, line.time)
    });
    merged.lines = all;
}

/// Lines of one packet, at most one of each trace, in the order of its way. Each line is in one group at most.
fn groups(traces: &[Trace], window: Duration, ambiguous: &mut usize) -> Vec<Vec<Seen>> {
    let mut seen = Vec::new();
    for (number, trace) in traces.iter().enumerate() {
        for (line_number, line) in trace.lines.iter().enumerate() {
            if let Some(sight) = sight(line) {
                seen.push(Seen {
                    trace: number,
                    line: line_number,
                    time: line.time,
                    sight,
                    is_apart: trace.apart.contains(&line_number),
                });
            }
        }
    }
    seen.sort_by_key(|one| (one.sight.kept, one.time));
    let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let is_near = |one: &Seen, other: &Seen| apart(one, other) <= window_ns;
    let goes_on = |one: &Seen, other: &Seen| {
        let node = |seen: &Seen| &traces[seen.trace].lines[seen.line].node;
        one.trace != other.trace
            && is_near(one, other)
            && one.sight.may_go_on_as(&other.sight)
            && node(one) != node(other)
    };
    let mut groups = Vec::new();
    // An identification comes again after 65,536 packets of a flow: what is close in time is looked at together.
    for near in runs(seen, window, |one| (one.sight.kept, one.time)) {
        if near.len() > MOST_ALIKE {
            *ambiguous += counted(&near);
        } else if near.iter().any(|one| one.trace != near[0].trace) {
            groups.extend(of_near(near, goes_on, ambiguous));
        }
    }
    groups
}

/// What is sorted by [`Kept`] and time, where it is alike and each is near the next.
pub(super) fn runs<T>(sorted: Vec<T>, window: Duration, of: impl Fn(&T) -> (Kept, Time)) -> Vec<Vec<T>> {
    let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let mut runs: Vec<Vec<T>> = Vec::new();
    for next in sorted {
        let (kept, time) = of(&next);
        let is_near = |last: &T| {
            let (its, at) = of(last);
            its == kept && time.0.abs_diff(at.0) <= window_ns
        };
        match runs.last_mut().filter(|run| run.last().is_some_and(is_near)) {
            Some(run) => run.push(next),
            None => runs.push(vec![next]),
        }
    }
    runs
}

/// So many that were not counted as ambiguous before.
fn counted(seen: &[Seen]) -> usize {
    seen.iter().filter(|one| !one.is_apart).count()
}

fn apart(one: &Seen, other: &Seen) -> u64 {
    one.time.0.abs_diff(other.time.0)
}

/// Those of the lines near each other that are surely of one packet.
fn of_near(
    mut near: Vec<Seen>,
    goes_on: impl Fn(&Seen, &Seen) -> bool,
    ambiguous: &mut usize,
) -> Vec<Vec<Seen>> {
    let mut groups = Vec::new();
    while let Some(first) = near.pop() {
        let mut group = vec![first];
        let mut looked_at = 0;
        while let Some(one) = group.get(looked_at) {
            let (linked, rest) = near
                .into_iter()
                .partition(|other| goes_on(one, other) || goes_on(other, one));
            near = rest;
            group.extend::<Vec<Seen>>(linked);
            looked_at += 1;
        }
        if group.len() == 1 {
            continue;
        }
        in_order(&mut group, &goes_on);
        if is_one_way(&group, &goes_on) {
            groups.push(group);
        } else {
            *ambiguous += counted(&group);
        }
    }
    groups
}

/// First what goes on as the others, last what the others go on as; where that is open, by time to live and clock.
fn in_order(group: &mut [Seen], goes_on: impl Fn(&Seen, &Seen) -> bool) {
    let places: HashMap<(usize, usize), isize> = group
        .iter()
        .map(|one| {
            let place = |other: &Seen| isize::from(goes_on(other, one)) - isize::from(goes_on(one, other));
            ((one.trace, one.line), group.iter().map(place).sum())
        })
        .collect();
    group.sort_by_key(|one| {
        let place = places.get(&(one.trace, one.line)).copied();
        (place, std::cmp::Reverse(one.sight.ttl), one.time)
    });
}

/// Whether each line has one that follows it, no trace has two of them, and none of them may be a piece.
fn is_one_way(group: &[Seen], goes_on: impl Fn(&Seen, &Seen) -> bool) -> bool {
    let traces: HashSet<usize> = group.iter().map(|seen| seen.trace).collect();
    traces.len() == group.len()
        && group.iter().all(|seen| !seen.is_apart)
        && group.windows(2).all(|pair| goes_on(&pair[0], &pair[1]))
}

/// The last line, with the way of all: they are in the order of the packet's way.
fn one_of(lines: Vec<Line>) -> Option<Line> {
    let mut path = Vec::new();
    let mut first = None;
    let mut last: Option<Line> = None;
    for mut line in lines {
        let node = line.node.clone();
        path.extend(passages_mut(&mut line)?.drain(..).map(|passage| Passage {
            node: Some(node.clone()),
            ..passage
        }));
        if let (None, Event::Path(told)) = (&first, &line.event) {
            first = Some((line.time, told.packet.clone(), told.netns.clone()));
        }
        last = Some(line);
    }
    let mut line = last?;
    // A packet that lived is told as it was first seen.
    if let (Event::Path(told), Some((time, packet, netns))) = (&mut line.event, first) {
        (line.time, told.packet, told.netns) = (time, packet, netns);
    }
    *passages_mut(&mut line)? = path;
    Some(line)
}
