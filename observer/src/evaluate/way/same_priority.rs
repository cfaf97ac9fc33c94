//! What has the same priority at a hook is asked in an order that no tool lists: a hook function that was registered later comes
//! first (`nf_hook_entries_grow`, net/netfilter/core.c). Of chains of one table that is known. Where it may matter otherwise it
//! is said.

use super::nft_packet::as_nft;
use super::phases::{Asked, Phase, Who};
use super::traveller::{Pending, Traveller};
use crate::evaluate::nftables::Outcome;
use crate::evaluate::packet::Packet;
use crate::evaluate::walk::{Bounds, Verdict, walk};

/// Their order is that of the list.
fn are_of_one_table(one: Asked<'_>, other: Asked<'_>) -> bool {
    match (one.who, other.who) {
        (Who::Chain(one), Who::Chain(other)) => one.table == other.table,
        _ => false,
    }
}

impl<'a> Traveller<'a> {
    /// Who changes the packet may come before or after others of the same priority.
    pub(super) fn note_order(&self, way: &mut Pending<'a>, asked: Asked<'a>, before: &Packet) {
        if way.packet == *before {
            return;
        }
        let others: Vec<String> = self
            .others(way, asked)
            .map(|(other, _)| self.name(other))
            .collect();
        if !others.is_empty() {
            way.note(&format!(
                "{} changes the packet and has the same priority as {}: which comes first is not known, this order is taken",
                self.name(asked),
                others.join(", ")
            ));
        }
    }

    /// Who drops the packet may come after others of the same priority that would drop it, too.
    pub(super) fn note_rivals(
        &self,
        way: &mut Pending<'a>,
        asked: Asked<'a>,
        before: &Packet,
        bounds: &mut Bounds,
    ) {
        let later: Vec<Asked<'_>> = self
            .others(way, asked)
            .filter_map(|(other, is_later)| is_later.then_some(other))
            .collect();
        for other in later {
            if self.may_end(other, before, bounds) {
                way.note(&format!(
                    "{} may drop it, too, and has the same priority as {}: which comes first is not known",
                    self.name(other),
                    self.name(asked)
                ));
            }
        }
    }

    fn may_end(&self, asked: Asked<'_>, packet: &Packet, bounds: &mut Bounds) -> bool {
        match (asked.who, self.asked.nft) {
            (Who::Table(index), _) => self.asked.tables.get(index).is_some_and(|table| {
                let outcomes = walk(table, asked.hook, packet, self.around, bounds);
                outcomes
                    .iter()
                    .any(|outcome| !matches!(outcome.verdict, Verdict::Accept(_)))
            }),
            (Who::Chain(called), Some(nft)) => {
                let found = nft.ask(called, &as_nft(packet), &mut bounds.rules);
                found.outcomes().iter().any(|outcome| *outcome != Outcome::Accept)
            }
            (Who::Chain(_), None) => false,
        }
    }

    /// The others of the same hook and priority, and whether they come later. The way stands behind the one that was asked.
    fn others<'p>(
        &self,
        way: &'p Pending<'a>,
        asked: Asked<'a>,
    ) -> impl Iterator<Item = (Asked<'a>, bool)> + use<'p, 'a> {
        let alike = move |phase: &Phase<'a>| match phase {
            Phase::Ask(other) if (other.hook, other.order) == (asked.hook, asked.order) => Some(*other),
            _ => None,
        };
        let at = way.at.saturating_sub(1);
        let (earlier, rest) = way.phases.split_at(at.min(way.phases.len()));
        let later = rest.iter().skip(1).map_while(alike);
        let earlier = earlier.iter().rev().map_while(alike);
        earlier
            .map(|other| (other, false))
            .chain(later.map(|other| (other, true)))
            .filter(move |(other, _)| !are_of_one_table(*other, asked))
    }

    /// `filter FORWARD`, `inet lab forward`
    fn name(&self, asked: Asked<'_>) -> String {
        match asked.who {
            Who::Table(index) => {
                let table = self.asked.tables.get(index);
                let name = table.map(|table| table.name.as_str()).unwrap_or_default();
                format!("{name} {}", asked.hook.name())
            }
            Who::Chain(called) => self.asked.nft.map(|nft| nft.name(called)).unwrap_or_default(),
        }
    }
}
