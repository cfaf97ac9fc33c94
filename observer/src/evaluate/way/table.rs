//! A table of iptables on the way.

use super::phases::Asked;
use super::traveller::{Came, Pending, Traveller};
use super::{End, Passage, Stop};
use crate::evaluate::packet::Packet;
use crate::evaluate::table::{Action, Table};
use crate::evaluate::walk::{Bounds, Doubt, Outcome, Place, Verdict, walk};
use crate::report::record::Hook;

impl<'a> Traveller<'a> {
    /// Asks a table.
    pub(super) fn table(
        &self,
        pending: &Pending<'a>,
        asked: Asked<'a>,
        index: usize,
        bounds: &mut Bounds,
    ) -> Vec<Came<'a>> {
        let Some(table) = self.asked.tables.get(index) else {
            return vec![Came::On(pending.clone())];
        };
        let outcomes = walk(table, asked.hook, &pending.packet, self.around, bounds);
        let outcomes = merged(outcomes, bounds.merges);
        let came = outcomes.into_iter().map(|(outcome, rests_on)| {
            let mut way = pending.clone();
            way.stops.push(Stop::Table(Box::new(Passage {
                hook: asked.hook,
                table: index,
                steps: outcome.steps,
                doubts: outcome.doubts,
                rests_on,
                before: pending.packet.clone(),
                after: outcome.packet.clone(),
                verdict: outcome.verdict.clone(),
            })));
            way.reroutes |= asked.hook == Hook::Output && is_elsewhere(&pending.packet, &outcome.packet);
            way.packet = outcome.packet;
            self.note_order(&mut way, asked, &pending.packet);
            match outcome.verdict {
                Verdict::Drop(place) => {
                    self.note_rivals(&mut way, asked, &pending.packet, bounds);
                    Came::Over(way.end(End::Dropped(place)))
                }
                Verdict::Open(_, why) => Came::Over(way.end(End::Open(why))),
                Verdict::Accept(place) => {
                    way.is_translated |= translates(table, place);
                    Came::On(way)
                }
            }
        });
        came.collect()
    }
}

/// Whether its route may be another now.
fn is_elsewhere(before: &Packet, after: &Packet) -> bool {
    (before.dst, before.dport, before.mark) != (after.dst, after.dport, after.mark)
}

fn translates(table: &Table, place: Place) -> bool {
    let chain = table.chains.get(place.chain);
    let rule = chain
        .zip(place.rule)
        .and_then(|(chain, rule)| chain.rules.get(rule));
    rule.is_some_and(|rule| matches!(rule.action, Action::Translate(_)))
}

/// Ways that come to the same are one: it rests on the doubts that they have in common.
fn merged(outcomes: Vec<Outcome>, merges: bool) -> Vec<(Outcome, Vec<Doubt>)> {
    let mut kept: Vec<(Outcome, Vec<Doubt>)> = Vec::new();
    for outcome in outcomes {
        match kept
            .iter_mut()
            .find(|(known, _)| merges && is_same(known, &outcome))
        {
            Some((_, rests_on)) => rests_on.retain(|doubt| outcome.doubts.contains(doubt)),
            None => {
                let rests_on = outcome.doubts.clone();
                kept.push((outcome, rests_on));
            }
        }
    }
    kept
}

/// To whoever is dropped in the same place it does not matter how; who lives must be the same afterwards.
fn is_same(one: &Outcome, other: &Outcome) -> bool {
    match (&one.verdict, &other.verdict) {
        (Verdict::Accept(_), Verdict::Accept(_)) => one.packet == other.packet,
        (one, other) => one == other,
    }
}
