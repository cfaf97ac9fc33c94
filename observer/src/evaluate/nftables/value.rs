//! Values of three kinds of certainty, and what comparing them yields.

use std::net::IpAddr;

use super::packet::Bits;
pub use crate::evaluate::truth::Truth;

/// What an expression yields for a packet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Loaded {
    /// This.
    Is(Data),
    /// Nothing: the packet has no such thing, and the rule does not match, whatever it compares with.
    Missing,
    /// That is not known, nor whether there is any.
    Unknown,
}

impl Loaded {
    pub(super) fn number(value: impl Into<u128>) -> Self {
        Self::Is(Data::Number(Number::exact(value.into())))
    }

    /// A known number, or an unknown one.
    pub(super) fn known(value: Option<impl Into<u128>>) -> Self {
        value.map_or(Self::Unknown, Self::number)
    }

    pub(super) fn bits(bits: Bits) -> Self {
        Self::Is(Data::Number(Number {
            value: bits.value().into(),
            unknown: (!bits.known()).into(),
        }))
    }

    pub(super) fn address(address: Option<IpAddr>) -> Self {
        match address {
            Some(IpAddr::V4(address)) => Self::number(address.to_bits()),
            Some(IpAddr::V6(address)) => Self::number(address.to_bits()),
            None => Self::Unknown,
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// A number, some bits of which may be unknown.
    Number(Number),
    /// One of these.
    Among(Vec<u128>),
    /// Text: a device's name.
    Text(String),
}

/// A number, some bits of which may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// Unknown bits are 0.
    pub(super) value: u128,
    pub(super) unknown: u128,
}

impl Number {
    pub(super) fn exact(value: u128) -> Self {
        Self { value, unknown: 0 }
    }

    pub(super) fn is_exact(self) -> bool {
        self.unknown == 0
    }

    pub(super) fn least(self) -> u128 {
        self.value
    }

    pub(super) fn greatest(self) -> u128 {
        self.value | self.unknown
    }

    pub(super) fn is(self, other: u128) -> Truth {
        if (self.value ^ other) & !self.unknown != 0 {
            Truth::No
        } else if self.is_exact() {
            Truth::Yes
        } else {
            Truth::Unknown
        }
    }

    /// Whether it lies between the two, which are included.
    pub(super) fn is_within(self, least: u128, greatest: u128) -> Truth {
        if self.greatest() < least || self.least() > greatest {
            Truth::No
        } else if self.least() >= least && self.greatest() <= greatest {
            Truth::Yes
        } else {
            // Bits that are known may still rule it out; that is not looked for.
            Truth::Unknown
        }
    }

    /// Whether any of these bits is set.
    pub(super) fn has_any(self, bits: u128) -> Truth {
        if self.value & bits != 0 {
            Truth::Yes
        } else if self.unknown & bits == 0 {
            Truth::No
        } else {
            Truth::Unknown
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        let value = self.value & other.value;
        // A bit that is surely 0 on one side is 0.
        let zero = !(self.value | self.unknown) | !(other.value | other.unknown);
        Self {
            value,
            unknown: (self.unknown | other.unknown) & !zero,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        let value = self.value | other.value;
        Self {
            value,
            unknown: (self.unknown | other.unknown) & !value,
        }
    }

    pub(super) fn xor(self, other: Self) -> Self {
        let unknown = self.unknown | other.unknown;
        Self {
            value: (self.value ^ other.value) & !unknown,
            unknown,
        }
    }

    /// Shifts left by a positive, right by a negative number of bits, in a register of 32 bits.
    pub(super) fn shifted(self, by: i32) -> Self {
        let shift = |value: u128| match u32::try_from(by) {
            Ok(by) => value.checked_shl(by).unwrap_or(0) & u128::from(u32::MAX),
            Err(_) => value.checked_shr(by.unsigned_abs()).unwrap_or(0),
        };
        Self {
            value: shift(self.value),
            unknown: shift(self.unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of two-bit numbers with unknown bits, against all that they may be.
    #[test]
    fn what_is_said_of_numbers_holds_of_all_they_may_be() {
        let all = || {
            (0..4_u128).flat_map(|unknown| {
                (0..4)
                    .filter(move |value| value & unknown == 0)
                    .map(move |value| Number { value, unknown })
            })
        };
        let may_be = |number: Number| {
            (0..4_u128)
                .filter(move |one| (one ^ number.value) & !number.unknown & 3 == 0)
                .collect::<Vec<_>>()
        };
        for a in all() {
            for b in all() {
                for (x, y) in may_be(a)
                    .iter()
                    .flat_map(|x| may_be(b).into_iter().map(|y| (*x, y)))
                {
                    assert!(may_be(a.and(b)).contains(&(x & y)));
                    assert!(may_be(a.or(b)).contains(&(x | y)));
                    assert!(may_be(a.xor(b)).contains(&(x ^ y)));
                }
            }
            for x in 0..4 {
                let is: Vec<_> = may_be(a).iter().map(|one| Truth::from(*one == x)).collect();
                assert_eq!(a.is(x), Truth::of_all(is.into_iter()), "{a:?} {x}");
                let any: Vec<_> = may_be(a).iter().map(|one| Truth::from(*one & x != 0)).collect();
                let said = a.has_any(x);
                assert!(
                    any.iter().all(|one| said == Truth::Unknown || *one == said),
                    "{a:?} {x}"
                );
                let within = a.is_within(x, 2);
                let truly = may_be(a)
                    .into_iter()
                    .map(|one| Truth::from((x..=2).contains(&one)));
                assert!(
                    truly
                        .into_iter()
                        .all(|one| within == Truth::Unknown || one == within)
                );
            }
        }
    }
}
