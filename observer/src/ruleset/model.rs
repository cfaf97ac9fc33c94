//! Tables, chains and rules, whichever backend holds them.

use std::borrow::Cow;

use crate::report::record::{Backend, Hook, TableFamily};

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which machinery holds it.
    pub backend: Backend,
    /// Its family.
    pub family: TableFamily,
    /// Its name.
    pub name: String,
    /// Its chains; for x_tables in the order of the kernel's blob.
    pub chains: Vec<Chain>,
    /// A hash of everything but the counters: the same for the same rules.
    pub hash: u64,
    /// nf_tables: address of its `struct nft_table`. x_tables: 0.
    pub address: u64,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Present if the kernel calls it from a hook.
    pub base: Option<Base>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
    /// nf_tables: address of its `struct nft_chain`. x_tables: 0.
    pub address: u64,
    /// Whether an element of a verdict map may lead to it.
    pub mapped: bool,
}

/// What makes a chain a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The hook that calls it.
    pub hook: Hook,
    /// Its priority among the functions of that hook.
    pub priority: i32,
    /// What happens at its end.
    pub policy: Policy,
    /// Counts the packets that the policy decided on.
    pub counter: Option<Counter>,
}

/// What happens at the end of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The packet lives on.
    Accept,
    /// The packet dies.
    Drop,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// nf_tables: its handle. x_tables: 0.
    pub handle: u64,
    /// What it does to a packet that matches.
    pub step: Step,
    /// Name of its target, if it is an extension: `REJECT`, `LOG`, `DNAT`; nf_tables: the expression's name.
    pub target: Option<Cow<'static, str>>,
    /// Counts the packets that matched it.
    pub counter: Option<Counter>,
    /// Its comment.
    pub comment: Option<Box<str>>,
    /// nf_tables: whether it asks something that nft may leave out where it lists the rule.
    pub in_part: bool,
    /// nf_tables: whether it has something that iptables never writes, and that iptables-nft-save may leave out where it shows the
    /// rule.
    pub beyond_iptables: bool,
    /// Where it begins, in bytes: x_tables: its entry in the table; nf_tables: its header among its chain's rules.
    pub offset: u32,
}

/// What a rule does to a packet that matches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// The next rule is asked: no verdict, or a target that only changes or logs.
    #[default]
    Continue,
    /// The packet leaves this table alive.
    Accept,
    /// The packet dies, always: `DROP`, `REJECT`.
    Drop,
    /// The packet may die: its target can drop (`NFQUEUE`, `SYNPROXY`, NAT that fails).
    MayDrop,
    /// The calling chain goes on.
    Return,
    /// Another chain (its index) is walked, then this one goes on.
    Jump(usize),
    /// Another chain (its index) is walked instead of this one.
    Goto(usize),
    /// A verdict from a map: not known without the packet.
    Map,
}

impl Step {
    /// Whether a packet can end at this rule.
    pub fn can_drop(self) -> bool {
        matches!(self, Self::Drop | Self::MayDrop | Self::Map)
    }
}

/// Where a counter lies in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Per-CPU pointer, or a plain address on a machine with one possible CPU.
    pub address: u64,
    /// Whether `address` is a plain one.
    pub plain: bool,
    /// Whether the bytes come before the packets.
    pub bytes_first: bool,
}

/// How a rule ends a packet, and whether that is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Every packet it counts dies.
    Certain,
    /// Some of the packets it counts die.
    Possible,
}

impl Table {
    /// Whether iptables-nft-save may show its rules as if they asked less than they do.
    pub fn is_beyond_iptables(&self) -> bool {
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.any(|rule| rule.beyond_iptables)
    }

    /// How many rules all its chains have.
    pub fn rule_count(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }

    /// Finds a chain by name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}
