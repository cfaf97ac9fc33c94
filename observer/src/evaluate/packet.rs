//! A packet as far as it is known. `None` is always: not known.

use std::net::IpAddr;
use std::rc::Rc;

use crate::report::record::{CtState, PacketFamily, Tuple};

/// A packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Whether it is of IPv6.
    pub is_v6: bool,
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Transport protocol.
    pub proto: Option<u8>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// TCP flags, as byte 13 of the header holds them.
    pub tcp_flags: Option<u8>,
    /// ICMP or ICMPv6 type.
    pub icmp_type: Option<u8>,
    /// ICMP or ICMPv6 code.
    pub icmp_code: Option<u8>,
    /// Whether it is a second or further fragment, which has no transport header.
    pub is_fragment: Option<bool>,
    /// Length in bytes from the network header on.
    pub len_bytes: Option<u32>,
    /// Time to live, or hop limit.
    pub ttl: Option<u8>,
    /// Packet mark.
    pub mark: Option<u32>,
    /// The device that it came in by, as rules at this hook see it.
    pub in_dev: Dev,
    /// The device that it leaves by, as rules at this hook see it.
    pub out_dev: Dev,
    /// What its source can be to this host.
    pub src_kinds: Kinds,
    /// What its destination can be to this host.
    pub dst_kinds: Kinds,
    /// Its connection.
    pub conn: Conn,
    /// When it is, in seconds since 1970 (UTC).
    pub at: Option<i64>,
}

impl Packet {
    /// Its family, in the trace's words.
    pub fn family(&self) -> PacketFamily {
        if self.is_v6 {
            PacketFamily::Ip6
        } else {
            PacketFamily::Ip
        }
    }
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dev {
    /// Which one is not known.
    #[default]
    Unknown,
    /// There is none at this hook.
    Absent,
    /// This one.
    Named(Rc<str>),
}

impl Dev {
    /// One with this name.
    pub fn named(name: &str) -> Self {
        Self::Named(name.into())
    }

    /// Its name; empty where there is none, as netfilter has it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Unknown => None,
            Self::Absent => Some(""),
            Self::Named(name) => Some(name),
        }
    }
}

/// What conntrack has of the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conn {
    /// Its state. INVALID and UNTRACKED have no connection.
    pub state: Option<CtState>,
    /// The connection's mark.
    pub mark: Option<u32>,
    /// The first packet's direction, before NAT.
    pub original: Option<Tuple>,
    /// The answers' direction.
    pub reply: Option<Tuple>,
    /// Whether this packet goes in the answers' direction.
    pub is_reply: Option<bool>,
    /// Whether the source is translated.
    pub snat: Option<bool>,
    /// Whether the destination is translated.
    pub dnat: Option<bool>,
    /// Whether it was to be kept from conntrack where it was not known whether it has a connection already: then what
    /// conntrack will say is not known.
    pub may_be_untracked: bool,
}

impl Conn {
    /// A connection's first packet, before anything was done to it.
    pub fn new() -> Self {
        Self {
            state: Some(CtState::New),
            mark: Some(0),
            is_reply: Some(false),
            snat: Some(false),
            dnat: Some(false),
            ..Self::default()
        }
    }

    /// Whether there is a connection.
    pub fn exists(&self) -> Option<bool> {
        self.state
            .map(|state| !matches!(state, CtState::Invalid | CtState::Untracked))
    }
}

/// A set of the kinds that an address can have (`enum`, include/uapi/linux/rtnetlink.h, as addrtype names them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kinds(u16);

impl Kinds {
    /// By the number of `RTN_…`.
    const NAMES: [&'static str; 12] = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
        "THROW",
        "NAT",
        "XRESOLVE",
    ];
    /// Any: nothing is known.
    pub const ANY: Self = Self(0xfff);
    /// An address elsewhere.
    pub const UNICAST: Self = Self(1 << 1);
    /// An address of this host.
    pub const LOCAL: Self = Self(1 << 2);
    /// A broadcast address.
    pub const BROADCAST: Self = Self(1 << 3);
    /// An anycast address.
    pub const ANYCAST: Self = Self(1 << 4);
    /// A multicast address.
    pub const MULTICAST: Self = Self(1 << 5);

    /// The one with this number of `RTN_…`.
    pub fn of_number(number: u8) -> Option<Self> {
        (usize::from(number) < Self::NAMES.len()).then(|| Self(1 << number))
    }

    /// The one with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let number = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self(1 << number))
    }

    /// What can be told from an address alone (`__inet_dev_addr_type`, net/ipv4/fib_frontend.c).
    pub fn of_address(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.is_broadcast() => Self::BROADCAST,
            addr if addr.is_multicast() => Self::MULTICAST,
            _ => Self::ANY.without(Self::MULTICAST),
        }
    }

    /// Those of either.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that another has not.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers of `RTN_…`.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..16).filter(move |number| self.0 & 1 << number != 0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `LOCAL or BROADCAST`; nothing where it may be any.
    pub fn text(self) -> Option<String> {
        let names = Self::NAMES.iter().enumerate();
        let names: Vec<&str> = names
            .filter(|(number, _)| self.0 & 1 << number != 0)
            .map(|(_, name)| *name)
            .collect();
        (names.len() <= 3).then(|| names.join(" or "))
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self::ANY
    }
}
