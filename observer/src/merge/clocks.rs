//! Clocks of different hosts.

use std::collections::HashMap;

use super::same::{Kept, Sight, sight};
use super::{Trace, Wanted};
use crate::report::escape;
use crate::report::record::{Event, Line, Passage, Time};

/// An estimate from fewer packets is none.
const FEWEST: usize = 3;
/// What is less than this may be the packets' own time on their way.
const SMALL_NS: i64 = 50_000_000;
/// No clock is taken to be wrong by more than a day, unless it is said.
const MOST_NS: i64 = 86_400_000_000_000;

/// Puts the times of all traces as the first one's clock has them.
pub(super) fn put_right(traces: &mut [Trace], wanted: &Wanted, notes: &mut Vec<String>) {
    let Some((first, others)) = traces.split_first_mut() else {
        return;
    };
    let first_sights = unique(&first.lines);
    for trace in others.iter_mut().filter(|trace| !trace.lines.is_empty()) {
        let ahead = match wanted.ahead_ns.get(trace.node()) {
            Some(ahead) => *ahead,
            None => estimated(&first_sights, trace, notes),
        };
        if ahead != 0 {
            trace.lines.iter_mut().for_each(|line| shift(line, ahead));
        }
    }
}

/// The median of the differences between what both traces tell of one packet, if most of them are near it.
fn estimated(first: &Unique, trace: &Trace, notes: &mut Vec<String>) -> i64 {
    let node = escape(trace.node());
    let mut differences: Vec<i64> = unique(&trace.lines)
        .iter()
        .filter_map(|(kept, seen)| {
            let (sight, time) = seen.as_ref()?;
            let (of_first, first_time) = first.get(kept)?.as_ref()?;
            let is_same = of_first.may_go_on_as(sight) || sight.may_go_on_as(of_first);
            let apart = i64::try_from(i128::from(time.0) - i128::from(first_time.0)).ok()?;
            (is_same && apart.abs() <= MOST_NS).then_some(apart)
        })
        .collect();
    let packets = differences.len();
    if packets < FEWEST {
        notes.push(format!(
            "the clock of {node} is taken to be right: {packets} packets are surely in both traces, and {FEWEST} are needed to \
             estimate it; --ahead {node}=… says otherwise"
        ));
        return 0;
    }
    let (_, ahead, _) = differences.select_nth_unstable(packets / 2);
    let ahead = *ahead;
    let near = differences
        .iter()
        .filter(|one| one.abs_diff(ahead) < SMALL_NS.unsigned_abs())
        .count();
    if near * 2 <= packets {
        notes.push(format!(
            "the clock of {node} is taken to be right: {packets} packets that are in both traces do not agree on it; \
             --ahead {node}=… says otherwise"
        ));
        return 0;
    }
    if ahead.abs() < SMALL_NS {
        return 0;
    }
    notes.push(format!(
        "the clock of {node} is taken to be {} ms ahead, by {near} of {packets} packets that both traces tell of; \
         --ahead {node}=… says otherwise",
        ahead / 1_000_000,
    ));
    ahead
}

type Unique = HashMap<Kept, Option<(Sight, Time)>>;

/// Packets whose like only one line tells of; `None` for the others.
fn unique(lines: &[Line]) -> Unique {
    let mut seen = HashMap::new();
    for line in lines {
        if let Some(sight) = sight(line).filter(|sight| !sight.is_carried) {
            seen.entry(sight.kept)
                .and_modify(|one| *one = None)
                .or_insert(Some((sight, line.time)));
        }
    }
    seen
}

fn shift(line: &mut Line, ahead: i64) {
    let earlier = |time: &mut Time| *time = Time(time.0.saturating_add_signed(ahead.saturating_neg()));
    earlier(&mut line.time);
    let passages: &mut [Passage] = match &mut line.event {
        Event::Drop(drop) => &mut drop.path,
        Event::Path(path) => &mut path.path,
        Event::Counter(counter) => {
            earlier(&mut counter.since);
            &mut []
        }
        Event::Lost(lost) => {
            lost.since.iter_mut().for_each(earlier);
            &mut []
        }
        Event::Start(_) | Event::Probes(_) | Event::Filter(_) | Event::Summary(_) => &mut [],
    };
    passages
        .iter_mut()
        .filter_map(|passage| passage.at.as_mut())
        .for_each(earlier);
}
