//! The lines of `observer.trace/v1`, as plain data: what `docs/trace-format.md` describes and
//! `docs/trace-v1.schema.json` checks. Building one never fails; a field that does not apply is `None` or empty.

mod bytes;
mod counter;
mod explain;
mod flow;
mod names;
mod netfilter;
mod packet;
mod path;
mod proto;
mod session;
mod time;
mod verdict;
mod wire;

#[cfg(test)]
pub(crate) mod samples;

pub use bytes::{Begin, PacketBytes};
pub use counter::{CounterEffect, CounterInfo, CounterLine, CounterMatch};
pub use explain::{AskedPacket, Dependence, ExplainedWay, Explanation, Fate, Recorded, RulesetSource, Still};
pub use flow::{CtState, Flow, Nat, Tuple};
pub use names::{Named, Names, NamesFrom};
pub use netfilter::{Backend, Candidate, Cause, Disagreement, Hook, Rule, TableFamily, Tool};
pub use packet::{Mark, Netns, Packet, PacketFamily, TcpFlags};
pub use path::{Change, PassVerdict, Passage, PathEvidence, PathLine, PathStep};
pub use proto::{Proto, UnknownProto};
pub use session::{CauseCount, FilterInfo, FilterLine, Lost, LostFlow, ProbesLine, Start, Summary};
pub use time::{BadTime, Time, civil_from_days, days_from_civil};
pub use verdict::{Confidence, DropInfo, DropLine, Evidence, Hint, HintKind, HintRule, Layer, Matched};

/// The value of every line's `schema` field.
pub const SCHEMA: &str = "observer.trace/v1";

/// One line of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it happened: for a drop, when the kernel freed the packet.
    pub time: Time,
    /// The host's name.
    pub node: String,
    /// What happened; its variant is the line's `kind`.
    pub event: Event,
}

/// What a [`Line`] says. `kind` in the trace is the variant's name in lower case.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first line: what is watched, and what answers to expect.
    Start(Box<Start>),
    /// A packet that died.
    Drop(Box<DropLine>),
    /// A packet that was not dropped, with its way (`--all`).
    Path(Box<PathLine>),
    /// A rule or policy that can drop has counted packets; where no BPF may be.
    Counter(Box<CounterLine>),
    /// Probes were put on or taken off, and why.
    Probes(ProbesLine),
    /// What is watched has other addresses now.
    Filter(Box<FilterLine>),
    /// Events that were seen by the kernel side and did not reach this program.
    Lost(Lost),
    /// The last line: totals that reconcile.
    Summary(Summary),
}

impl Line {
    /// A line about `event`.
    pub fn new(time: Time, node: impl Into<String>, event: Event) -> Self {
        Self {
            time,
            node: node.into(),
            event,
        }
    }

    /// The drop, if this line is one.
    pub fn as_drop(&self) -> Option<&DropLine> {
        match &self.event {
            Event::Drop(drop) => Some(drop),
            _ => None,
        }
    }
}
