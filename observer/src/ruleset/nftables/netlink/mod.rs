//! The ruleset in force, as the kernel lists it over netlink: the same model that `nft -j list ruleset` gives, without running nft.
//!
//! The kernel lists each rule as a list of expressions that load, compare and act (include/uapi/linux/netfilter/nf_tables.h).
//! What nft would write of them is put together again here. What cannot be is not guessed: such a rule is one statement that is
//! not known, and [`Listed::unread`] names it.

mod ask;
mod builder;
mod compare;
mod elsewhere;
mod fields;
mod iptables;
mod loads;
mod objects;
mod rule;
mod sets;
mod statements;
mod types;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::kernel::netlink::messages;
use crate::ruleset::nftables::listing::Ruleset;

pub use ask::{
    Of, list, list_and_tell, list_here, list_with_iptables, of_iptables_here, tables, tables_here,
    texts_of_iptables,
};
pub use iptables::{OfIptables, TextsOfIptables};

/// So many of what was not read are named.
const MOST_NAMED: usize = 3;

/// What the kernel listed.
#[derive(Debug, Default)]
pub struct Listed {
    /// The tables.
    pub ruleset: Ruleset,
    /// What is there and was not read.
    pub unread: Unread,
    /// The generation that it is of: each change has another.
    pub generation: u32,
}

/// Something that was not read.
#[derive(Debug)]
enum NotRead {
    /// A message that is not laid out as expected.
    Message,
    /// A set, or one of its elements.
    Set(String),
    /// An object or flowtable.
    Object(String),
    /// A rule.
    Rule { chain: String, handle: Option<u64> },
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => write!(f, "a message of the kernel"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Object(name) => write!(f, "object {name}"),
            Self::Rule { chain, handle } => {
                write!(f, "a rule of chain {chain}")?;
                match handle {
                    Some(handle) => write!(f, " (handle {handle})"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// How much was not read, and some of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    count: usize,
    named: Vec<String>,
}

impl Unread {
    fn add(&mut self, what: &NotRead) {
        self.count += 1;
        if self.named.len() < MOST_NAMED {
            self.named.push(what.to_string());
        }
    }

    /// Whether everything was read.
    pub fn is_none(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.named.join(", "))?;
        match self.count.saturating_sub(self.named.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Reads messages of nf_tables that the kernel sent, as they lie one after the other: of tables first, of rules last.
pub fn read(bytes: &[u8]) -> Listed {
    let mut builder = builder::Builder::default();
    messages(bytes).for_each(|message| builder.take(&message));
    let (ruleset, unread) = builder.finish();
    Listed {
        ruleset,
        unread,
        generation: 0,
    }
}
