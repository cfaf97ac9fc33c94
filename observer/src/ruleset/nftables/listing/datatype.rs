//! Types of values: how they are written, and which numbers their names stand for.

use super::expression::{Expression, Payload};
use super::symbols::{self, Names};

/// What kind of value an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// An IPv4 address.
    Ipv4Address,
    /// An IPv6 address.
    Ipv6Address,
    /// An Ethernet address.
    EtherAddress,
    /// A port.
    Service,
    /// A transport of IP.
    Protocol,
    /// A mark.
    Mark,
    /// A device's name, which may end with `*`.
    DeviceName,
    /// A device's index, written as its name.
    Device,
    /// A group of devices.
    DeviceGroup,
    /// A kind of hardware.
    DeviceType,
    /// A type of ICMP.
    IcmpType,
    /// A type of ICMPv6.
    Icmpv6Type,
    /// A code of ICMP.
    IcmpCode,
    /// A code of ICMPv6.
    Icmpv6Code,
    /// States of a connection, as bits.
    CtState,
    /// Status bits of a connection.
    CtStatus,
    /// Labels of a connection, as bits.
    CtLabel,
    /// Events of a connection, as bits.
    CtEvent,
    /// Direction within a connection.
    CtDirection,
    /// Flags of TCP, as bits.
    TcpFlag,
    /// Differentiated services.
    Dscp,
    /// Congestion notification.
    Ecn,
    /// Protocol within a frame.
    EtherType,
    /// IPv4 or IPv6.
    NfProtocol,
    /// Whom a frame is for.
    PacketType,
    /// What the routing table calls an address.
    FibType,
    /// Operation of ARP.
    ArpOperation,
    /// Type of DCCP packet.
    DccpType,
    /// A span of time in seconds.
    Time,
    /// A routing realm.
    Realm,
    /// A class of traffic control, `1:2`.
    Classid,
    /// A user or group.
    Owner,
    /// Bits of the packet, written in hexadecimal.
    Raw,
    /// A number.
    Integer,
    /// Text in quotes.
    Text,
    /// A verdict.
    Verdict,
    /// Whatever else.
    Other,
}

impl Datatype {
    /// The type with this name in a set's declaration.
    pub fn named(name: &str) -> Self {
        match name {
            "ipv4_addr" => Self::Ipv4Address,
            "ipv6_addr" => Self::Ipv6Address,
            "ether_addr" => Self::EtherAddress,
            "inet_service" => Self::Service,
            "inet_proto" => Self::Protocol,
            "mark" => Self::Mark,
            "ifname" => Self::DeviceName,
            "iface_index" => Self::Device,
            "iface_type" => Self::DeviceType,
            "devgroup" => Self::DeviceGroup,
            "icmp_type" => Self::IcmpType,
            "icmpv6_type" => Self::Icmpv6Type,
            "icmp_code" => Self::IcmpCode,
            "icmpv6_code" => Self::Icmpv6Code,
            "ct_state" => Self::CtState,
            "ct_status" => Self::CtStatus,
            "ct_label" => Self::CtLabel,
            "ct_event" => Self::CtEvent,
            "ct_dir" => Self::CtDirection,
            "tcp_flag" => Self::TcpFlag,
            "dscp" => Self::Dscp,
            "ecn" => Self::Ecn,
            "ether_type" => Self::EtherType,
            "nf_proto" => Self::NfProtocol,
            "pkt_type" => Self::PacketType,
            "fib_addrtype" => Self::FibType,
            "arp_op" => Self::ArpOperation,
            "dccp_pkttype" => Self::DccpType,
            "time" => Self::Time,
            "realm" => Self::Realm,
            "classid" => Self::Classid,
            "uid" | "gid" => Self::Owner,
            "integer" => Self::Integer,
            "verdict" => Self::Verdict,
            "hour" | "day" | "string" | "cgroupsv2" | "counter" | "quota" | "limit" | "ct helper"
            | "ct timeout" | "ct expectation" | "synproxy" | "secmark" => Self::Text,
            _ => Self::Other,
        }
    }

    /// The types of an expression: several of a concatenation.
    pub fn of(expression: &Expression) -> Vec<Self> {
        match expression {
            Expression::Concatenation(parts) => parts.iter().map(Self::of_one).collect(),
            one => vec![Self::of_one(one)],
        }
    }

    fn of_one(expression: &Expression) -> Self {
        match expression {
            Expression::Payload(Payload::Raw { .. }) => Self::Raw,
            Expression::Payload(Payload::Field { protocol, field }) => of_field(protocol, field),
            Expression::Exthdr { field, .. } => of_exthdr(field.as_deref()),
            Expression::Meta(key) => of_meta(key),
            Expression::Ct { key, .. } => of_ct(key),
            Expression::Rt { key, family } => match (key.as_str(), family.as_deref()) {
                ("classid", _) => Self::Realm,
                ("nexthop", Some("ip")) => Self::Ipv4Address,
                ("nexthop", Some("ip6")) => Self::Ipv6Address,
                _ => Self::Integer,
            },
            Expression::Fib { result, .. } => match result.as_str() {
                "oif" => Self::Device,
                "oifname" => Self::DeviceName,
                _ => Self::FibType,
            },
            Expression::Socket { key, .. } => match key.as_str() {
                "mark" => Self::Mark,
                "cgroupv2" => Self::Text,
                _ => Self::Integer,
            },
            Expression::Osf { .. } => Self::Text,
            Expression::Binary { operands, .. } => operands.first().map_or(Self::Other, Self::of_one),
            Expression::Numgen { .. } | Expression::Jhash(_) | Expression::Symhash { .. } => Self::Integer,
            Expression::Verdict(_) => Self::Verdict,
            _ => Self::Other,
        }
    }

