//! Expressions: constants, what they are compared with, and where it comes from in the packet.

use compact_str::CompactString;

use super::Statement;
use super::model::Value;
use super::name::Name;

/// A part of a rule or of a set that has a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A number; how it is written depends on what it is compared with.
    Number(u64),
    /// Whether something is there (`exists`, `missing`).
    Exists(bool),
    /// A name, an address, anything that nft writes as text.
    Word(CompactString),
    /// `@name`: a named set or map.
    Reference(String),
    /// `*`: whatever no other element of the set matches.
    Wildcard,
    /// `a,b`: flags that are tested together.
    List(Vec<Expression>),
    /// `{ a, b }`: a set without a name.
    Set(Vec<Element>),
    /// `a . b`
    Concatenation(Vec<Expression>),
    /// `addr/len`
    Prefix {
        /// The network.
        address: Box<Expression>,
        /// How many bits of it count.
        length: u32,
    },
    /// `from-to`, both included.
    Range(Box<[Expression; 2]>),
    /// `a & b` and its like. Newer versions of nft list more than two operands, from left to right.
    Binary {
        /// The operation.
        operator: BinaryOperator,
        /// Two or more.
        operands: Vec<Expression>,
    },
    /// A part of the packet's headers.
    Payload(Payload),
    /// A field of an IPv6 extension header, or whether it is there.
    Exthdr {
        /// `frag`, `hbh`, …
        name: Name,
        /// Its field.
        field: Option<Name>,
    },
    /// A field of an IPv4 option (`ip option`), a TCP option, a chunk of SCTP or an option of DCCP.
    Option {
        /// `ip option`, `tcp option`, `sctp chunk`, `dccp option`.
        of: Name,
        /// Its name, or its number.
        name: Name,
        /// Its field.
        field: Option<Name>,
    },
    /// Bits of a TCP option: `@number,offset,length`.
    RawTcpOption {
        /// The option's number.
        number: u64,
        /// In bits.
        offset: u64,
        /// In bits.
        length: u64,
    },
    /// What the kernel knows of the packet beside its bytes.
    Meta(String),
    /// What conntrack knows of its connection.
    Ct {
        /// `state`, `mark`, `ip saddr`, …
        key: Name,
        /// `original` or `reply`.
        direction: Option<Name>,
        /// `ip` or `ip6`.
        family: Option<Name>,
    },
    /// Its route.
    Rt {
        /// `nexthop`, `classid`, …
        key: Name,
        /// `ip` or `ip6`.
        family: Option<Name>,
    },
    /// A number from a generator.
    Numgen {
        /// `inc` or `random`.
        mode: Name,
        /// It is smaller than this …
        modulus: u64,
        /// … and this is added.
        offset: u64,
    },
    /// A hash of something.
    Jhash(Box<Jhash>),
    /// The packet's symmetric hash.
    Symhash {
        /// It is smaller than this …
        modulus: u64,
        /// … and this is added.
        offset: u64,
    },
    /// What the routing table says.
    Fib {
        /// `oif`, `oifname` or `type`.
        result: Name,
        /// What is looked up: `saddr`, `daddr`, `mark`, `iif`, `oif`.
        flags: Box<[String]>,
    },
    /// The socket that the packet is for.
    Socket {
        /// `transparent`, `mark`, `wildcard`, `cgroupv2`.
        key: Name,
        /// The depth of the control group.
        level: Option<u64>,
    },
    /// The operating system that its SYN looks like.
    Osf {
        /// `name` or `version`.
        key: Name,
        /// `loose` or `skip`.
        ttl: Option<Name>,
    },
    /// Its IPsec state.
    Ipsec {
        /// `reqid`, `spi`, `ip saddr`, …
        key: Name,
        /// `in` or `out`.
        direction: Name,
        /// Which of several, from 0.
        number: u32,
        /// `ip` or `ip6`.
        family: Option<Name>,
    },
    /// `key map data`
    Map {
        /// What is looked up.
        key: Box<Expression>,
        /// Where: a set with data, or a reference.
        data: Box<Expression>,
    },
    /// A verdict, as an element's data.
    Verdict(Verdict),
    /// Something that this version does not know, as JSON.
    Unknown(Box<Value>),
}

/// Bits of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// `tcp dport`
    Field {
        /// The header.
        protocol: Name,
        /// Its field.
        field: Name,
    },
    /// `@th,16,16`
    Raw {
        /// `ll`, `nh`, `th` or `ih`.
        base: Name,
        /// In bits.
        offset: u64,
        /// In bits.
        length: u64,
    },
}

/// A hash of something.
#[derive(Clone, Debug, PartialEq)]
pub struct Jhash {
    /// Of what.
    pub of: Expression,
    /// It is smaller than this …
    pub modulus: u64,
    /// … from this start.
    pub seed: Option<u64>,
    /// What is added.
    pub offset: u64,
}

/// What is done between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOperator {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
}

impl BinaryOperator {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::And, Self::Or, Self::Xor, Self::ShiftLeft, Self::ShiftRight];

    /// As nft writes it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
        }
    }

    /// The greater binds closer.
    pub(super) fn precedence(self) -> u8 {
        match self {
            Self::ShiftLeft | Self::ShiftRight => 4,
            Self::And => 3,
            Self::Xor => 2,
            Self::Or => 1,
        }
    }
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// What is looked for.
    pub key: Expression,
    /// What is found there, in a map.
    pub data: Option<Expression>,
    /// What few elements have.
    pub own: Option<Box<Own>>,
}

/// What an element may have beside key and data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// Its own counters, limits, ….
    pub statements: Vec<Statement>,
    /// How long it lives, in seconds.
    pub timeout: Option<u64>,
    /// How long it has left, in seconds.
    pub expires: Option<u64>,
    /// Its comment.
    pub comment: Option<Name>,
}

impl Element {
    /// An element with nothing but a key.
    pub fn of(key: Expression) -> Self {
        Self {
            key,
            data: None,
            own: None,
        }
    }

    /// Its comment.
    pub fn comment(&self) -> Option<&str> {
        self.own.as_ref()?.comment.as_deref()
    }
}

impl Own {
    /// As an element has it: nothing is nothing.
    pub fn of_element(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// What becomes of a packet, or of its way through the chains.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It leaves this base chain alive.
    Accept,
    /// It dies.
    Drop,
    /// The next rule is asked.
    Continue,
    /// The calling chain goes on.
    Return,
    /// Another chain is walked, then this one goes on.
    Jump(Name),
    /// Another chain is walked instead of this one.
    Goto(Name),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_and_statements_stay_small_since_there_are_so_many() {
        assert!(size_of::<Expression>() <= 32);
        assert!(size_of::<Statement>() <= 56);
        assert!(size_of::<Element>() <= 72);
    }
}
