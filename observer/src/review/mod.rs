//! `observer report`: what traces and captures add up to. Whatever they hold, memory is bounded; what cannot be read is counted.

mod captures;
mod file;
mod ranking;
mod timeline;
mod traces;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use file::{from, next_line, read};
pub use ranking::{Ranked, Ranking};
pub use timeline::{Bar, Timeline};

use crate::report::record::{Confidence, Time};

/// So many causes are told apart.
const MAX_CAUSES: usize = 4096;
/// So many flows are told apart.
const MAX_FLOWS: usize = 32_768;
/// So many nodes are named.
const MAX_NODES: usize = 256;

/// What was read, added up.
#[derive(Clone, Debug)]
pub struct Review {
    /// The files, in the order in which they were read.
    pub files: Vec<FileSeen>,
    /// The hosts that they are from.
    pub nodes: BTreeSet<String>,
    /// Packets that died.
    pub drops: u64,
    /// Of these, by how sure their cause is.
    pub exact: u64,
    /// As `exact`.
    pub inferred: u64,
    /// As `exact`.
    pub unknown: u64,
    /// Packets that counters told of: nobody saw them, so they have no confidence.
    pub counted: u64,
    /// Packets that were not dropped.
    pub lived: u64,
    /// Drops that are missing from the traces.
    pub lost: u64,
    /// When the first packet died.
    pub first: Option<Time>,
    /// When the last one did.
    pub last: Option<Time>,
    /// What killed them.
    pub causes: Ranking,
    /// Who talked to whom.
    pub flows: Ranking,
    /// How many died when.
    pub timeline: Timeline,
}

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSeen {
    /// As it was given.
    pub name: String,
    /// A capture, not a trace.
    pub is_capture: bool,
    /// Lines, or blocks of a capture, that were understood.
    pub understood: u64,
    /// Lines of kinds, or packets without a verdict, that are not for this program to know.
    pub passed_over: u64,
    /// Lines that are none of a trace; for a capture, that it ends in the middle or is broken from there on.
    pub broken: u64,
    /// A trace without its last line: it was cut off.
    pub is_cut_off: bool,
}

/// Packets that died alike, at one moment.
struct Death<'a> {
    time: Time,
    packets: u64,
    cause: &'a str,
    flow: Option<&'a str>,
    /// Absent where counters tell.
    confidence: Option<Confidence>,
}

impl Default for Review {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            nodes: BTreeSet::new(),
            drops: 0,
            exact: 0,
            inferred: 0,
            unknown: 0,
            counted: 0,
            lived: 0,
            lost: 0,
            first: None,
            last: None,
            causes: Ranking::with_room(MAX_CAUSES),
            flows: Ranking::with_room(MAX_FLOWS),
            timeline: Timeline::default(),
        }
    }
}

impl Review {
    /// Whether anything was wrong with a file.
    pub fn is_whole(&self) -> bool {
        self.files.iter().all(|file| file.broken == 0 && !file.is_cut_off)
    }

    fn died(&mut self, death: &Death<'_>) {
        let packets = death.packets;
        let add = |to: &mut u64| *to = to.saturating_add(packets);
        match death.confidence {
            Some(confidence) => {
                add(&mut self.drops);
                add(match confidence {
                    Confidence::Exact => &mut self.exact,
                    Confidence::Inferred => &mut self.inferred,
                    Confidence::Unknown => &mut self.unknown,
                });
            }
            None => add(&mut self.counted),
        }
        self.first = Some(self.first.map_or(death.time, |first| first.min(death.time)));
        self.last = Some(self.last.map_or(death.time, |last| last.max(death.time)));
        self.causes.add(death.cause, packets, death.time);
        if let Some(flow) = death.flow {
            self.flows.add(flow, packets, death.time);
        }
        self.timeline.add(death.time, packets);
    }

    fn is_from(&mut self, node: &str) {
        if !node.is_empty() && self.nodes.len() < MAX_NODES && !self.nodes.contains(node) {
            self.nodes.insert(ranking::short(node).to_owned());
        }
    }
}
