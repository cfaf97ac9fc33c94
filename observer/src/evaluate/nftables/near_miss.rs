//! Rules that would have let a packet live, and the conditions that they failed on.

use std::cmp::Reverse;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::hook::Evaluator;
use super::load::{At, Scene};
use super::packet::Packet;
use super::path::{Outcome, Path, Place};
use super::value::{Data, Loaded, Truth};
use crate::ruleset::nftables::listing::{Datatype, Expression, Statement, symbols};

/// So many rules that lead elsewhere are followed, the nearest of them.
const FOLLOWED: usize = 8;
/// Rules that lead elsewhere and failed by more conditions are not followed.
const MOST_FAILED: usize = 2;
/// So many rules are asked in following all of them.
const RULES: usize = 200_000;

/// A rule that a dropped packet did not match, and that would have let it live.
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
    /// Where the packet would have been accepted, if not by this rule itself: it leads there.
    pub accepted_by: Option<Place>,
}

/// A condition that a packet does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The condition, as nft writes it: `ip daddr 10.244.0.0/16`.
    pub needs: String,
    /// What the packet has instead: `10.224.2.16`.
    pub has: String,
}

/// How many of a rule's conditions fail, are unknown, are met.
struct Missed {
    place: Place,
    failing: usize,
    unknown: usize,
    met: usize,
}

fn sort(found: &mut [Missed]) {
    found.sort_by_key(|missed| (missed.failing, missed.unknown, Reverse(missed.met)));
}

impl Failing {
    /// `needs ip daddr 10.244.0.0/16, packet has 10.224.2.16`
    pub fn text(&self) -> String {
        format!("needs {}, packet has {}", self.needs, self.has)
    }
}

