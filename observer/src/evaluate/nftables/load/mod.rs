//! What an expression yields for a packet.

mod ct;
mod meta;
mod payload;

use super::matcher::number;
use super::packet::Packet;
use super::prepared::PreparedTable;
use super::value::{Data, Loaded, Number};
use crate::evaluate::packet::Kinds;
use crate::ruleset::nftables::listing::{BinaryOperator, Datatype, Expression, Family, Payload};

/// More values than these are not told apart.
const MOST_VALUES: u64 = 256;

/// Where a rule is asked about a packet.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) packet: &'a Packet,
    pub(super) table: &'a PreparedTable<'a>,
    pub(super) at: At<'a>,
}

/// A base chain's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) family: Family,
    pub(super) hook: &'a str,
    pub(super) priority: i64,
}

impl Scene<'_> {
    /// The parts of an expression: one, or those of a concatenation.
    pub(super) fn load_parts(self, expression: &Expression) -> Vec<Loaded> {
        match expression {
            Expression::Concatenation(parts) => parts.iter().map(|part| self.load(part)).collect(),
            one => vec![self.load(one)],
        }
    }

    pub(super) fn load(self, expression: &Expression) -> Loaded {
        match expression {
            Expression::Payload(Payload::Field { protocol, field }) => self.field(protocol, field),
            Expression::Payload(Payload::Raw { base, offset, length }) => self.raw(base, *offset, *length),
            Expression::Meta(key) => self.meta(key),
            Expression::Ct { key, direction, .. } => self.ct(key, direction.as_deref()),
            Expression::Binary { operator, operands } => self.binary(*operator, operands),
            Expression::Numgen { modulus, offset, .. } | Expression::Symhash { modulus, offset } => {
                below(*modulus, *offset)
            }
            // What is hashed must be there.
            Expression::Jhash(hash) => {
                let parts = self.load_parts(&hash.of);
                if parts.contains(&Loaded::Missing) {
                    Loaded::Missing
                } else if parts.contains(&Loaded::Unknown) {
                    Loaded::Unknown
                } else {
                    below(hash.modulus, hash.offset)
                }
            }
            Expression::Map { key, data } => self.mapped(key, data),
            Expression::Fib { result, flags } if result == "type" => self.address_kind(flags),
            Expression::Option { of, field: None, .. } if of == "tcp option" => self.tcp_option_there(),
            // Everything else is asked of something that is not part of a packet: routes, sockets, options.
            _ => Loaded::Unknown,
        }
    }

    fn binary(self, operator: BinaryOperator, operands: &[Expression]) -> Loaded {
        let Some((first, rest)) = operands.split_first() else {
            return Loaded::Unknown;
        };
        let datatype = Datatype::of(first).first().copied().unwrap_or(Datatype::Other);
        let mut value = match self.load(first) {
            Loaded::Is(Data::Number(number)) => number,
            Loaded::Missing => return Loaded::Missing,
            _ => Number {
                value: 0,
                unknown: u128::MAX,
            },
        };
        // A value of which nothing is known may also be missing.
        let is_sure = value.unknown != u128::MAX;
        for operand in rest {
            let is_shift = matches!(operator, BinaryOperator::ShiftLeft | BinaryOperator::ShiftRight);
            let datatype = if is_shift { Datatype::Integer } else { datatype };
            let Some(other) = self.operand(operand, datatype) else {
                return Loaded::Unknown;
            };
            value = match operator {
                BinaryOperator::And => value.and(other),
                BinaryOperator::Or => value.or(other),
                BinaryOperator::Xor => value.xor(other),
                BinaryOperator::ShiftLeft | BinaryOperator::ShiftRight => {
                    let Some(by) = i32::try_from(other.value).ok().filter(|_| other.is_exact()) else {
                        return Loaded::Unknown;
                    };
                    value.shifted(if operator == BinaryOperator::ShiftLeft {
                        by
                    } else {
                        -by
                    })
                }
            };
        }
        if is_sure {
            Loaded::Is(Data::Number(value))
        } else {
            Loaded::Unknown
        }
    }

    fn operand(self, operand: &Expression, datatype: Datatype) -> Option<Number> {
        if let Some(constant) = number(operand, datatype) {
            return Some(Number::exact(constant));
        }
        match self.load(operand) {
            Loaded::Is(Data::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// What the routing table can call an address, where nothing but the address is looked up.
    fn address_kind(self, flags: &[String]) -> Loaded {
        let kinds = match flags {
            [one] if one == "saddr" => self.packet.source_kinds,
            [one] if one == "daddr" => self.packet.destination_kinds,
            _ => return Loaded::Unknown,
        };
        let mut numbers: Vec<u128> = kinds.numbers().map(u128::from).collect();
        match (numbers.pop(), numbers.is_empty()) {
            (Some(only), true) => Loaded::number(only),
            (Some(last), false) if kinds != Kinds::ANY => {
                numbers.push(last);
                Loaded::Is(Data::Among(numbers))
            }
            _ => Loaded::Unknown,
        }
    }

    /// Whether a packet has some option of TCP: what is not TCP has none.
    fn tcp_option_there(self) -> Loaded {
        const TCP: u8 = 6;
        match self.packet.protocol {
            Some(TCP) | None => Loaded::Unknown,
            // The rule may ask for TCP first, which nft then does not write: it matches neither way.
            Some(_) => Loaded::Missing,
        }
    }
}

/// A number below this, and something added.
fn below(modulus: u64, offset: u64) -> Loaded {
    if modulus == 0 || modulus > MOST_VALUES {
        return Loaded::Is(Data::Number(Number {
            value: 0,
            unknown: u32::MAX.into(),
        }));
    }
    let values = (0..modulus).map(|value| u128::from(value) + u128::from(offset));
    Loaded::Is(Data::Among(values.collect()))
}
