//! Constants that values are compared with.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::value::{Data, Truth};
use crate::ruleset::nftables::listing::symbols;
use crate::ruleset::nftables::listing::{BinaryOperator, Datatype, Expression, Name};

/// A constant, or an interval of them. Sets have tens of thousands: what is short is in place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matcher {
    /// This number.
    Exact(u64),
    /// Between these, which are included.
    Range(u32, u32),
    /// The same of numbers that are larger, or one such number.
    Wide(Box<(u128, u128)>),
    /// This text.
    Text(Name),
    /// Text that begins so.
    Prefix(Name),
    /// Whatever nothing else matches.
    Any,
    /// What it means is not known.
    Unknown,
}

impl Matcher {
    /// A constant of a type.
    pub(super) fn of(expression: &Expression, datatype: Datatype) -> Self {
        match expression {
            Expression::Wildcard => match datatype {
                Datatype::DeviceName => Self::Prefix("".into()),
                _ => Self::Any,
            },
            Expression::Word(word) if is_text(datatype) => text(word, datatype),
            Expression::Prefix { address, length } => prefix(address, *length, datatype),
            Expression::Range(ends) => match (number(&ends[0], datatype), number(&ends[1], datatype)) {
                // nft 1.0.6 lists `tcp dport < 80 ip ttl > 60` as `ip ttl != 80-60`; backwards no interval is.
                (Some(from), Some(to)) if from <= to => Self::between(from, to),
                _ => Self::Unknown,
            },
            other => number(other, datatype).map_or(Self::Unknown, |number| Self::between(number, number)),
        }
    }

    /// Between these numbers, which are included.
    pub(super) fn between(from: u128, to: u128) -> Self {
        if from == to
            && let Ok(number) = u64::try_from(from)
        {
            return Self::Exact(number);
        }
        match (u32::try_from(from), u32::try_from(to)) {
            (Ok(from), Ok(to)) => Self::Range(from, to),
            _ => Self::Wide(Box::new((from, to))),
        }
    }

    /// The first and the last number, if it is one of those.
    pub(super) fn interval(&self) -> Option<(u128, u128)> {
        match self {
            Self::Exact(number) => Some(((*number).into(), (*number).into())),
            Self::Range(from, to) => Some(((*from).into(), (*to).into())),
            Self::Wide(ends) => Some(**ends),
            _ => None,
        }
    }

    pub(super) fn test(&self, data: &Data) -> Truth {
        match (self, data) {
            (Self::Any, _) => Truth::Yes,
            (_, Data::Number(value)) => match self.interval() {
                Some((from, to)) if from == to => value.is(from),
                Some((from, to)) => value.is_within(from, to),
                None => Truth::Unknown,
            },
            // Of generators and hashes, whose bytes are in another order than those of intervals.
            (_, Data::Among(values)) => match self.interval() {
                Some((number, to)) if number == to => {
                    Truth::of_all(values.iter().map(|value| Truth::from(*value == number)))
                }
                _ => Truth::Unknown,
            },
            (Self::Text(text), Data::Text(value)) => Truth::from(text.as_str() == value),
            (Self::Prefix(text), Data::Text(value)) => Truth::from(value.starts_with(text.as_str())),
            _ => Truth::Unknown,
        }
    }
}

fn is_text(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::DeviceName | Datatype::Device)
}

/// A device's name; `*` at its end stands for anything, `\*` for itself.
fn text(word: &str, datatype: Datatype) -> Matcher {
    if datatype == Datatype::DeviceName {
        if let Some(start) = word.strip_suffix("\\*") {
            return Matcher::Text(format!("{start}*").into());
        }
        if let Some(start) = word.strip_suffix('*') {
            return Matcher::Prefix(start.into());
        }
    }
    Matcher::Text(word.into())
}

/// The number that a constant of a type is; of flags all of them together.
pub(super) fn number(expression: &Expression, datatype: Datatype) -> Option<u128> {
    match expression {
        Expression::Number(number) => Some((*number).into()),
        Expression::Exists(there) => Some((*there).into()),
        Expression::Word(word) => word_number(word, datatype),
        Expression::List(parts) => either(parts, datatype),
        Expression::Binary {
            operator: BinaryOperator::Or,
            operands,
        } => either(operands, datatype),
        _ => None,
    }
}

fn either(parts: &[Expression], datatype: Datatype) -> Option<u128> {
    parts
        .iter()
        .try_fold(0, |bits, part| Some(bits | number(part, datatype)?))
}

