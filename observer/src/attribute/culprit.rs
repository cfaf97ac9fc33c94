//! Which of the counters that moved belongs to the rule that dropped this packet.
//!
//! `exact` only if one is left that can be it, and what it counted is this packet: one packet, of this length. A rule
//! that this hook does not lead to cannot be it; a rule that only may drop is no proof.

use observer_common::{DropEvent, MAX_MOVED, flag};

use super::scene::{LISTENER_FREES, QUEUE_FREES, Scene};
use super::{Pending, Site};
use crate::report::record::Confidence;
use crate::ruleset::{Ending, Place, Snapshot};

/// A counter that moved, with the rule or policy that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The rule or policy.
    pub place: Place,
    /// By how many packets.
    pub packets: u32,
    /// By how many bytes.
    pub bytes: u64,
}

/// Who it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// A rule or a policy.
    Place(Place),
    /// Not known; these can have been it. Empty: no rule was.
    OneOf(Vec<Place>),
    /// A hook function that is no ruleset: its index among the snapshot's.
    Function(usize),
    /// No rule; one of these functions, in the order in which they are called. At least one.
    Functions(Vec<usize>),
}

/// What beside the counters said which rule it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing did.
    Nobody,
    /// nf_tables' trace hook.
    Trace,
    /// The functions that write nf_tables' verdicts.
    Verdict,
    /// None of these, but the rules in force, asked once more.
    Replay,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who it was.
    pub culprit: Culprit,
    /// How sure that is.
    pub confidence: Confidence,
    /// Whether a counter said so.
    pub by_counter: bool,
    /// What else said so.
    pub told_by: Told,
    /// The chains from the base chain down to the rule's, by index, where the packet's own way shows them.
    pub path: Option<Vec<usize>>,
    /// Whether the jump stack that came with the record is this packet's.
    pub jumps_fit: bool,
    /// What to know about the answer.
    pub note: Option<&'static str>,
}

impl Verdict {
    /// Whether it names somebody: false if only candidates are known.
    pub fn is_named(&self) -> bool {
        matches!(self.culprit, Culprit::Place(_))
    }

    /// Whether it speaks of hook functions, and so of every function that was on the hook.
    pub fn is_of_functions(&self) -> bool {
        matches!(self.culprit, Culprit::Function(_) | Culprit::Functions(_))
    }

    /// What is left of it if the hooks are no longer those that were read.
    pub fn outdated() -> Self {
        Self {
            note: Some("the hooks had just changed"),
            ..unknown(Vec::new())
        }
    }

    /// The rules and policies that it speaks of.
    pub fn places(&self) -> Vec<Place> {
        match &self.culprit {
            Culprit::Place(place) => vec![*place],
            Culprit::OneOf(places) => places.clone(),
            Culprit::Function(_) | Culprit::Functions(_) => Vec::new(),
        }
    }
}

/// Decides who dropped a packet.
pub fn decide(
    event: &DropEvent,
    snapshot: &Snapshot,
    site: Option<Site<'_>>,
    symbol: &str,
    pending: &mut Pending,
) -> Verdict {
    let scene = Scene {
        event,
        snapshot,
        site,
        symbol,
    };
    // What moved is numbered by the snapshot that the kernel side compared with, and by no other.
    let of_this = event.flags & flag::COMPARED != 0 && event.generation == snapshot.generation;
    let moves = if of_this { scene.moves() } else { Vec::new() };
    // Of rules that were replaced a counter that is not watched may be another's by now. Those of the rules that this packet met are
    // not freed before it is.
    let is_stale = event.flags & flag::STALE != 0;
    let may_be_anothers = is_stale && moves.iter().any(|moved| snapshot.is_unwatched(&moved.place));
    let was_compared = of_this && !may_be_anothers;
    let own = if was_compared { moves } else { Vec::new() };
    let left = pending.take(event.cpu, event.sequence, event.generation);
    let (fitting, other): (Vec<Move>, Vec<Move>) = own.iter().partition(|moved| scene.fits(&moved.place));
    let (certain, possible): (Vec<Move>, Vec<Move>) = fitting
        .iter()
        .partition(|moved| moved.place.ending == Ending::Certain);
    let from_left = own.is_empty();
    let certain = if from_left {
        left.into_iter()
            .filter(|moved| scene.fits(&moved.place) && moved.place.ending == Ending::Certain)
            .collect()
    } else {
        certain
    };
    let verdict = match certain[..] {
        [] if possible.is_empty() => scene.no_counter(was_compared),
        [] => scene.only_possible(&possible),
        [one] => scene.one(&one, from_left),
        _ => scene.several(&certain),
    };
    let is_it = |moved: &Move| verdict.culprit == Culprit::Place(moved.place);
    let rest = if from_left {
        certain
    } else {
        other.into_iter().chain(certain).collect()
    };
    pending.leave(
        event.cpu,
        event.sequence,
        event.generation,
        rest.into_iter().filter(|m| !is_it(m)).collect(),
    );
    verdict
}

