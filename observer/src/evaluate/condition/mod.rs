//! What a rule asks of a packet: one vocabulary for every backend, each answer a [`Truth`](super::Truth).

mod holds;
mod set;
mod small;
mod time;
mod words;

use std::ops::RangeInclusive;

use super::packet::Kinds;
use crate::ruleset::xtables::save::{CtStates, Device, Net, PortsOf, Range, Span};

pub use set::SetAsk;
pub use small::Spans;
pub use time::TimeAsk;
pub use words::Side;

/// A condition of a rule. All of a rule's must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it must not be so.
    pub negated: bool,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked. Of a large ruleset there are hundreds of thousands: what is seldom asked, or long, is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An address in a network of IPv4: its address and mask.
    Net4(End, u32, u32),
    /// An address in a network of IPv6.
    Net6(End, Box<Net>),
    /// An address in a span.
    Range(End, Box<Range>),
    /// What an address is to this host.
    Kind(End, Kinds),
    /// The device.
    Dev(Side, Box<Device>),
    /// The protocol's number.
    Proto(u8),
    /// Whether it is a second or further fragment.
    Fragment,
    /// Ports in this span. Fragments have none, so that they never match, negated or not.
    Port(PortsOf, Span),
    /// Ports in one of these spans. As for [`Ask::Port`] with fragments.
    Ports(PortsOf, Box<Spans>),
    /// TCP flags: of the first those of the second are set. As for [`Ask::Port`] with fragments.
    TcpFlags(u8, u8),
    /// ICMP type and code. As for [`Ask::Port`] with fragments.
    Icmp(u8, Option<u8>),
    /// Any ICMP message. As for [`Ask::Port`] with fragments.
    AnyIcmp,
    /// Length in bytes.
    Length(RangeInclusive<u32>),
    /// Time to live, hop limit.
    Ttl(RangeInclusive<u8>),
    /// Value and mask of the packet's mark.
    Mark(u32, u32),
    /// Value and mask of the connection's mark. Without a connection never, negated or not.
    Connmark(u32, u32),
    /// The connection's state.
    State(CtStates),
    /// More about the connection.
    Conn(Box<OfConn>),
    /// Whether a set of ipset has it. What cannot be looked for, such as the port of a fragment, is in none.
    Set(Box<SetAsk>),
    /// When it is.
    Time(Box<TimeAsk>),
    /// Cannot be said here: the extension as it is written, and why.
    Open(Box<Open>),
}

/// Source or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// A question to the connection. Where there is none the answer is no, but in one match with `--ctstate` the kernel looks
/// at that alone (`conntrack_mt`, net/netfilter/xt_conntrack.c).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfConn {
    /// Whether `--ctstate` stands beside it.
    pub beside_state: bool,
    /// What is asked.
    pub ask: AskConn,
}

/// What is asked of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskConn {
    /// Its protocol.
    Proto(u8),
    /// An address of one direction (whether the answers').
    Net(bool, End, Net),
    /// A port of one direction (whether the answers').
    Port(bool, End, Span),
    /// Whether this packet goes in the answers' direction.
    IsReply(bool),
    /// Not to be known here, as it is written: status, time to its end.
    Open(Box<str>),
}

/// A condition that cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// As it is written: `-m limit --limit 5/min`.
    pub text: Box<str>,
    /// Why it cannot.
    pub why: &'static str,
    /// Whether the same packet would be told the same twice: no for what counts, draws lots or looks at the clock.
    pub is_steady: bool,
}
