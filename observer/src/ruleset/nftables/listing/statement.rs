//! Statements: what a rule asks and does, from left to right.

use std::sync::Arc;

use super::expression::{Element, Expression, Verdict};
use super::model::{Value, ValueOrName};
use super::name::Name;

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// The rule ends here unless this holds.
    Match {
        /// What is compared.
        left: Arc<Expression>,
        /// How.
        operator: Operator,
        /// With what.
        right: Expression,
    },
    /// A verdict.
    Verdict(Verdict),
    /// A verdict from a map.
    Vmap {
        /// What is looked up.
        key: Arc<Expression>,
        /// Where.
        data: Expression,
    },
    /// Counts.
    Counter(ValueOrName<Counter>),
    /// Matches so often.
    Limit(ValueOrName<Box<Limit>>),
    /// Matches up to so many bytes, or beyond.
    Quota(ValueOrName<Quota>),
    /// Matches up to so many connections, or beyond.
    CtCount {
        /// How many.
        count: u64,
        /// Beyond it instead of up to it.
        over: bool,
    },
    /// Tells the log.
    Log(Box<LogStatement>),
    /// Network address translation.
    Nat(Box<Nat>),
    /// Ends the packet with an answer.
    Reject {
        /// `icmp`, `icmpv6`, `icmpx` or `tcp reset`.
        kind: Option<Name>,
        /// The code.
        code: Option<Expression>,
    },
    /// Hands the packet to a program.
    Queue {
        /// Which queue, or how it is chosen.
        number: Option<Box<Expression>>,
        /// `bypass`, `fanout`.
        flags: Box<[String]>,
    },
    /// Sets a field of the packet, its mark, its connection's mark, ….
    Mangle {
        /// What is set.
        key: Expression,
        /// To what.
        value: Box<Expression>,
    },
    /// `ct helper set`, `ct timeout set`, `ct expectation set`: gives the connection a named object.
    CtObject {
        /// `helper`, `timeout` or `expectation`.
        kind: &'static str,
        /// Its name, or where it is looked up.
        name: Box<Expression>,
    },
    /// No connection tracking for this packet.
    Notrack,
    /// Sends a copy elsewhere.
    Dup {
        /// Whom to.
        address: Option<Expression>,
        /// By which device.
        device: Option<Box<Expression>>,
    },
    /// Sends the packet elsewhere, from ingress.
    Fwd {
        /// By which device.
        device: Box<Expression>,
        /// `ip` or `ip6`.
        family: Option<Name>,
        /// Whom to.
        address: Option<Box<Expression>>,
    },
    /// Changes an element of a set or map.
    Set(Box<SetUpdate>),
    /// Answers in the place of the server.
    Synproxy(ValueOrName<Value>),
    /// Hands the packet to a local socket.
    Tproxy {
        /// `ip` or `ip6`.
        family: Option<Name>,
        /// The socket's address.
        address: Option<Box<Expression>>,
        /// Its port.
        port: Option<Box<Expression>>,
    },
    /// Hands the connection to a flowtable.
    Flow {
        /// `add`
        operation: Name,
        /// Its name, with `@`.
        flowtable: Name,
    },
    /// A set made by the rule itself.
    Meter {
        /// Its name.
        name: Name,
        /// What it counts by.
        key: Box<Element>,
        /// What it does for each.
        statement: Box<Statement>,
        /// How many there may be.
        size: Option<u64>,
    },
    /// Takes a TCP option out.
    Reset(Expression),
    /// When the rule matched last.
    Last(Value),
    /// An extension of xtables, of which nft lists only the name.
    Xt {
        /// `match`, `target` or `watcher`.
        kind: Name,
        /// Its name.
        name: Name,
    },
    /// What nft itself could not put into JSON and wrote as text.
    Text(String),
    /// Something that this version does not know, as JSON.
    Unknown(Value),
}

/// How two sides are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// They are the same, or the left one is in the set.
    Equal,
    /// They differ, or it is not in the set.
    NotEqual,
    /// Less.
    Less,
    /// Less or the same.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or the same.
    GreaterOrEqual,
    /// Some of these bits are set.
    Any,
    /// None of these bits is set.
    None,
}

impl Operator {
    /// The operator with this name in JSON.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "in" => Self::Any,
            "!" => Self::None,
            _ => return None,
        })
    }

    /// As nft writes it, where it writes it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Any => "",
            Self::None => "!",
        }
    }
}

/// What a counter has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets and bytes; none where the statement only says that something is to be counted.
    pub counted: Option<(u64, u64)>,
}

/// A rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many …
    pub rate: u64,
    /// … of these (`packets`, `bytes`, `kbytes`, `mbytes`) …
    pub unit: Name,
    /// … in each of these (`second`, `minute`, …).
    pub per: Name,
    /// So many at once; none where nft does not say.
    pub burst: Option<u64>,
    /// The burst's unit.
    pub burst_unit: Name,
    /// Matches beyond the rate instead of up to it.
    pub over: bool,
}

/// An amount of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// In bytes.
    pub bytes: u64,
    /// In bytes.
    pub used_bytes: u64,
    /// Matches beyond the amount instead of up to it.
    pub over: bool,
}

/// What is written to the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStatement {
    /// Before each line.
    pub prefix: Option<String>,
    /// The group of nfnetlink_log.
    pub group: Option<u64>,
    /// So many bytes of the packet.
    pub snaplen: Option<u64>,
    /// So many packets are gathered.
    pub queue_threshold: Option<u64>,
    /// `warn` if there is none.
    pub level: Option<String>,
    /// What else is told.
    pub flags: Vec<String>,
}

/// A translation of addresses or ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Nat {
    /// Of which end.
    pub kind: NatKind,
    /// The family of the address, in family inet.
    pub family: Option<String>,
    /// The new address.
    pub address: Option<Expression>,
    /// The new port.
    pub port: Option<Expression>,
    /// `random`, `fully-random`, `persistent`, `netmap`.
    pub flags: Vec<String>,
    /// `prefix`, `interval`, `concat`: what the address is.
    pub type_flags: Vec<String>,
}

/// Which end is translated, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NatKind {
    /// The source.
    Snat,
    /// The destination.
    Dnat,
    /// The source, to the device's own address.
    Masquerade,
    /// The destination, to this host.
    Redirect,
}

impl NatKind {
    /// The statement's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snat => "snat",
            Self::Dnat => "dnat",
            Self::Masquerade => "masquerade",
            Self::Redirect => "redirect",
        }
    }
}

/// A change of a set or map by a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct SetUpdate {
    /// `add`, `update`, `delete`.
    pub operation: String,
    /// The element.
    pub element: Element,
    /// The set's name.
    pub set: String,
    /// What is done for the element.
    pub statements: Vec<Statement>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_small() {
        assert!(size_of::<Statement>() <= 48, "{}", size_of::<Statement>());
    }
}
