//! Rules that would have let a packet live, and the conditions that they failed on.

use std::cmp::Reverse;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::hook::Evaluator;
use super::load::{At, Scene};
use super::packet::Packet;
use super::path::{Outcome, Path, Place};
use super::value::{Data, Loaded, Truth};
use crate::ruleset::nftables::listing::{Datatype, Expression, Statement, symbols};

/// An accepting rule that a dropped packet did not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule.
    pub place: Place,
    /// The conditions that it failed on: one at least.
    pub failing: Vec<Failing>,
    /// How many of its conditions the packet met.
    pub met: usize,
    /// Of how many that is not known.
    pub unknown: usize,
}

/// A condition that a packet does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The condition, as nft writes it: `ip daddr 10.244.0.0/16`.
    pub needs: String,
    /// What the packet has instead: `10.224.2.16`.
    pub has: String,
}

impl Failing {
    /// `needs ip daddr 10.244.0.0/16, packet has 10.224.2.16`
    pub fn text(&self) -> String {
        format!("needs {}, packet has {}", self.needs, self.has)
    }
}

impl Evaluator<'_> {
    /// The accepting rules of the base chain that dropped the packet which the packet came by and did not match: those
    /// that failed on the fewest conditions first, `most` at most. Nothing for a path on which the packet lives.
    pub fn near_misses(&self, path: &Path, most: usize) -> Vec<NearMiss> {
        if path.outcome != Some(Outcome::Drop) {
            return Vec::new();
        }
        let mut misses: Vec<_> = path
            .missed
            .iter()
            .filter_map(|place| self.near_miss(*place, &path.packet))
            .collect();
        misses.sort_by_key(|miss| (miss.failing.len(), miss.unknown, Reverse(miss.met)));
        misses.truncate(most);
        misses
    }

    fn near_miss(&self, place: Place, packet: &Packet) -> Option<NearMiss> {
        let table = self.tables.get(place.table)?;
        let rule = table.table.chains.get(place.chain)?.rules.get(place.rule?)?;
        let scene = Scene {
            packet,
            table,
            // Where conntrack has seen the packet: nothing is filtered before.
            at: At {
                family: table.table.family,
                hook: "forward",
                priority: 0,
            },
        };
        let mut miss = NearMiss {
            place,
            failing: Vec::new(),
            met: 0,
            unknown: 0,
        };
        for statement in &rule.statements {
            let Statement::Match {
                left,
                operator,
                right,
            } = statement
            else {
                continue;
            };
            match scene.holds(left, *operator, right) {
                Truth::Yes => miss.met += 1,
                Truth::Unknown => miss.unknown += 1,
                Truth::No => miss.failing.push(Failing {
                    needs: statement.text(table.table.family),
                    has: scene.has(left),
                }),
            }
        }
        // Without a condition that surely fails there is nothing to say.
        (!miss.failing.is_empty()).then_some(miss)
    }
}

impl Scene<'_> {
    /// What the packet has in the place of an expression, as text.
    fn has(self, left: &Expression) -> String {
        let loaded = self.load_parts(left);
        if loaded.contains(&Loaded::Missing) {
            return self.kind();
        }
        let types = Datatype::of(left);
        let parts = loaded.iter().enumerate().map(|(index, part)| {
            let datatype = types.get(index).copied().unwrap_or(Datatype::Other);
            shown(part, datatype)
        });
        parts.collect::<Vec<_>>().join(" . ")
    }

    /// What kind of packet it is, where it has no such thing.
    fn kind(self) -> String {
        let protocol = self.packet.protocol.map(u64::from);
        let name = protocol.and_then(|number| symbols::name(symbols::PROTOCOLS, number));
        let version = match self.packet.ip_family() {
            Some(super::packet::IpFamily::V4) => "IPv4",
            Some(super::packet::IpFamily::V6) => "IPv6",
            None => "IP",
        };
        match (name, protocol) {
            (Some(name), _) => format!("{version} {name}"),
            (None, Some(number)) => format!("{version} protocol {number}"),
            (None, None) => version.to_owned(),
        }
    }
}

fn shown(loaded: &Loaded, datatype: Datatype) -> String {
    match loaded {
        Loaded::Is(Data::Text(text)) if text.is_empty() => "none".to_owned(),
        Loaded::Is(Data::Text(text)) => Expression::Word(text.clone()).text(&[datatype]),
        Loaded::Is(Data::Number(number)) if number.is_exact() => constant(number.value, datatype),
        _ => "?".to_owned(),
    }
}

fn constant(value: u128, datatype: Datatype) -> String {
    let number = u64::try_from(value).unwrap_or(u64::MAX);
    let expression = match datatype {
        Datatype::Ipv4Address => Expression::Word(Ipv4Addr::from_bits(number as u32).to_string()),
        Datatype::Ipv6Address => Expression::Word(Ipv6Addr::from_bits(value).to_string()),
        _ if datatype.is_bits() => bits(number, datatype),
        _ => match symbols::name(datatype.names(), number) {
            Some(name) => Expression::Word(name.to_owned()),
            None => Expression::Number(number),
        },
    };
    expression.text(&[datatype])
}

/// Each bit by its name.
fn bits(number: u64, datatype: Datatype) -> Expression {
    let names = datatype.names().iter();
    let set: Vec<_> = names.filter(|(_, bit)| number & bit != 0).collect();
    let named = set.iter().fold(0, |all, (_, bit)| all | bit);
    if named != number || set.is_empty() {
        return Expression::Number(number);
    }
    Expression::List(
        set.iter()
            .map(|(name, _)| Expression::Word((*name).to_owned()))
            .collect(),
    )
}