impl Evaluator<'_> {
    /// The rules of the base chain that dropped the packet which the packet came by and did not match, and which would have
    /// let it live: by themselves, or by where they jump, go or return to. Those that failed on the fewest conditions first,
    /// `most` at most. Nothing for a path on which the packet dies otherwise.
    pub fn near_misses(&self, path: &Path, most: usize) -> Vec<NearMiss> {
        if path.outcome != Some(Outcome::Drop) {
            return Vec::new();
        }
        let mut found: Vec<_> = self.missed(&path.missed, &path.packet).collect();
        sort(&mut found);
        found.truncate(most);
        let mut near: Vec<NearMiss> = found
            .into_iter()
            .map(|missed| self.near(missed, None, &path.packet))
            .collect();
        near.extend(self.leading(path));
        near.sort_by_key(|near| (near.failing.len(), near.unknown, Reverse(near.met)));
        near.truncate(most);
        near
    }

    /// Of the rules that lead elsewhere those behind which the packet surely would have been accepted.
    fn leading(&self, path: &Path) -> Vec<NearMiss> {
        let is_near = |missed: &Missed| missed.unknown == 0 && missed.failing <= MOST_FAILED;
        let found = self.missed(&path.led, &path.packet).filter(is_near);
        let mut near: Vec<(u64, NearMiss)> = found
            .map(|missed| self.near(missed, None, &path.packet))
            .map(|near| {
                let distance = near
                    .failing
                    .iter()
                    .map(|failing| u64::from(failing.distance()))
                    .sum();
                (distance, near)
            })
            .collect();
        near.sort_by_key(|(distance, near)| (near.failing.len(), *distance));
        near.truncate(FOLLOWED);
        let mut rules = RULES;
        let followed = near.into_iter().filter_map(|(_, near)| {
            let accepted_by = self.accepted(path, near.place, &mut rules)?;
            Some(NearMiss {
                accepted_by: Some(accepted_by),
                ..near
            })
        });
        followed.collect()
    }

    /// Where the packet is accepted on every way that comes by a rule, if that matches when it is met first; `None` if it is
    /// not sure to be.
    fn accepted(&self, path: &Path, place: Place, rules: &mut usize) -> Option<Place> {
        let (came, table, chain) = path.came.clone()?;
        let start = Path {
            packet: came,
            ..Path::default()
        };
        let walk = self.walk(self.base(table, chain)?, Some(place));
        let ways = walk.follow_forced(start, rules);
        let accepts = |way: &Path| way.outcome == Some(Outcome::Accept) && !way.is_cut;
        if !ways.iter().all(accepts) {
            return None;
        }
        ways.first()?.decided_by
    }

    fn missed<'s>(&'s self, places: &'s [Place], packet: &'s Packet) -> impl Iterator<Item = Missed> {
        places.iter().filter_map(|place| self.counts(*place, packet))
    }

    fn near(&self, missed: Missed, accepted_by: Option<Place>, packet: &Packet) -> NearMiss {
        NearMiss {
            place: missed.place,
            failing: self.failing(missed.place, packet),
            met: missed.met,
            unknown: missed.unknown,
            accepted_by,
        }
    }

    /// How its conditions came out. None if none surely fails: then there is nothing to
    /// say.
    fn counts(&self, place: Place, packet: &Packet) -> Option<Missed> {
        let mut missed = Missed {
            place,
            failing: 0,
            unknown: 0,
            met: 0,
        };
        for (_, truth) in self.conditions(place, packet) {
            *match truth {
                Truth::No => &mut missed.failing,
                Truth::Unknown => &mut missed.unknown,
                Truth::Yes => &mut missed.met,
            } += 1;
        }
        (missed.failing > 0).then_some(missed)
    }

    fn failing(&self, place: Place, packet: &Packet) -> Vec<Failing> {
        let (Some(table), Some(scene)) = (self.table(place), self.scene(place, packet)) else {
            return Vec::new();
        };
        self.conditions(place, packet)
            .filter(|(_, truth)| *truth == Truth::No)
            .map(|(statement, _)| Failing {
                needs: statement.text(table.family),
                has: match statement {
                    Statement::Match { left, .. } => scene.has(left),
                    _ => String::new(),
                },
            })
            .collect()
    }

    /// The conditions of a rule, and whether the packet meets them.
    pub(super) fn conditions<'s>(
        &'s self,
        place: Place,
        packet: &'s Packet,
    ) -> impl Iterator<Item = (&'s Statement, Truth)> {
        let statements = self.rule(place).map(|rule| &*rule.statements);
        let scene = self.scene(place, packet);
        statements
            .unwrap_or_default()
            .iter()
            .filter_map(move |statement| match statement {
                Statement::Match {
                    left,
                    operator,
                    right,
                } => Some((statement, scene?.holds(left, *operator, right))),
                _ => None,
            })
    }

    /// Where conntrack has seen the packet: nothing is filtered before.
    fn scene<'s>(&'s self, place: Place, packet: &'s Packet) -> Option<Scene<'s>> {
        let table = self.tables.get(place.table)?;
        Some(Scene {
            packet,
            table,
            at: At {
                family: table.table.family,
                hook: "forward",
                priority: 0,
            },
        })
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
        Loaded::Is(Data::Text(text)) => Expression::Word(text.into()).text(&[datatype]),
        Loaded::Is(Data::Number(number)) if number.is_exact() => constant(number.value, datatype),
        // Some bits of it are not known, and those that were asked for are others.
        _ => "something else".to_owned(),
    }
}

fn constant(value: u128, datatype: Datatype) -> String {
    let number = u64::try_from(value).unwrap_or(u64::MAX);
    let expression = match datatype {
        Datatype::Ipv4Address => Expression::Word(Ipv4Addr::from_bits(number as u32).to_string().into()),
        Datatype::Ipv6Address => Expression::Word(Ipv6Addr::from_bits(value).to_string().into()),
        _ if datatype.is_bits() => bits(number, datatype),
        _ => match symbols::name(datatype.names(), number) {
            Some(name) => Expression::Word(name.into()),
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
            .map(|(name, _)| Expression::Word((*name).into()))
            .collect(),
    )
}
