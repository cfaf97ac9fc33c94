//! Which of the counters that moved belongs to the rule that dropped this packet.
//!
//! `exact` only if one is left that can be it, and what it counted is this packet: one packet, of this length. A rule
//! that this hook does not lead to cannot be it; a rule that only may drop is no proof.

use observer_common::{DropEvent, MAX_MOVED, flag};

use super::Pending;
use crate::report::record::{Backend, Confidence, Hook, TableFamily};
use crate::ruleset::{Ending, Place, Snapshot};

/// Functions that free what nf_tables drops, on kernels where it frees at all.
const NFT_FREES: &str = "nft_do_chain";

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

    /// The rules and policies that it speaks of.
    pub fn places(&self) -> Vec<Place> {
        match &self.culprit {
            Culprit::Place(place) => vec![*place],
            Culprit::OneOf(places) => places.clone(),
        }
    }
}

/// Decides who dropped a packet.
pub fn decide(
    event: &DropEvent,
    snapshot: &Snapshot,
    hook: Option<Hook>,
    symbol: &str,
    pending: &mut Pending,
) -> Verdict {
    let scene = Scene {
        event,
        snapshot,
        hook,
        symbol,
    };
    // What moved is numbered by the snapshot that the kernel side compared with, and by no other.
    let was_compared = event.flags & flag::COMPARED != 0 && event.generation == snapshot.generation;
    let own = if was_compared { scene.moves() } else { Vec::new() };
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

struct Scene<'a> {
    event: &'a DropEvent,
    snapshot: &'a Snapshot,
    hook: Option<Hook>,
    symbol: &'a str,
}

impl Scene<'_> {
    fn moves(&self) -> Vec<Move> {
        let count = (self.event.moved_count as usize).min(MAX_MOVED);
        let moved = self.event.moved[..count].iter();
        moved
            .filter_map(|moved| {
                let index = moved.candidate.checked_sub(self.snapshot.first)? as usize;
                let place = *self.snapshot.places.get(index)?;
                Some(Move {
                    place,
                    packets: moved.packets,
                    bytes: moved.bytes,
                })
            })
            .collect()
    }

    /// Whether a packet in this hook, of this family, freed by this function, can have met this rule.
    fn fits(&self, place: &Place) -> bool {
        let Some(table) = self.snapshot.tables.get(place.table) else {
            return false;
        };
        let is_v6 = self.event.protocol == 0x86dd_u16.to_be();
        let family_fits = match table.family {
            TableFamily::Ip => !is_v6,
            TableFamily::Ip6 => is_v6,
            TableFamily::Inet => true,
            _ => false,
        };
        let backend_fits = table.backend == Backend::Nft || self.symbol != NFT_FREES;
        let hook_fits = self
            .hook
            .is_none_or(|hook| table.hooks_of(place.chain).contains(&hook));
        family_fits && backend_fits && hook_fits
    }

    /// Exactly this packet was counted.
    fn is_this_packet(&self, moved: &Move) -> bool {
        moved.packets == 1 && moved.bytes == u64::from(self.event.len_bytes)
    }

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
            jumps_fit: false,
            note,
        }
    }

    /// A target that drops some packets counted this one, and no rule that drops all of them did.
    fn only_possible(&self, moves: &[Move]) -> Verdict {
        match moves {
            [one] if self.is_this_packet(one) => Verdict {
                culprit: Culprit::Place(one.place),
                confidence: Confidence::Inferred,
                by_counter: true,
                jumps_fit: false,
                note: Some("this target drops only some of its packets"),
            },
            _ => unknown(moves.iter().map(|moved| moved.place).collect()),
        }
    }

    /// No counter moved, or there was nothing to compare with.
    fn no_counter(&self, was_compared: bool) -> Verdict {
        let fits = |place: &&Place| self.fits(place);
        let uncounted = self.snapshot.uncounted.iter().filter(fits);
        if was_compared && self.event.flags & flag::STALE == 0 {
            let note = Some("no rule with a counter dropped it");
            return Verdict {
                note,
                ..unknown(uncounted.copied().collect())
            };
        }
        let all = self
            .snapshot
            .places
            .iter()
            .filter(fits)
            .chain(uncounted)
            .copied()
            .collect();
        Verdict {
            note: Some("the ruleset had just changed"),
            ..unknown(all)
        }
    }
}

fn unknown(candidates: Vec<Place>) -> Verdict {
    Verdict {
        culprit: Culprit::OneOf(candidates),
        confidence: Confidence::Unknown,
        by_counter: false,
        jumps_fit: false,
        note: None,
    }
}