    /// Whether its values are sets of bits, so that a comparison without an operator tests for any of them.
    pub fn is_bits(self) -> bool {
        matches!(
            self,
            Self::CtState | Self::CtStatus | Self::CtLabel | Self::CtEvent | Self::TcpFlag
        )
    }

    /// Whether nft writes its values in quotes.
    pub(super) fn is_quoted(self) -> bool {
        matches!(
            self,
            Self::DeviceName | Self::Device | Self::DeviceGroup | Self::CtLabel | Self::Text | Self::Realm
        )
    }

    /// The names of its values.
    pub fn names(self) -> Names {
        match self {
            Self::Protocol => symbols::PROTOCOLS,
            Self::IcmpType => symbols::ICMP_TYPES,
            Self::Icmpv6Type => symbols::ICMPV6_TYPES,
            Self::IcmpCode => symbols::ICMP_CODES,
            Self::Icmpv6Code => symbols::ICMPV6_CODES,
            Self::CtState => symbols::CT_STATES,
            Self::CtStatus => symbols::CT_STATUS,
            Self::CtDirection => symbols::CT_DIRECTIONS,
            Self::TcpFlag => symbols::TCP_FLAGS,
            Self::Dscp => symbols::DSCP,
            Self::Ecn => symbols::ECN,
            Self::EtherType => symbols::ETHER_TYPES,
            Self::NfProtocol => symbols::NF_PROTOCOLS,
            Self::PacketType => symbols::PACKET_TYPES,
            Self::FibType => symbols::FIB_TYPES,
            Self::ArpOperation => symbols::ARP_OPERATIONS,
            _ => &[],
        }
    }

    /// How many elements of a set with this key nft writes on a line.
    pub(super) fn elements_on_a_line(self) -> usize {
        match self {
            Self::Service | Self::Protocol | Self::Mark | Self::Device | Self::Owner | Self::Classid => 5,
            Self::NfProtocol | Self::ArpOperation | Self::TcpFlag | Self::Integer | Self::CtDirection => 5,
            Self::DccpType => 5,
            Self::Ipv4Address | Self::CtState | Self::CtStatus | Self::PacketType => 2,
            _ => 1,
        }
    }
}

fn of_field(protocol: &str, field: &str) -> Datatype {
    match (protocol, field) {
        ("ip", "saddr" | "daddr") | ("arp", "saddr ip" | "daddr ip") | ("icmp", "gateway") => {
            Datatype::Ipv4Address
        }
        ("igmp", "group") => Datatype::Ipv4Address,
        ("ip6", "saddr" | "daddr") | ("icmpv6", "taddr" | "daddr") => Datatype::Ipv6Address,
        ("ether", "saddr" | "daddr") | ("arp", "saddr ether" | "daddr ether") => Datatype::EtherAddress,
        ("ip" | "ip6", "dscp") => Datatype::Dscp,
        ("ip" | "ip6", "ecn") => Datatype::Ecn,
        ("ip", "protocol") | (_, "nexthdr") => Datatype::Protocol,
        ("ether" | "vlan", "type") | ("arp", "ptype") => Datatype::EtherType,
        ("arp", "operation") => Datatype::ArpOperation,
        ("icmp", "type") => Datatype::IcmpType,
        ("icmp", "code") => Datatype::IcmpCode,
        ("icmpv6", "type") => Datatype::Icmpv6Type,
        ("icmpv6", "code") => Datatype::Icmpv6Code,
        ("tcp", "flags") => Datatype::TcpFlag,
        ("dccp", "type") => Datatype::DccpType,
        ("igmp", "type") => Datatype::Other,
        (_, "sport" | "dport") => Datatype::Service,
        _ => Datatype::Integer,
    }
}

fn of_exthdr(field: Option<&str>) -> Datatype {
    match field {
        Some("nexthdr") => Datatype::Protocol,
        Some(field) if field.starts_with("sid[") || field.starts_with("addr[") => Datatype::Ipv6Address,
        Some("type") => Datatype::Other,
        _ => Datatype::Integer,
    }
}

fn of_meta(key: &str) -> Datatype {
    match key {
        "mark" => Datatype::Mark,
        "iif" | "oif" | "sdif" => Datatype::Device,
        "iifname" | "oifname" | "sdifname" | "ibrname" | "obrname" | "ibridgename" | "obridgename" => {
            Datatype::DeviceName
        }
        "iifkind" | "oifkind" | "day" | "hour" | "time" | "secmark" => Datatype::Text,
        "iifgroup" | "oifgroup" => Datatype::DeviceGroup,
        "iiftype" | "oiftype" => Datatype::DeviceType,
        "skuid" | "skgid" => Datatype::Owner,
        "pkttype" => Datatype::PacketType,
        "protocol" | "ibrvproto" => Datatype::EtherType,
        "l4proto" => Datatype::Protocol,
        "nfproto" => Datatype::NfProtocol,
        "priority" => Datatype::Classid,
        "rtclassid" => Datatype::Realm,
        _ => Datatype::Integer,
    }
}

fn of_ct(key: &str) -> Datatype {
    match key {
        "state" => Datatype::CtState,
        "status" => Datatype::CtStatus,
        "direction" => Datatype::CtDirection,
        "mark" => Datatype::Mark,
        "label" => Datatype::CtLabel,
        "event" => Datatype::CtEvent,
        "expiration" => Datatype::Time,
        "helper" => Datatype::Text,
        "protocol" => Datatype::Protocol,
        "l3proto" => Datatype::NfProtocol,
        "proto-src" | "proto-dst" => Datatype::Service,
        "ip saddr" | "ip daddr" => Datatype::Ipv4Address,
        "ip6 saddr" | "ip6 daddr" => Datatype::Ipv6Address,
        _ => Datatype::Integer,
    }
}
