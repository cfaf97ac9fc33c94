//! Lines of one packet become one line.

use std::collections::HashMap;
use std::time::Duration;

use super::same::{Sight, sight};
use super::{Merged, Trace};
use crate::report::record::{Event, Line, Passage, Proto, Time};

/// A line that tells of a packet.
struct Seen {
    trace: usize,
    line: usize,
    time: Time,
    sight: Sight,
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
            .filter_map(|seen| Some((lines[seen.trace][seen.line].take()?, seen.sight.ttl)))
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

/// Lines of one packet, at most one of each trace. Each line is in one group at most.
fn groups(traces: &[Trace], window: Duration, ambiguous: &mut usize) -> Vec<Vec<Seen>> {
    let mut by_key: HashMap<(Proto, u16), Vec<Seen>> = HashMap::new();
    for (number, trace) in traces.iter().enumerate() {
        for (line_number, line) in trace.lines.iter().enumerate() {
            if let Some(sight) = sight(line) {
                by_key.entry(sight.key).or_default().push(Seen {
                    trace: number,
                    line: line_number,
                    time: line.time,
                    sight,
                });
            }
        }
    }
    let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let mut groups = Vec::new();
    for mut seen in by_key.into_values() {
        seen.sort_by_key(|one| one.time);
        // An identification comes again after 65,536 packets of a flow: what is close in time is looked at together.
        while !seen.is_empty() {
            let near = seen
                .windows(2)
                .position(|pair| pair[1].time.nanos_since(pair[0].time) > window)
                .map_or(seen.len(), |last| last + 1);
            let rest = seen.split_off(near);
            let near = std::mem::replace(&mut seen, rest);
            groups.extend(of_near(near, ambiguous));
        }
    }
    groups
}

/// Those of the lines near each other that are surely of one packet.
fn of_near(mut near: Vec<Seen>, ambiguous: &mut usize) -> Vec<Vec<Seen>> {
    let mut groups = Vec::new();
    while let Some(first) = near.pop() {
        let mut group = vec![first];
        // NAT on one node can be what another knows nothing of: what fits any of the group is of it.
        while let Some(found) = near
            .iter()
            .position(|one| group.iter().any(|other| one.sight.may_be(&other.sight)))
        {
            group.push(near.swap_remove(found));
        }
        let mut of: Vec<usize> = group.iter().map(|seen| seen.trace).collect();
        of.sort_unstable();
        of.dedup();
        if of.len() < group.len() && of.len() > 1 {
            *ambiguous += group.len();
        } else if group.len() > 1 {
            groups.push(group);
        }
    }
    groups
}

/// In the order of the packet's way: what dies comes last, the time to live falls, and then the clock says.
fn one_of(mut lines: Vec<(Line, Option<u8>)>) -> Option<Line> {
    lines.sort_by_key(|(line, ttl)| (line.as_drop().is_some(), std::cmp::Reverse(*ttl), line.time));
    let mut path = Vec::new();
    let count = lines.len();
    let mut last = None;
    let mut first_packet = None;
    for (number, (mut line, _)) in lines.into_iter().enumerate() {
        let node = line.node.clone();
        if let Event::Path(told) = &line.event
            && number == 0
        {
            first_packet = Some((line.time, told.packet.clone()));
        }
        if let Some(passages) = passages(&mut line) {
            path.extend(passages.drain(..).map(|passage| Passage {
                node: passage.node.or_else(|| Some(node.clone())),
                ..passage
            }));
        }
        if number + 1 == count {
            last = Some(line);
        }
    }
    let mut line = last?;
    // A packet that lived is told as it was first seen.
    if let (Event::Path(told), Some((time, packet))) = (&mut line.event, first_packet) {
        told.packet = packet;
        line.time = time;
    }
    *passages(&mut line)? = path;
    Some(line)
}

fn passages(line: &mut Line) -> Option<&mut Vec<Passage>> {
    match &mut line.event {
        Event::Drop(drop) => Some(&mut drop.path),
        Event::Path(path) => Some(&mut path.path),
        _ => None,
    }
}
