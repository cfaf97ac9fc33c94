//! Fields of headers, and which header a rule speaks of: the kernel is asked for bytes at an offset only.

use super::types::{
    ARP_OP, DCCP_TYPE, DSCP, ECN, ETHER, ETHER_TYPE, ICMP_CODE, ICMP_TYPE, ICMPV6_CODE, ICMPV6_TYPE,
    IGMP_TYPE, INTEGER, IPV4, IPV6, Order, PROTOCOL, SERVICE, TCP_FLAG, Type,
};
use crate::ruleset::nftables::listing::Family;

/// Where a payload's offset counts from (`NFT_PAYLOAD_*_HEADER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Link,
    Network,
    Transport,
    Inner,
}

impl Base {
    pub(super) fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Link,
            1 => Self::Network,
            2 => Self::Transport,
            3 => Self::Inner,
            _ => return None,
        })
    }

    /// As nft writes it in `@th,16,16`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Link => "ll",
            Self::Network => "nh",
            Self::Transport => "th",
            Self::Inner => "ih",
        }
    }
}

/// A field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) protocol: &'static str,
    pub(super) name: &'static str,
    /// From the beginning of its base, in bits.
    pub(super) offset: u32,
    pub(super) of: Type,
}

/// Name, type, offset and width in bits.
type Row = (&'static str, u32, u32, u32);

const ETHER_FIELDS: &[Row] = &[
    ("daddr", ETHER, 0, 48),
    ("saddr", ETHER, 48, 48),
    ("type", ETHER_TYPE, 96, 16),
];
/// Behind the Ethernet header, whose type says that it is there.
const VLAN: &[Row] = &[
    ("pcp", INTEGER, 112, 3),
    ("dei", INTEGER, 115, 1),
    ("id", INTEGER, 116, 12),
    ("type", ETHER_TYPE, 128, 16),
];
const ARP: &[Row] = &[
    ("htype", INTEGER, 0, 16),
    ("ptype", ETHER_TYPE, 16, 16),
    ("hlen", INTEGER, 32, 8),
    ("plen", INTEGER, 40, 8),
    ("operation", ARP_OP, 48, 16),
    ("saddr ether", ETHER, 64, 48),
    ("saddr ip", IPV4, 112, 32),
    ("daddr ether", ETHER, 144, 48),
    ("daddr ip", IPV4, 192, 32),
];
const IP: &[Row] = &[
    ("version", INTEGER, 0, 4),
    ("hdrlength", INTEGER, 4, 4),
    ("dscp", DSCP, 8, 6),
    ("ecn", ECN, 14, 2),
    ("length", INTEGER, 16, 16),
    ("id", INTEGER, 32, 16),
    ("frag-off", INTEGER, 48, 16),
    ("ttl", INTEGER, 64, 8),
    ("protocol", PROTOCOL, 72, 8),
    ("checksum", INTEGER, 80, 16),
    ("saddr", IPV4, 96, 32),
    ("daddr", IPV4, 128, 32),
];
const IP6: &[Row] = &[
    ("version", INTEGER, 0, 4),
    ("dscp", DSCP, 4, 6),
    ("ecn", ECN, 10, 2),
    ("flowlabel", INTEGER, 12, 20),
    ("length", INTEGER, 32, 16),
    ("nexthdr", PROTOCOL, 48, 8),
    ("hoplimit", INTEGER, 56, 8),
    ("saddr", IPV6, 64, 128),
    ("daddr", IPV6, 192, 128),
];
const TCP: &[Row] = &[
    ("sport", SERVICE, 0, 16),
    ("dport", SERVICE, 16, 16),
    ("sequence", INTEGER, 32, 32),
    ("ackseq", INTEGER, 64, 32),
    ("doff", INTEGER, 96, 4),
    ("reserved", INTEGER, 100, 4),
    ("flags", TCP_FLAG, 104, 8),
    ("window", INTEGER, 112, 16),
    ("checksum", INTEGER, 128, 16),
    ("urgptr", INTEGER, 144, 16),
];
const UDP: &[Row] = &[
    ("sport", SERVICE, 0, 16),
    ("dport", SERVICE, 16, 16),
    ("length", INTEGER, 32, 16),
    ("checksum", INTEGER, 48, 16),
];
const UDPLITE: &[Row] = &[
    ("sport", SERVICE, 0, 16),
    ("dport", SERVICE, 16, 16),
    ("csumcov", INTEGER, 32, 16),
    ("checksum", INTEGER, 48, 16),
];
const SCTP: &[Row] = &[
    ("sport", SERVICE, 0, 16),
    ("dport", SERVICE, 16, 16),
    ("vtag", INTEGER, 32, 32),
    ("checksum", INTEGER, 64, 32),
];
const DCCP: &[Row] = &[
    ("sport", SERVICE, 0, 16),
    ("dport", SERVICE, 16, 16),
    ("type", DCCP_TYPE, 67, 4),
];
/// What follows depends on the type.
const ICMP: &[Row] = &[
    ("type", ICMP_TYPE, 0, 8),
    ("code", ICMP_CODE, 8, 8),
    ("checksum", INTEGER, 16, 16),
];
const ICMPV6: &[Row] = &[
    ("type", ICMPV6_TYPE, 0, 8),
    ("code", ICMPV6_CODE, 8, 8),
    ("checksum", INTEGER, 16, 16),
];
const IGMP: &[Row] = &[
    ("type", IGMP_TYPE, 0, 8),
    ("mrt", INTEGER, 8, 8),
    ("checksum", INTEGER, 16, 16),
    ("group", IPV4, 32, 32),
];
const AH: &[Row] = &[
    ("nexthdr", PROTOCOL, 0, 8),
    ("hdrlength", INTEGER, 8, 8),
    ("reserved", INTEGER, 16, 16),
    ("spi", INTEGER, 32, 32),
    ("sequence", INTEGER, 64, 32),
];
const ESP: &[Row] = &[("spi", INTEGER, 0, 32), ("sequence", INTEGER, 32, 32)];
const COMP: &[Row] = &[
    ("nexthdr", PROTOCOL, 0, 8),
    ("flags", INTEGER, 8, 8),
    ("cpi", INTEGER, 16, 16),
];
/// Of transports that are not known.
const TH: &[Row] = &[("sport", SERVICE, 0, 16), ("dport", SERVICE, 16, 16)];

fn rows(protocol: &str) -> &'static [Row] {
    match protocol {
        "ether" => ETHER_FIELDS,
        "vlan" => VLAN,
        "arp" => ARP,
        "ip" => IP,
        "ip6" => IP6,
        "tcp" => TCP,
        "udp" => UDP,
        "udplite" => UDPLITE,
        "sctp" => SCTP,
        "dccp" => DCCP,
        "icmp" => ICMP,
        "icmpv6" => ICMPV6,
        "igmp" => IGMP,
        "ah" => AH,
        "esp" => ESP,
        "comp" => COMP,
        "th" => TH,
        _ => &[],
    }
}

