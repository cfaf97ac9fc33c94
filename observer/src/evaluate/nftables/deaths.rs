//! Where in a base chain a packet can have died, by what is known of it as it was when it died. What the chain itself may
//! have changed before is not known then: the packet may have come with anything else.

use std::collections::HashSet;

use super::Evaluator;
use super::effects::forget_by_extension;
use super::load::{At, Scene};
use super::packet::Packet;
use super::path::{Outcome, Place};
use super::prepared::{PreparedTable, verdict};
use super::value::Loaded;
use crate::ruleset::nftables::listing::{Expression, Family, Rule, Statement, Verdict};

/// What can have become of a packet in a base chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// The rules and policies that it can have died by, each once.
    pub places: Vec<Place>,
    /// Whether it can have lived on.
    pub survives: bool,
    /// Whether it can have come to an end that is not known.
    pub is_open: bool,
}

impl Evaluator<'_> {
    /// Asks a base chain where a packet can have died in it that was so when it died. `rules` is how many may still be
    /// asked. None if there is no such base chain.
    pub fn deaths(&self, base: (Family, &str, &str), packet: &Packet, rules: &mut usize) -> Option<Deaths> {
        let called = self.find(base.0, base.1, base.2)?;
        let mut deaths = Deaths::default();
        let Some(before) = self.before(base, packet) else {
            deaths.is_open = true;
            return Some(deaths);
        };
        for path in self.ask(called, &before, rules).paths {
            let dies = path.outcome == Some(Outcome::Drop);
            match path.outcome {
                _ if path.is_cut => deaths.is_open = true,
                Some(Outcome::Unknown) | None => deaths.is_open = true,
                Some(Outcome::Drop) => {}
                Some(_) => deaths.survives = true,
            }
            // A translation that cannot be set up drops the packet.
            if let Some(place) = path.decided_by.filter(|_| dies || path.is_translated)
                && !deaths.places.contains(&place)
            {
                deaths.places.push(place);
            }
        }
        Some(deaths)
    }

    /// What is known of a packet as it came to a base chain, by what it is behind it; none if a rule there may do what is not
    /// known, or there is no such base chain.
    pub fn before(&self, base: (Family, &str, &str), packet: &Packet) -> Option<Packet> {
        let called = self.find(base.0, base.1, base.2)?;
        let table = &self.tables[called.table];
        let at = At {
            family: table.table.family,
            hook: &called.base.hook,
            priority: called.order().0,
        };
        let mut before = Packet {
            family: packet.ip_family(),
            ..packet.clone()
        };
        for chain in reached(table, called.chain) {
            let statements = chain.iter().flat_map(|rule| &rule.statements);
            for statement in statements {
                before = forgotten(statement, before, table, at)?;
            }
        }
        Some(before)
    }
}

/// The rules of the chains that a base chain leads to, and its own.
fn reached<'a>(table: &PreparedTable<'a>, base: usize) -> Vec<&'a [Rule]> {
    let chains = &table.table.chains;
    let mut queued = vec![false; chains.len()];
    let mut queue = vec![base];
    let mut maps = HashSet::new();
    let mut rules = Vec::new();
    if let Some(queued) = queued.get_mut(base) {
        *queued = true;
    }
    while let Some(chain) = queue.pop().and_then(|index| chains.get(index)) {
        rules.push(chain.rules.as_slice());
        for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
            // Many rules may ask one map, and all its elements may lead to one chain.
            if map(statement).is_some_and(|name| !maps.insert(name)) {
                continue;
            }
            for index in next(statement, table).filter_map(|name| table.chain(name)) {
                if queued
                    .get_mut(index)
                    .is_some_and(|queued| !std::mem::replace(queued, true))
                {
                    queue.push(index);
                }
            }
        }
    }
    rules
}

/// The verdict map with a name that a statement asks.
fn map(statement: &Statement) -> Option<&str> {
    match statement {
        Statement::Vmap {
            data: Expression::Reference(name),
            ..
        } => Some(name),
        _ => None,
    }
}

/// The chains that a statement may lead to.
fn next<'a>(statement: &'a Statement, table: &PreparedTable<'a>) -> impl Iterator<Item = &'a str> {
    let of = |verdict: &'a Verdict| match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain.as_str()),
        _ => None,
    };
    let own = match statement {
        Statement::Verdict(verdict) => of(verdict),
        _ => None,
    };
    let elements = match statement {
        Statement::Vmap {
            data: Expression::Set(elements),
            ..
        } => elements.as_slice(),
        _ => {
            let named = map(statement).and_then(|name| table.table.sets.iter().find(|set| set.name == *name));
            named.map_or(&[][..], |set| set.elements.as_slice())
        }
    };
    let of_elements = elements.iter().filter_map(move |element| of(verdict(element)?));
    own.into_iter().chain(of_elements)
}

/// The packet without what a statement may have changed. A translation leaves its base chain: whatever dies there was not
/// translated there.
fn forgotten(
    statement: &Statement,
    mut packet: Packet,
    table: &PreparedTable<'_>,
    at: At<'_>,
) -> Option<Packet> {
    match statement {
        Statement::Mangle { key, .. } => {
            let scene = Scene {
                packet: &packet,
                table,
                at,
            };
            return Some(scene.with(key, &Loaded::Unknown));
        }
        Statement::Notrack => packet.connection.state = None,
        Statement::Xt { kind, .. } if kind == "target" => forget_by_extension(&mut packet),
        Statement::Unknown(_) => return None,
        Statement::Text(text) if !text.starts_with("add @") && !text.starts_with("update @") => return None,
        _ => {}
    }
    Some(packet)
}

#[cfg(test)]
mod tests;