fn word_number(word: &str, datatype: Datatype) -> Option<u128> {
    match datatype {
        Datatype::Ipv4Address => word
            .parse::<Ipv4Addr>()
            .ok()
            .map(|address| address.to_bits().into()),
        Datatype::Ipv6Address => word.parse::<Ipv6Addr>().ok().map(Ipv6Addr::to_bits),
        Datatype::EtherAddress => ether_address(word),
        _ => symbols::number(datatype.names(), word).map(u128::from),
    }
}

fn ether_address(word: &str) -> Option<u128> {
    let bytes: Vec<u8> = word
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect::<Option<_>>()?;
    (bytes.len() == 6).then(|| {
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u128::from(*byte))
    })
}

fn prefix(address: &Expression, length: u32, datatype: Datatype) -> Matcher {
    let width = match datatype {
        Datatype::Ipv4Address => 32,
        Datatype::Ipv6Address => 128,
        Datatype::EtherAddress => 48,
        _ => return Matcher::Unknown,
    };
    let Some(number) = number(address, datatype).filter(|_| length <= width) else {
        return Matcher::Unknown;
    };
    // All ones below the prefix; a shift by the whole width leaves none.
    let rest = 1_u128.checked_shl(width - length).unwrap_or(0).wrapping_sub(1);
    Matcher::between(number & !rest, number | rest)
}

#[cfg(test)]
mod tests {
    use super::super::value::Number;
    use super::*;

    fn word(word: &str) -> Expression {
        Expression::Word(word.into())
    }

    #[test]
    fn prefixes_reach_from_their_first_to_their_last_address() {
        let of = |address: &str, length, datatype| {
            let prefix = Expression::Prefix {
                address: Box::new(word(address)),
                length,
            };
            Matcher::of(&prefix, datatype)
        };
        let v4 = Datatype::Ipv4Address;
        assert_eq!(of("10.1.2.3", 8, v4), Matcher::Range(0x0a00_0000, 0x0aff_ffff));
        assert_eq!(of("10.1.2.3", 32, v4), Matcher::Exact(0x0a01_0203));
        assert_eq!(of("0.0.0.0", 0, v4), Matcher::Range(0, u32::MAX));
        assert_eq!(of("::", 0, Datatype::Ipv6Address), Matcher::between(0, u128::MAX));
        assert_eq!(of("10.1.2.3", 33, v4), Matcher::Unknown);
        assert_eq!(of("five", 3, Datatype::Integer), Matcher::Unknown);
    }

    #[test]
    fn an_interval_that_runs_backwards_is_two_conditions_that_were_listed_as_one() {
        let of = |from: u64, to: u64| {
            let ends = Box::new([from, to].map(Expression::Number));
            Matcher::of(&Expression::Range(ends), Datatype::Integer)
        };
        assert_eq!(of(80, 60), Matcher::Unknown);
        assert_eq!(of(60, 60), Matcher::Exact(60));
    }

    #[test]
    fn numbers_of_every_width_are_compared_as_they_are() {
        assert!(size_of::<Matcher>() <= 16);
        let wide = u128::MAX - 7;
        for (from, to) in [(5, 5), (5, 9), (1 << 40, 1 << 41), (wide, wide), (0, wide)] {
            let matcher = Matcher::between(from, to);
            assert_eq!(matcher.interval(), Some((from, to)));
            for number in [0, 4, 5, 6, 9, 10, 1 << 40, wide, u128::MAX] {
                let expected = Truth::from((from..=to).contains(&number));
                let found = matcher.test(&Data::Number(Number::exact(number)));
                assert_eq!(found, expected, "{from} to {to}: {number}");
            }
        }
    }

    #[test]
    fn names_of_devices_may_be_beginnings() {
        let test = |pattern: &str, name: &str| {
            Matcher::of(&word(pattern), Datatype::DeviceName).test(&Data::Text(name.to_owned()))
        };
        assert_eq!(test("eth*", "eth0"), Truth::Yes);
        assert_eq!(test("eth*", "wlan0"), Truth::No);
        assert_eq!(test("eth\\*", "eth*"), Truth::Yes);
        assert_eq!(test("eth\\*", "eth0"), Truth::No);
        assert_eq!(test("a*b", "a*b"), Truth::Yes);
    }

    #[test]
    fn what_nothing_is_known_of_is_unknown() {
        let protocol = Matcher::of(&word("no-such-protocol"), Datatype::Protocol);
        assert_eq!(protocol, Matcher::Unknown);
        assert_eq!(protocol.test(&Data::Number(Number::exact(6))), Truth::Unknown);
        assert_eq!(
            Matcher::of(&word("tcp"), Datatype::Protocol).test(&Data::Number(Number::exact(6))),
            Truth::Yes
        );
        // An index where a name was to be expected.
        assert_eq!(
            Matcher::of(&Expression::Number(4), Datatype::Device).test(&Data::Text("eth0".to_owned())),
            Truth::Unknown
        );
    }
}