impl Scene<'_> {
    fn one(&self, moved: &Move, from_left: bool) -> Verdict {
        // More counters moved than fit into the record: another may be it as well.
        let all_seen = self.event.moved_count as usize <= MAX_MOVED;
        let is_exact = self.is_this_packet(moved) && all_seen;
        let note = match (is_exact, from_left) {
            (false, _) => Some("its counter moved, but not by exactly this packet"),
            (true, true) => Some("another drop on this CPU interrupted this one"),
            (true, false) => None,
        };
        Verdict {
            culprit: Culprit::Place(moved.place),
            confidence: if is_exact {
                Confidence::Exact
            } else {
                Confidence::Inferred
            },
            by_counter: true,
            told_by: Told::Nobody,
            path: None,
            jumps_fit: !from_left && self.event.moved_count == 1 && self.event.nesting <= 1,
            note,
        }
    }

    /// Several rules that this hook leads to dropped something since the last look: the one that counted exactly this
    /// packet, if it is the only one.
    fn several(&self, moves: &[Move]) -> Verdict {
        let exact: Vec<&Move> = moves.iter().filter(|moved| self.is_this_packet(moved)).collect();
        let note = Some("several counters moved since the last look");
        let [one] = exact[..] else {
            return Verdict {
                note,
                ..unknown(moves.iter().map(|moved| moved.place).collect())
            };
        };
        Verdict {
            culprit: Culprit::Place(one.place),
            confidence: Confidence::Inferred,
            by_counter: true,
            told_by: Told::Nobody,
            path: None,
            jumps_fit: false,
            note,
        }
    }

    /// A queue counts also what it keeps, so how much it counted says nothing; that no other rule of this hook queues says
    /// whose queue dropped the packet.
    fn is_only_queue(&self, moved: &Move) -> bool {
        let counted = moved.bytes >= u64::from(self.event.len_bytes);
        self.symbol == QUEUE_FREES && counted && self.is_alone(&moved.place)
    }

    /// A target that drops some packets counted this one, and no rule that drops all of them did. What it counted may have
    /// lived, and something that does not count have dropped this packet.
    fn only_possible(&self, moves: &[Move]) -> Verdict {
        let all_seen = self.event.moved_count as usize <= MAX_MOVED;
        let (confidence, note) = match self.symbol {
            // The kernel's own place says that a queue dropped it, the counter which.
            QUEUE_FREES if all_seen => (Confidence::Exact, None),
            symbol if LISTENER_FREES.contains(&symbol) => (
                Confidence::Inferred,
                Some("the program that listens on the queue turned it down"),
            ),
            _ => (
                Confidence::Inferred,
                Some("this target drops only some of its packets"),
            ),
        };
        let is_it = |moved: &Move| self.is_this_packet(moved) || self.is_only_queue(moved);
        let uncounted = self.snapshot.uncounted.iter().filter(|place| self.fits(place));
        let uncounted: Vec<Place> = uncounted.copied().collect();
        match moves {
            [one] if is_it(one) && uncounted.is_empty() => Verdict {
                culprit: Culprit::Place(one.place),
                confidence,
                by_counter: true,
                told_by: Told::Nobody,
                path: None,
                jumps_fit: false,
                note,
            },
            _ => unknown(moves.iter().map(|moved| moved.place).chain(uncounted).collect()),
        }
    }
}

pub(super) fn unknown(candidates: Vec<Place>) -> Verdict {
    Verdict {
        culprit: Culprit::OneOf(candidates),
        confidence: Confidence::Unknown,
        by_counter: false,
        told_by: Told::Nobody,
        path: None,
        jumps_fit: false,
        note: None,
    }
}
