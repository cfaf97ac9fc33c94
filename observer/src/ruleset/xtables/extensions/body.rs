//! Fields of an extension's bytes, and options put together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::kernel::raw::{string, u16_at, u32_at, u64_at};
use crate::ruleset::xtables::save::{Extension, Opt, Value};

/// An extension's bytes. Numbers lie as the machine has them, unless their name says otherwise.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl Body<'_> {
    pub(super) fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        u16_at(self.0, at)
    }

    pub(super) fn be16(&self, at: usize) -> Option<u16> {
        self.u16(at).map(u16::from_be)
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        u32_at(self.0, at)
    }

    pub(super) fn u64(&self, at: usize) -> Option<u64> {
        u64_at(self.0, at)
    }

    /// A string in a field of so many bytes.
    pub(super) fn text(&self, at: usize, len: usize) -> Option<String> {
        Some(string(self.0.get(at..at.checked_add(len)?)?))
    }

    /// A `union nf_inet_addr`.
    pub(super) fn addr(&self, at: usize, is_v6: bool) -> Option<IpAddr> {
        Some(match is_v6 {
            true => Ipv6Addr::from(*self.0.get(at..)?.first_chunk::<16>()?).into(),
            false => Ipv4Addr::from(*self.0.get(at..)?.first_chunk::<4>()?).into(),
        })
    }
}

/// The length of a mask's prefix; `None` if it is none.
pub(super) fn prefix(mask: IpAddr) -> Option<u32> {
    let (ones, rest) = match mask {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
    };
    (ones == rest).then_some(ones)
}

/// Options in their order. What puts one gives `Some`, so that it can end a match of kinds.
#[derive(Default)]
pub(super) struct Options(Vec<Opt>);

impl Options {
    pub(super) fn of(self, name: &str) -> Extension {
        Extension {
            name: name.into(),
            options: self.0,
        }
    }

    fn push(&mut self, negated: bool, name: &str, values: Vec<Value>) {
        self.0.push(Opt {
            negated,
            name: name.into(),
            values,
        });
    }

    /// An option with a value.
    pub(super) fn put(&mut self, name: &str, value: impl ToString) -> Option<()> {
        self.signed(false, name, value)
    }

    /// An option with a value, behind a `!` if it is negated.
    pub(super) fn signed(&mut self, negated: bool, name: &str, value: impl ToString) -> Option<()> {
        self.words(negated, name, &[&value.to_string()])
    }

    /// An option with several values.
    pub(super) fn words(&mut self, negated: bool, name: &str, words: &[&str]) -> Option<()> {
        let value = |word: &&str| Value {
            text: (*word).into(),
            quoted: false,
        };
        self.push(negated, name, words.iter().map(value).collect());
        Some(())
    }

    /// An option alone.
    pub(super) fn flag(&mut self, name: &str) {
        self.push(false, name, Vec::new());
    }

    /// An option alone, behind a `!` if it is negated.
    pub(super) fn signed_flag(&mut self, negated: bool, name: &str) {
        self.push(negated, name, Vec::new());
    }

    /// An option with text that people chose, in quotes where the tools put them (`xtables_save_string`).
    pub(super) fn text(&mut self, negated: bool, name: &str, text: &str) {
        self.push(negated, name, vec![Value::of_text(text)]);
    }
}

/// `80`, `80:90`
pub(super) fn span<T: PartialEq + ToString>(first: &T, last: &T) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{}:{}", first.to_string(), last.to_string()),
    }
}

/// The names of the bits of a number, in the order of the table; `None` if it has a bit without a name.
pub(super) fn named_bits(bits: u32, names: &[(u32, &'static str)]) -> Option<Vec<&'static str>> {
    let known = names.iter().fold(0, |all, (bit, _)| all | bit);
    if bits & !known != 0 {
        return None;
    }
    Some(
        names
            .iter()
            .filter(|(bit, _)| bits & bit != 0)
            .map(|(_, name)| *name)
            .collect(),
    )
}
