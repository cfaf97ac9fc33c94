//! A base chain of nf_tables on the way.

use super::nft_packet::{as_nft, with_changes};
use super::phases::Asked;
use super::traveller::{Came, Pending, Traveller};
use super::{ChainPassage, End, Stop};
use crate::evaluate::nftables::{Assumption, Called, Evaluator, Outcome, Path, Place};
use crate::evaluate::packet::Packet;
use crate::evaluate::walk::Bounds;
use crate::report::record::Hook;

impl<'a> Traveller<'a> {
    /// Asks a base chain.
    pub(super) fn chain(
        &self,
        pending: &Pending<'a>,
        asked: Asked<'a>,
        called: Called<'a>,
        bounds: &mut Bounds,
    ) -> Vec<Came<'a>> {
        let Some(nft) = self.asked.nft else {
            return vec![Came::On(pending.clone())];
        };
        let found = nft.ask(called, &as_nft(&pending.packet), &mut bounds.rules);
        let left = found.paths.into_iter().map(|path| {
            let packet = with_changes(&pending.packet, &path, nft, (asked.hook, self.around));
            Left {
                rests_on: path.assumptions.clone(),
                path,
                packet,
            }
        });
        let mut came = Vec::new();
        for left in merged(left, bounds.merges) {
            let mut way = pending.clone();
            way.reroutes |= asked.hook == Hook::Output && is_elsewhere(called, &pending.packet, &left.packet);
            way.is_translated |= left.path.is_translated;
            way.packet = left.packet.clone();
            let (outcome, decided_by) = (left.path.outcome, left.path.decided_by);
            let why = open(nft, &left.path);
            way.stops.push(Stop::Chain(Box::new(ChainPassage {
                hook: asked.hook,
                base: Place {
                    table: called.table,
                    chain: called.chain,
                    rule: None,
                },
                priority: called.base.priority,
                path: left.path,
                rests_on: left.rests_on,
                before: pending.packet.clone(),
                after: left.packet,
            })));
            self.note_order(&mut way, asked, &pending.packet);
            came.push(match (outcome, decided_by) {
                (Some(Outcome::Accept), _) => Came::On(way),
                (Some(Outcome::Drop), Some(place)) => {
                    self.note_rivals(&mut way, asked, &pending.packet, bounds);
                    Came::Over(way.end(End::DroppedByNft(place)))
                }
                _ => Came::Over(way.end(End::Open(why))),
            });
        }
        came
    }
}

/// A way out of a base chain.
struct Left {
    path: Path,
    rests_on: Vec<Assumption>,
    packet: Packet,
}

/// Only an address that was translated, or a mark in a chain of type `route`, is routed by again.
fn is_elsewhere(called: Called<'_>, before: &Packet, after: &Packet) -> bool {
    let is_addressed = (before.dst, before.dport) != (after.dst, after.dport);
    is_addressed || (called.base.kind == "route" && before.mark != after.mark)
}

/// Why it cannot be told what becomes of the packet.
fn open(nft: &Evaluator<'_>, path: &Path) -> String {
    let rule = path.decided_by.and_then(|place| nft.text(place));
    match (path.outcome, rule) {
        _ if path.is_cut => "there are more ways and rules than are followed".to_owned(),
        (Some(Outcome::Queue), _) => "queue: a program in user space decides".to_owned(),
        (Some(Outcome::Stolen), Some(rule)) => format!("it goes another way by `{rule}`"),
        (_, Some(rule)) => format!("what `{rule}` does is not known"),
        (_, None) => "what the chain does is not known".to_owned(),
    }
}

/// Ways that come to the same are one: it rests on the assumptions that they have in common.
fn merged(left: impl Iterator<Item = Left>, merges: bool) -> Vec<Left> {
    let mut kept: Vec<Left> = Vec::new();
    for one in left {
        match kept.iter_mut().find(|known| merges && is_same(known, &one)) {
            Some(known) => known
                .rests_on
                .retain(|assumption| one.rests_on.contains(assumption)),
            None => kept.push(one),
        }
    }
    kept
}

/// To whoever is dropped in the same place it does not matter how; who lives must be the same afterwards.
fn is_same(one: &Left, other: &Left) -> bool {
    let (path, known) = (&one.path, &other.path);
    path.outcome == known.outcome
        && match path.outcome {
            Some(Outcome::Accept) => one.packet == other.packet && path.is_translated == known.is_translated,
            _ => path.decided_by == known.decided_by && path.is_cut == known.is_cut,
        }
}
