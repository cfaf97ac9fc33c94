//! A packet as far as it is known.

use std::net::IpAddr;

use crate::evaluate::packet::Kinds;

/// A packet at a hook. What is `None` or unknown makes conditions on it unknown, never wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// IPv4 or IPv6; known from the addresses too.
    pub family: Option<IpFamily>,
    /// The transport's number.
    pub protocol: Option<u8>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Source port of TCP, UDP, UDP-Lite, SCTP or DCCP.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// The flags of TCP, FIN being the lowest bit.
    pub tcp_flags: Option<u8>,
    /// Type of ICMP or ICMPv6.
    pub icmp_type: Option<u8>,
    /// Code of ICMP or ICMPv6.
    pub icmp_code: Option<u8>,
    /// From the IP header on.
    pub length_bytes: Option<u32>,
    /// Time to live, or hop limit.
    pub ttl: Option<u8>,
    /// Differentiated services: six bits.
    pub dscp: Option<u8>,
    /// Congestion notification: two bits.
    pub ecn: Option<u8>,
    /// Whether it is a fragment that begins after the transport's header.
    pub later_fragment: Option<bool>,
    /// Whether extension headers of IPv6 come before the transport's.
    pub extension_headers: Option<bool>,
    /// Whether its frame has a VLAN tag.
    pub vlan_tag: Option<bool>,
    /// The device it came in by.
    pub input: Device,
    /// The device it goes out by.
    pub output: Device,
    /// Its mark.
    pub mark: Bits,
    /// Whom the frame was for: 0 this host, 1 everybody, 2 a group, 3 another host.
    pub packet_type: Option<u8>,
    /// What the routing table can call its source address.
    pub source_kinds: Kinds,
    /// What the routing table can call its destination address.
    pub destination_kinds: Kinds,
    /// Its connection.
    pub connection: Connection,
}

impl Packet {
    /// The family, from the addresses if it is not said.
    pub fn ip_family(&self) -> Option<IpFamily> {
        let of = |address: &IpAddr| match address {
            IpAddr::V4(_) => IpFamily::V4,
            IpAddr::V6(_) => IpFamily::V6,
        };
        self.family
            .or_else(|| self.source.as_ref().or(self.destination.as_ref()).map(of))
    }

    /// After a translation to whatever address: of the source, or of the destination.
    pub(super) fn forget_translation(&mut self, of_source: bool) {
        /// `IPS_SRC_NAT`, `IPS_DST_NAT`
        const SNAT: u32 = 1 << 4;
        const DNAT: u32 = 1 << 5;
        let bit = if of_source {
            (self.source, self.sport, self.source_kinds) = (None, None, Kinds::ANY);
            SNAT
        } else {
            (self.destination, self.dport, self.destination_kinds) = (None, None, Kinds::ANY);
            DNAT
        };
        self.connection.status = self.connection.status.without(bit);
        self.connection.reply = Tuple::default();
    }

    /// What is known of both: the packet is one of the two.
    pub(super) fn merged(&self, other: &Self) -> Self {
        Self {
            family: same(self.family, other.family),
            protocol: same(self.protocol, other.protocol),
            source: same(self.source, other.source),
            destination: same(self.destination, other.destination),
            sport: same(self.sport, other.sport),
            dport: same(self.dport, other.dport),
            tcp_flags: same(self.tcp_flags, other.tcp_flags),
            icmp_type: same(self.icmp_type, other.icmp_type),
            icmp_code: same(self.icmp_code, other.icmp_code),
            length_bytes: same(self.length_bytes, other.length_bytes),
            ttl: same(self.ttl, other.ttl),
            dscp: same(self.dscp, other.dscp),
            ecn: same(self.ecn, other.ecn),
            later_fragment: same(self.later_fragment, other.later_fragment),
            extension_headers: same(self.extension_headers, other.extension_headers),
            vlan_tag: same(self.vlan_tag, other.vlan_tag),
            input: self.input.merged(&other.input),
            output: self.output.merged(&other.output),
            mark: self.mark.merged(other.mark),
            packet_type: same(self.packet_type, other.packet_type),
            source_kinds: self.source_kinds.with(other.source_kinds),
            destination_kinds: self.destination_kinds.with(other.destination_kinds),
            connection: Connection {
                state: same(self.connection.state, other.connection.state),
                status: self.connection.status.merged(other.connection.status),
                mark: self.connection.mark.merged(other.connection.mark),
                direction: same(self.connection.direction, other.connection.direction),
                original: self.connection.original.merged(&other.connection.original),
                reply: self.connection.reply.merged(&other.connection.reply),
            },
        }
    }
}

fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<T> {
    if one == other { one } else { None }
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A device that a packet passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Not known.
    #[default]
    Unknown,
    /// There is none: a packet that this host sends came in by no device.
    None,
    /// This one.
    Named(String),
}

impl Device {
    fn merged(&self, other: &Self) -> Self {
        if self == other {
            self.clone()
        } else {
            Self::Unknown
        }
    }
}

/// Thirty-two bits, some of which may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    value: u32,
    known: u32,
}

impl Bits {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { value: 0, known: 0 };

    /// Everything is known.
    pub fn exact(value: u32) -> Self {
        Self {
            value,
            known: u32::MAX,
        }
    }

    /// The bits of `known` are as in `value`.
    pub fn partly(value: u32, known: u32) -> Self {
        Self {
            value: value & known,
            known,
        }
    }

    /// The value, as far as it is known: other bits are 0.
    pub fn value(self) -> u32 {
        self.value
    }

    /// Which bits are known.
    pub fn known(self) -> u32 {
        self.known
    }

    /// The same with some bits set.
    #[must_use]
    pub fn with(self, bits: u32) -> Self {
        Self {
            value: self.value | bits,
            known: self.known | bits,
        }
    }

    /// The same with some bits forgotten.
    #[must_use]
    pub fn without(self, bits: u32) -> Self {
        Self::partly(self.value, self.known & !bits)
    }

    pub(super) fn merged(self, other: Self) -> Self {
        Self::partly(self.value, self.known & other.known & !(self.value ^ other.value))
    }
}

impl From<Option<u32>> for Bits {
    fn from(value: Option<u32>) -> Self {
        value.map_or(Self::UNKNOWN, Self::exact)
    }
}

/// A packet's connection as conntrack sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Its state, for this packet.
    pub state: Option<CtState>,
    /// `IPS_*`, `enum ip_conntrack_status`.
    pub status: Bits,
    /// Its mark.
    pub mark: Bits,
    /// Whether the packet goes the way of the first one (`original`) or back.
    pub direction: Option<Direction>,
    /// Addresses and ports of the first packet.
    pub original: Tuple,
    /// Addresses and ports of the answer.
    pub reply: Tuple,
}

/// What conntrack calls a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtState {
    /// It belongs to no connection and begins none.
    Invalid,
    /// It begins a connection, or repeats its beginning.
    New,
    /// It belongs to a connection that was answered.
    Established,
    /// It belongs to one that another expects.
    Related,
    /// It was left out.
    Untracked,
}

impl CtState {
    /// The bit that nf_tables has for it.
    pub fn bit(self) -> u32 {
        match self {
            Self::Invalid => 1,
            Self::Established => 2,
            Self::Related => 4,
            Self::New => 8,
            Self::Untracked => 64,
        }
    }

    /// Whether there is a connection at all.
    pub fn has_connection(self) -> bool {
        !matches!(self, Self::Invalid | Self::Untracked)
    }
}

/// A way within a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// That of its first packet.
    Original,
    /// Back.
    Reply,
}

/// One way of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
}

impl Tuple {
    fn merged(&self, other: &Self) -> Self {
        Self {
            source: same(self.source, other.source),
            destination: same(self.destination, other.destination),
            sport: same(self.sport, other.sport),
            dport: same(self.dport, other.dport),
        }
    }
}
