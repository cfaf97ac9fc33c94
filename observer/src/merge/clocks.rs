//! Clocks of different hosts.

use std::collections::HashMap;

use super::same::{Sight, sight};
use super::{Trace, Wanted};
use crate::report::escape;
use crate::report::record::{Event, Line, Passage, Time};

/// An estimate from fewer packets is none.
const FEWEST: usize = 3;
/// What is less than this may be the packets' own time on their way.
const SMALL_NS: i64 = 50_000_000;

/// Puts the times of all traces as the first one's clock has them.
pub(super) fn put_right(traces: &mut [Trace], wanted: &Wanted, notes: &mut Vec<String>) {
    let Some((first, others)) = traces.split_first_mut() else {
        return;
    };
    let first_sights = unique(&first.lines);
    for trace in others {
        let node = trace.node().to_owned();
        let ahead = match wanted.ahead_ns.get(&node) {
            Some(ahead) => *ahead,
            None => estimated(&first_sights, trace, notes),
        };
        if ahead != 0 {
            trace.lines.iter_mut().for_each(|line| shift(line, ahead));
        }
    }
}

/// The median of the differences between what both traces tell of one packet.
fn estimated(first: &HashMap<Key, Option<(Sight, Time)>>, trace: &Trace, notes: &mut Vec<String>) -> i64 {
    let mut differences: Vec<i64> = unique(&trace.lines)
        .iter()
        .filter_map(|(key, seen)| {
            let (sight, time) = seen.as_ref()?;
            let (of_first, first_time) = first.get(key)?.as_ref()?;
            of_first
                .may_be(sight)
                .then(|| i64::try_from(i128::from(time.0) - i128::from(first_time.0)).ok())?
        })
        .collect();
    if differences.len() < FEWEST {
        return 0;
    }
    let packets = differences.len();
    let (_, ahead, _) = differences.select_nth_unstable(packets / 2);
    let ahead = *ahead;
    if ahead.abs() < SMALL_NS {
        return 0;
    }
    notes.push(format!(
        "the clock of {} is taken to be {} ms ahead, by {} packets that both traces tell of: --ahead {}=… says otherwise",
        escape(trace.node()),
        ahead / 1_000_000,
        packets,
        escape(trace.node()),
    ));
    ahead
}

type Key = (crate::report::record::Proto, u16);

/// Packets whose identification only one line has; `None` for the others.
fn unique(lines: &[Line]) -> HashMap<Key, Option<(Sight, Time)>> {
    let mut seen = HashMap::new();
    for line in lines {
        if let Some(sight) = sight(line) {
            seen.entry(sight.key)
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
        Event::Start(_) | Event::Probes(_) | Event::Summary(_) => &mut [],
    };
    passages
        .iter_mut()
        .filter_map(|passage| passage.at.as_mut())
        .for_each(earlier);
}
