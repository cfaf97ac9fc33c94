//! Conditions: whether a match statement holds for a packet.

use super::load::Scene;
use super::matcher::{Matcher, number};
use super::packet::Packet;
use super::prepared::{Found, PreparedSet};
use super::value::{Data, Loaded, Number, Truth};
use crate::ruleset::nftables::listing::{Datatype, Expression, Operator};

impl<'a> Scene<'a> {
    /// Whether the rule goes on.
    pub(super) fn holds(self, left: &'a Expression, operator: Operator, right: &'a Expression) -> Truth {
        let truth = self.compares(left, operator, right);
        if truth == Truth::Unknown && self.may_hide_headers() {
            // What does not hold of a header does not hold without it either.
            let packet = Packet {
                vlan_tag: Some(false),
                ..self.packet.clone()
            };
            let without = Scene {
                packet: &packet,
                ..self
            };
            if without.compares(left, operator, right) == Truth::No {
                return Truth::No;
            }
        }
        truth
    }

    fn compares(self, left: &Expression, operator: Operator, right: &Expression) -> Truth {
        let types = Datatype::of(left);
        let loaded = self.load_parts(left);
        if loaded.contains(&Loaded::Missing) {
            return Truth::No;
        }
        // What is not known may be missing, and then the rule does not match.
        let is_certain = loaded.iter().all(|part| matches!(part, Loaded::Is(_)));
        let truth = match right {
            Expression::Set(_) | Expression::Reference(_) => {
                let is_there = self.find_loaded(&loaded, &types, right).is_there();
                match operator {
                    Operator::Equal => is_there,
                    Operator::NotEqual => is_there.turned(true),
                    _ => Truth::Unknown,
                }
            }
            _ => compare(&loaded, &types, operator, right),
        };
        if truth == Truth::Yes && !is_certain {
            Truth::Unknown
        } else {
            truth
        }
    }

    /// Looks a key up in a set or map.
    pub(super) fn find(self, key: &Expression, data: &'a Expression) -> Found<'a> {
        self.find_loaded(&self.load_parts(key), &Datatype::of(key), data)
    }

    fn find_loaded(self, key: &[Loaded], types: &[Datatype], data: &'a Expression) -> Found<'a> {
        let unknown = Found {
            none: true,
            more: true,
            ..Found::default()
        };
        match data {
            Expression::Set(elements) => match self.table.unnamed(elements) {
                Some(set) => set.find(key),
                None => PreparedSet::of(elements, types).find(key),
            },
            Expression::Reference(name) => self.table.set(name).map_or(unknown, |set| set.find(key)),
            _ => unknown,
        }
    }

    /// The value that a map has for a key.
    pub(super) fn mapped(self, key: &Expression, data: &Expression) -> Loaded {
        // What is found must not outlive the map: only its number is kept.
        let (loaded, types) = (self.load_parts(key), Datatype::of(key));
        let found = match data {
            Expression::Set(elements) => match self.table.unnamed(elements) {
                Some(set) => set.find(&loaded),
                None => PreparedSet::of(elements, &types).find(&loaded),
            },
            Expression::Reference(name) => match self.table.set(name) {
                Some(set) => set.find(&loaded),
                None => return Loaded::Unknown,
            },
            _ => return Loaded::Unknown,
        };
        if found.missing || found.is_there() == Truth::No {
            return Loaded::Missing;
        }
        let value = found.sure.and_then(|element| element.data.as_ref());
        Loaded::known(value.and_then(any_number))
    }
}

/// A constant whose type is not known: a number, or an address of either family.
pub(super) fn any_number(value: &Expression) -> Option<u128> {
    [Datatype::Ipv4Address, Datatype::Ipv6Address]
        .into_iter()
        .find_map(|datatype| number(value, datatype))
}

fn compare(loaded: &[Loaded], types: &[Datatype], operator: Operator, right: &Expression) -> Truth {
    match operator {
        Operator::Equal => is_same(loaded, types, right),
        Operator::NotEqual => is_same(loaded, types, right).turned(true),
        Operator::Any => any_bit(loaded, types, right),
        Operator::None => any_bit(loaded, types, right).turned(true),
        _ => order(loaded, types, operator, right),
    }
}

fn is_same(loaded: &[Loaded], types: &[Datatype], right: &Expression) -> Truth {
    let rights = match right {
        Expression::Concatenation(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    if rights.len() != loaded.len() {
        return Truth::Unknown;
    }
    let pairs = loaded.iter().zip(rights).enumerate();
    pairs
        .map(|(index, (loaded, right))| match loaded {
            Loaded::Is(data) => {
                let datatype = types.get(index).copied().unwrap_or(Datatype::Other);
                Matcher::of(right, datatype).test(data)
            }
            Loaded::Missing => Truth::No,
            Loaded::Unknown => Truth::Unknown,
        })
        .fold(Truth::Yes, Truth::and)
}

/// The only part, as a number, and the constant.
fn numbers(loaded: &[Loaded], types: &[Datatype], right: &Expression) -> Option<(Number, u128)> {
    let [Loaded::Is(Data::Number(left))] = loaded else {
        return None;
    };
    Some((*left, number(right, *types.first()?)?))
}

fn any_bit(loaded: &[Loaded], types: &[Datatype], right: &Expression) -> Truth {
    match numbers(loaded, types, right) {
        // Labels are numbers of bits, and no bits at all are something else.
        Some((left, bits)) if bits != 0 && types != [Datatype::CtLabel] => left.has_any(bits),
        _ => Truth::Unknown,
    }
}

fn order(loaded: &[Loaded], types: &[Datatype], operator: Operator, right: &Expression) -> Truth {
    let Some((left, right)) = numbers(loaded, types, right) else {
        return Truth::Unknown;
    };
    let less = |bound: u128| match bound.checked_sub(1) {
        Some(greatest) => left.is_within(0, greatest),
        None => Truth::No,
    };
    match operator {
        Operator::Less => less(right),
        Operator::GreaterOrEqual => less(right).turned(true),
        Operator::LessOrEqual => left.is_within(0, right),
        Operator::Greater => left.is_within(0, right).turned(true),
        _ => Truth::Unknown,
    }
}
