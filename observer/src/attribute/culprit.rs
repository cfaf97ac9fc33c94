//! Which of the counters that moved belongs to the rule that dropped this packet.
//!
//! `exact` only if one is left that can be it, and what it counted is this packet: one packet, of this length. A rule
//! that this hook does not lead to cannot be it; a rule that only may drop is no proof.

use observer_common::{DropEvent, MAX_MOVED, flag};

use super::droppers::{is_on, is_v6, suspects};
use super::whole::is_whole;
use super::{Pending, Site};
use crate::report::record::{Backend, Confidence, Hook, TableFamily};
use crate::ruleset::{Ending, Place, Snapshot, Table};

/// Functions that free what nf_tables drops, on kernels where it frees at all.
const NFT_FREES: &str = "nft_do_chain";
/// Frees what cannot be queued: nobody listens, or the queue is full (net/netfilter/nf_queue.c, v6.1 … v6.18).
const QUEUE_FREES: &str = "nf_queue";
/// Free what the listener of a queue turned down, in whichever hook (v6.1, v6.12).
const LISTENER_FREES: [&str; 3] = ["nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict"];
/// Targets that queue.
const QUEUES: [&str; 3] = ["NFQUEUE", "QUEUE", "queue"];
/// Headers that a device's egress sees before the packet, in bytes: none, Ethernet, Ethernet with a VLAN tag.
const LINK_HEADERS: [u64; 3] = [0, 14, 18];

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

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who it was.
    pub culprit: Culprit,
    /// How sure that is.
    pub confidence: Confidence,
    /// Whether a counter said so.
    pub by_counter: bool,
    /// Whether nf_tables' trace hook said so.
    pub by_trace: bool,
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
    site: Option<Site<'a>>,
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
        self.family_fits(table.family)
            && self.freed_by(table, place)
            && self.site.is_none_or(|site| {
                let nft_family = site.nft_family();
                self.hook_fits(place, site) && nft_family.is_none_or(|family| family == table.family)
            })
    }

    /// Whether a packet of this protocol in this hook comes to tables of that family.
    fn family_fits(&self, table: TableFamily) -> bool {
        let is_v6 = is_v6(self.event);
        let of_packet = match table {
            TableFamily::Ip => !is_v6,
            TableFamily::Ip6 => is_v6,
            _ => true,
        };
        let of_hook = self.site.is_none_or(|site| match (site.family, table) {
            (TableFamily::Inet, TableFamily::Ip | TableFamily::Ip6 | TableFamily::Inet) => true,
            (TableFamily::Netdev, TableFamily::Inet) => site.hook == Hook::Ingress,
            (family, table) => family == table,
        });
        of_packet && of_hook
    }

    /// Whether the function that freed the packet is the one that frees what this rule drops.
    fn freed_by(&self, table: &Table, place: &Place) -> bool {
        let queues = self.queues(table, place);
        match self.symbol {
            NFT_FREES => table.backend == Backend::Nft && !queues,
            QUEUE_FREES => queues,
            symbol if LISTENER_FREES.contains(&symbol) => queues,
            _ => true,
        }
    }

    fn queues(&self, table: &Table, place: &Place) -> bool {
        let rule = place
            .rule
            .and_then(|rule| table.chains.get(place.chain)?.rules.get(rule));
        rule.and_then(|rule| rule.target.as_deref())
            .is_some_and(|target| QUEUES.contains(&target))
    }

    /// Whether this hook leads to the rule; a device's hook only on that device.
    fn hook_fits(&self, place: &Place, site: Site<'_>) -> bool {
        if site.family != TableFamily::Netdev {
            return self.snapshot.is_reached_from(place.table, place.chain, site.hook);
        }
        let bases = self.snapshot.bases_of(place.table, place.chain);
        let Some(table) = self.snapshot.tables.get(place.table) else {
            return false;
        };
        let functions = &self.snapshot.hooks.functions;
        bases
            .iter()
            .filter_map(|base| table.chains.get(*base))
            .any(|base| {
                functions
                    .iter()
                    .any(|function| function.private == base.address && is_on(self.event, site, function))
            })
    }

    /// Exactly this packet was counted: at a device's egress with its link header.
    fn is_this_packet(&self, moved: &Move) -> bool {
        let is_egress = self.site.is_some_and(|site| site.hook == Hook::Egress);
        let headers = if is_egress {
            &LINK_HEADERS[..]
        } else {
            &LINK_HEADERS[..1]
        };
        let len_bytes = u64::from(self.event.len_bytes);
        moved.packets == 1 && headers.iter().any(|header| moved.bytes == len_bytes + header)
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
            by_trace: false,
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
            by_trace: false,
            path: None,
            jumps_fit: false,
            note,
        }
    }

    /// A target that drops some packets counted this one, and no rule that drops all of them did.
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
        let exact: Vec<&Move> = moves.iter().filter(|moved| self.is_this_packet(moved)).collect();
        match (&exact[..], moves.len()) {
            ([one], 1) => Verdict {
                culprit: Culprit::Place(one.place),
                confidence,
                by_counter: true,
                by_trace: false,
                path: None,
                jumps_fit: false,
                note,
            },
            _ => unknown(moves.iter().map(|moved| moved.place).collect()),
        }
    }

    /// No counter moved, or there was nothing to compare with.
    fn no_counter(&self, was_compared: bool) -> Verdict {
        let fits = |place: &&Place| self.fits(place);
        let uncounted = self.snapshot.uncounted.iter().filter(fits);
        if was_compared && self.event.flags & flag::STALE == 0 {
            let uncounted: Vec<Place> = uncounted.copied().collect();
            let by_function = if uncounted.is_empty() {
                self.by_function()
            } else {
                None
            };
            return by_function.unwrap_or_else(|| Verdict {
                note: Some("no rule with a counter dropped it"),
                ..unknown(uncounted)
            });
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

    /// No rule and no policy that drops was met: it was a function that asks no rules, or a match that takes a packet
    /// for malformed and drops it without being counted.
    fn by_function(&self) -> Option<Verdict> {
        let site = self.site?;
        if self.symbol == NFT_FREES || self.symbol == QUEUE_FREES || LISTENER_FREES.contains(&self.symbol) {
            return None;
        }
        let suspects = suspects(self.event, self.snapshot, site);
        let rules_too = site.function.is_none() && self.meets_rules(site);
        let is_malformed = rules_too && !is_whole(self.event);
        let (culprit, confidence, note) = match suspects[..] {
            [] => return None,
            [one] if !is_malformed => (
                Culprit::Function(one),
                Confidence::Inferred,
                rules_too.then_some("a match of a rule drops without being counted, too, if memory is short"),
            ),
            _ => (
                Culprit::Functions(suspects),
                Confidence::Unknown,
                is_malformed.then_some("or a match of a rule, for which the packet is malformed"),
            ),
        };
        Some(Verdict {
            culprit,
            confidence,
            by_counter: false,
            by_trace: false,
            path: None,
            jumps_fit: false,
            note,
        })
    }

    /// Whether packets in this hook are held against rules.
    fn meets_rules(&self, site: Site<'_>) -> bool {
        let tables = self.snapshot.tables.iter().enumerate();
        let mut fitting = tables.filter(|(_, table)| self.family_fits(table.family));
        fitting.any(|(index, table)| {
            let chains = table.chains.iter().enumerate();
            chains
                .filter(|(_, chain)| !chain.rules.is_empty())
                .any(|(chain, _)| self.snapshot.is_reached_from(index, chain, site.hook))
        })
    }
}

fn unknown(candidates: Vec<Place>) -> Verdict {
    Verdict {
        culprit: Culprit::OneOf(candidates),
        confidence: Confidence::Unknown,
        by_counter: false,
        by_trace: false,
        path: None,
        jumps_fit: false,
        note: None,
    }
}
