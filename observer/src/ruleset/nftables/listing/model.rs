//! Tables, chains, rules, sets, objects and flowtables of nf_tables.

use super::expression::{Element, Expression};
use super::statement::{Limit, Quota, Statement};
use crate::report::record::TableFamily;

/// JSON that is kept as it was.
pub type Value = serde_json::Value;

/// Everything that `nft list ruleset` shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruleset {
    /// The version of nft that listed it.
    pub version: Option<String>,
    /// Its tables, in their order.
    pub tables: Vec<Table>,
    /// Objects of the list that are not known or belong to no table.
    pub unknown: Vec<Value>,
}

impl Ruleset {
    /// Finds a table.
    pub fn table(&self, family: Family, name: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|table| table.family == family && table.name == name)
    }
}

/// A family of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// ARP.
    Arp,
    /// Frames that a bridge forwards.
    Bridge,
    /// What a device receives or sends.
    Netdev,
}

impl From<Family> for TableFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ip => Self::Ip,
            Family::Ip6 => Self::Ip6,
            Family::Inet => Self::Inet,
            Family::Arp => Self::Arp,
            Family::Bridge => Self::Bridge,
            Family::Netdev => Self::Netdev,
        }
    }
}

impl Family {
    /// The family with this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ip" => Self::Ip,
            "ip6" => Self::Ip6,
            "inet" => Self::Inet,
            "arp" => Self::Arp,
            "bridge" => Self::Bridge,
            "netdev" => Self::Netdev,
            _ => return None,
        })
    }

    /// As nft writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        }
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: Option<u64>,
    /// `dormant`, `owner`, `persist`; nft 1.0.6 does not say.
    pub flags: Vec<String>,
    /// Whether it has flags that are not known: nft 1.0.6 writes something else in their place, and a table that is
    /// `dormant` does nothing.
    pub may_be_dormant: bool,
    /// Its comment; nft 1.0.6 does not say.
    pub comment: Option<String>,
    /// Counters, quotas, limits, helpers, ….
    pub objects: Vec<Object>,
    /// Sets and maps.
    pub sets: Vec<Set>,
    /// Flowtables.
    pub flowtables: Vec<Flowtable>,
    /// Chains.
    pub chains: Vec<Chain>,
}

impl Table {
    /// Finds a chain.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// Finds a set or map.
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: Option<u64>,
    /// Its comment; nft 1.0.6 does not say.
    pub comment: Option<String>,
    /// Present if the kernel calls it from a hook.
    pub base: Option<BaseChain>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// What makes a chain a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// The hook, as nft writes it.
    pub hook: String,
    /// Its place among the hook's functions; smaller is earlier.
    pub priority: i64,
    /// `accept` or `drop`.
    pub policy: Option<String>,
    /// The devices of an ingress or egress chain; nft 1.0.6 does not say.
    pub devices: Vec<String>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its handle.
    pub handle: Option<u64>,
    /// Its comment.
    pub comment: Option<Box<str>>,
    /// Its statements in order.
    pub statements: Box<[Statement]>,
}

/// A set, a map or a verdict map.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: Option<u64>,
    /// The types of its key: several of a concatenation.
    pub key_types: Vec<String>,
    /// Present in a map: the types of its data, `verdict`, or an object's.
    pub data_types: Option<Vec<String>>,
    /// `memory` or `performance`.
    pub policy: Option<String>,
    /// `constant`, `interval`, `timeout`, `dynamic`. The last is left out of JSON; it is known of sets that rules change.
    pub flags: Vec<String>,
    /// How many elements it can hold.
    pub size: Option<u64>,
    /// How long elements live, in seconds.
    pub timeout: Option<u64>,
    /// How often old ones are removed, in seconds.
    pub gc_interval: Option<u64>,
    /// Whether overlapping intervals become one; nft 1.0.6 does not say.
    pub auto_merge: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// What each element has of its own.
    pub statements: Vec<Statement>,
    /// Its elements.
    pub elements: Vec<Element>,
}

impl Set {
    /// Whether keys may be prefixes and ranges.
    pub fn has_intervals(&self) -> bool {
        self.flags.iter().any(|flag| flag == "interval")
    }
}

/// A flowtable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flowtable {
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: Option<u64>,
    /// `ingress`
    pub hook: String,
    /// Its priority.
    pub priority: i64,
    /// Its devices.
    pub devices: Vec<String>,
    /// `offload`
    pub flags: Vec<String>,
    /// Whether it counts.
    pub counter: bool,
}

/// A named object that rules refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: Option<u64>,
    /// Its comment.
    pub comment: Option<String>,
    /// What it is.
    pub kind: ObjectKind,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectKind {
    /// A counter.
    Counter {
        /// Packets it counted.
        packets: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A quota.
    Quota(Quota),
    /// A limit.
    Limit(Limit),
    /// A helper of conntrack.
    CtHelper {
        /// `ftp`, ….
        helper: String,
        /// Its transport.
        protocol: String,
        /// `ip`, `ip6` or `inet`.
        l3proto: Option<String>,
    },
    /// Timeouts of connections.
    CtTimeout {
        /// Their transport.
        protocol: String,
        /// `ip`, `ip6`.
        l3proto: Option<String>,
        /// State and seconds.
        policy: Vec<(String, u64)>,
    },
    /// A connection that is expected.
    CtExpectation {
        /// Its transport.
        protocol: String,
        /// Its port.
        dport: Option<u64>,
        /// In milliseconds.
        timeout_ms: u64,
        /// How many there may be.
        size: u64,
        /// `ip`, `ip6`.
        l3proto: Option<String>,
    },
    /// What the synproxy offers to clients.
    Synproxy(Value),
    /// A security context.
    Secmark(String),
    /// Another kind: its name, and its JSON.
    Unknown(String, Value),
}

/// An object in the rule itself, or the name of one.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueOrName<T> {
    /// The rule's own.
    Value(T),
    /// A named one, or where its name is looked up.
    Name(Expression),
}
