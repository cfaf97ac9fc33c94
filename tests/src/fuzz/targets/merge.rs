//! Traces of several nodes that `observer merge` joins.

use std::collections::BTreeMap;
use std::time::Duration;

use observer::merge::{MOST, Room, Trace, Wanted, of_traces};
use observer::report::record::{Event, Line, Passage};

use super::{files, shown};

/// Between two traces.
const NEXT: &[u8] = b"\n\n";

/// Traces of two nodes with one packet, in pieces.
pub(super) fn kept() -> Vec<Vec<u8>> {
    files!["tests/src/fuzz/seeds/two-nodes.jsonl"]
}

/// Nothing is lost and nothing made: a death stays one death, and each hook that saw a packet is told once.
pub(super) fn traces(data: &[u8]) {
    let mut room = Room {
        lines: MOST.lines.min(1000),
        ..MOST
    };
    let mut traces = Vec::new();
    let mut rest = data;
    while !rest.is_empty() && traces.len() < 4 {
        let end = rest
            .windows(NEXT.len())
            .position(|bytes| bytes == NEXT)
            .unwrap_or(rest.len());
        let name = format!("trace {}", traces.len());
        traces.push(Trace::from(&name, &rest[..end], &mut room).expect("memory can be read"));
        rest = rest.get(end + NEXT.len()..).unwrap_or_default();
    }
    let before = Sum::of(traces.iter().flat_map(|trace| &trace.lines));
    let wanted = Wanted {
        files: Vec::new(),
        ahead_ns: BTreeMap::new(),
        window: Duration::from_secs(1),
    };
    let merged = of_traces(traces, &wanted);
    let after = Sum::of(&merged.lines);
    assert_eq!((before.deaths, before.stops), (after.deaths, after.stops));
    assert!(after.lines + merged.pieces + merged.joined <= before.lines);
    assert!(merged.ambiguous <= before.lines);
    merged.lines.iter().for_each(shown::line);
    merged.notes.into_iter().for_each(shown::page);
}

/// What is there before and after.
#[derive(Default)]
struct Sum {
    lines: usize,
    deaths: usize,
    /// Hooks that saw a packet.
    stops: usize,
}

impl Sum {
    fn of<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Self {
        let mut sum = Self::default();
        for line in lines {
            sum.lines += 1;
            let path: &[Passage] = match &line.event {
                Event::Drop(drop) => {
                    sum.deaths += 1;
                    &drop.path
                }
                Event::Path(path) => &path.path,
                _ => &[],
            };
            sum.stops += path.iter().filter(|passage| passage.at.is_some()).count();
        }
        sum
    }
}