/// The transport with this number.
fn transport(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        108 => "comp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

/// The protocol behind an Ethernet header of this type.
fn network(ether_type: u64) -> Option<&'static str> {
    Some(match ether_type {
        0x0800 => "ip",
        0x0806 => "arp",
        0x86dd => "ip6",
        _ => return None,
    })
}

/// What a rule has asked of a packet so far that says which headers it has.
#[derive(Clone, Debug)]
pub(super) struct Headers {
    /// Whether the link is Ethernet.
    has_ether: bool,
    has_vlan: bool,
    pub(super) network: Option<&'static str>,
    pub(super) transport: Option<&'static str>,
    /// It is of a transport that has no name here.
    is_other: bool,
}

/// Something that says which header follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// `meta iiftype`
    Link,
    /// `meta nfproto`
    Family,
    /// `meta protocol`, `ether type`, `vlan type`
    EtherType,
    /// `meta l4proto`, `ip protocol`, `ip6 nexthdr`
    Protocol,
}

impl Headers {
    pub(super) fn of(family: Family) -> Self {
        let network = match family {
            Family::Ip => Some("ip"),
            Family::Ip6 => Some("ip6"),
            Family::Arp => Some("arp"),
            Family::Inet | Family::Bridge | Family::Netdev => None,
        };
        Self {
            has_ether: matches!(family, Family::Bridge | Family::Netdev),
            has_vlan: false,
            network,
            transport: None,
            is_other: false,
        }
    }

    /// Takes the answer that a rule requires. Whether the header that follows implies just this answer.
    pub(super) fn learn(&mut self, says: Says, number: u64) -> bool {
        /// `ETH_P_8021Q`; headers of another type of VLAN are laid out the same.
        const VLAN: u64 = 0x8100;
        let is_named = match says {
            Says::Link => number == 1,
            Says::Family => matches!(number, 2 | 10),
            Says::EtherType => number == VLAN || network(number).is_some(),
            Says::Protocol => transport(number).is_some(),
        };
        match says {
            // `ARPHRD_ETHER`
            Says::Link => self.has_ether |= number == 1,
            Says::Family => {
                self.network = match number {
                    2 => Some("ip"),
                    10 => Some("ip6"),
                    _ => self.network,
                }
            }
            Says::EtherType if matches!(number, 0x8100 | 0x88a8) => self.has_vlan = true,
            Says::EtherType => self.network = network(number).or(self.network),
            Says::Protocol => {
                self.transport = transport(number);
                self.is_other = self.transport.is_none();
            }
        }
        is_named
    }

    fn protocols(&self, base: Base) -> impl Iterator<Item = &'static str> {
        let [one, other] = match base {
            Base::Link => [self.has_ether.then_some("ether"), self.has_vlan.then_some("vlan")],
            Base::Network => [self.network, None],
            Base::Transport => [self.transport.or(Some("th").filter(|_| !self.is_other)), None],
            Base::Inner => [None, None],
        };
        one.into_iter().chain(other)
    }

    /// The field that begins at an offset; of those that do the widest first.
    pub(super) fn field_at(&self, base: Base, offset: u32) -> Option<Field> {
        self.protocols(base).find_map(|protocol| {
            let row = rows(protocol).iter().find(|row| row.2 == offset)?;
            Some(field(protocol, *row))
        })
    }
}

fn field(protocol: &'static str, (name, id, offset, bits): Row) -> Field {
    Field {
        protocol,
        name,
        offset,
        of: Type::wide(id, bits, Order::Big),
    }
}
