//! Tables, chains and rules as they are saved.

use std::collections::HashMap;

use super::header::Header;
use super::matches::Match;
use super::target::Action;

/// Everything in a file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Tables, and the lines between them.
    pub items: Vec<Item>,
}

/// A part of a [`Document`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A comment, or an empty line.
    Remark(Box<str>),
    /// A table.
    Table(Table),
}

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `iptables`
    Ip,
    /// `ip6tables`
    Ip6,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: Box<str>,
    /// Its family, where the file says it.
    pub family: Option<Family>,
    /// Whether nf_tables holds it, where the file says by which tool it was saved.
    pub is_nft: Option<bool>,
    /// Its chains in the order in which they are declared.
    pub chains: Vec<Chain>,
    pub(super) index: HashMap<Box<str>, usize>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: Box<str>,
    /// Present if it is a built-in chain.
    pub policy: Option<Policy>,
    /// What its policy has counted.
    pub counters: Option<Counters>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// What happens at the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The packet lives on.
    Accept,
    /// The packet dies.
    Drop,
}

/// What a rule or policy has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it has counted, where the file says it.
    pub counters: Option<Counters>,
    /// What it asks without extensions.
    pub header: Header,
    /// What it asks of extensions.
    pub matches: Vec<Match>,
    /// What it does.
    pub action: Action,
    /// The rule in the words of who wrote it, from `-A` on, where the tool's own would be others.
    pub(super) written: Option<Box<str>>,
}

impl Document {
    /// The tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.items.iter().filter_map(|item| match item {
            Item::Table(table) => Some(table),
            Item::Remark(_) => None,
        })
    }

    /// The tables, taken out.
    pub fn into_tables(self) -> impl Iterator<Item = Table> {
        self.items.into_iter().filter_map(|item| match item {
            Item::Table(table) => Some(table),
            Item::Remark(_) => None,
        })
    }
}

impl Table {
    /// The index of a chain.
    pub fn chain(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Makes room for rules of these chains, for no more than will come.
    pub(super) fn expect(&mut self, chains: impl Iterator<Item = usize>) {
        let mut counts = vec![0; self.chains.len()];
        for chain in chains {
            counts.get_mut(chain).into_iter().for_each(|count| *count += 1);
        }
        for (chain, count) in self.chains.iter_mut().zip(counts) {
            chain.rules.reserve_exact(count);
        }
    }
}

impl Policy {
    /// As the tools print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        }
    }
}

impl Rule {
    /// Its comment.
    pub fn comment(&self) -> Option<&str> {
        self.matches.iter().find_map(|found| match found {
            Match::Comment(text) => Some(&**text),
            _ => None,
        })
    }

    /// Whether it was written in the words that the tool prints.
    pub fn is_as_printed(&self) -> bool {
        self.written.is_none()
    }
}
