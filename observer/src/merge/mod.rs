//! `observer merge`: traces of several nodes, in which what the nodes tell of one packet becomes one line with the whole way.
//!
//! Two lines of different nodes are of one packet if it left the one with the addresses and ports with which it came to the other,
//! their IP identification (not zero), length, protocol and flags are the same, and they are close in time. Where more than one line
//! fits, none is taken: a wrong way would be worse than two halves.

mod clocks;
mod join;
mod pieces;
mod read;
mod same;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::report::escape;
use crate::report::record::Line;

pub use read::{Room, Trace};

/// How much is kept in memory.
pub const MOST: Room = Room {
    lines: 500_000,
    bytes: 1 << 30,
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The traces; the clock of the first one counts.
    pub files: Vec<PathBuf>,
    /// By node: how far its clock is ahead of the first trace's, in nanoseconds. For others it is estimated.
    pub ahead_ns: BTreeMap<String, i64>,
    /// How far apart in time two lines of one packet may be, once the clocks are put right.
    pub window: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// In order of time, by the first trace's clock. Lines `start` come first, lines `summary` last.
    pub lines: Vec<Line>,
    /// So many packets were joined from more than one trace.
    pub joined: usize,
    /// So many lines were put to what their own node told before of the packet.
    pub pieces: usize,
    /// So many lines could have been of more than one packet, and were left as they are.
    pub ambiguous: usize,
    /// What else there is to say, a sentence each.
    pub notes: Vec<String>,
}

/// Reads the traces and joins them.
///
/// # Errors
/// What the system says of a file, which is named.
pub fn merge(wanted: &Wanted) -> Result<Merged, (PathBuf, io::Error)> {
    let mut traces = Vec::new();
    let mut left = MOST;
    for (number, path) in wanted.files.iter().enumerate() {
        // The first one must not take what the others need.
        let mut room = left.share(wanted.files.len() - number);
        let trace = Trace::read(path, &mut room).map_err(|error| (path.clone(), error))?;
        left.give_back(room);
        traces.push(trace);
    }
    Ok(of_traces(traces, wanted))
}

/// The same of traces that have been read.
pub fn of_traces(mut traces: Vec<Trace>, wanted: &Wanted) -> Merged {
    let mut merged = Merged::default();
    for trace in &traces {
        merged.notes.extend(trace.notes());
    }
    merged.notes.extend(of_nodes(&traces, wanted));
    for trace in &mut traces {
        let done = pieces::put_together(trace, wanted.window);
        merged.pieces += done.joined;
        merged.ambiguous += done.ambiguous;
        merged.notes.extend(carried(trace));
    }
    clocks::put_right(&mut traces, wanted, &mut merged.notes);
    join::join(traces, wanted.window, &mut merged);
    merged
}

/// What is joined with nothing because no hook saw the packet outside a tunnel.
fn carried(trace: &Trace) -> Option<String> {
    let sights = trace.lines.iter().filter_map(same::sight);
    let carried = sights.filter(|sight| sight.is_carried).count();
    (carried > 0).then(|| {
        format!(
            "{}: {carried} packets are told of only in a tunnel that goes on, and are joined with nothing",
            escape(&trace.name)
        )
    })
}

/// What the nodes' names tell of a mistake.
fn of_nodes(traces: &[Trace], wanted: &Wanted) -> Vec<String> {
    let mut notes = Vec::new();
    for (number, trace) in traces.iter().enumerate() {
        let twin = traces[..number]
            .iter()
            .find(|other| other.node() == trace.node() && !trace.lines.is_empty());
        if let Some(twin) = twin {
            notes.push(format!(
                "{} and {} are both of {}: what they tell is not joined",
                escape(&twin.name),
                escape(&trace.name),
                escape(trace.node())
            ));
        }
    }
    for node in wanted.ahead_ns.keys() {
        if traces.iter().skip(1).all(|trace| trace.node() != node) {
            notes.push(format!(
                "--ahead {}=… is of no use: no trace after the first is of that node",
                escape(node)
            ));
        }
    }
    notes
}
