//! Fields of the packet's headers. A header that the packet does not have makes a rule not match, whatever it compares:
//! nft asks for the protocol first, and mostly does not write so.

use super::Scene;
use crate::evaluate::nftables::packet::IpFamily;
use crate::evaluate::nftables::value::{Data, Loaded, Number, Truth};
use crate::ruleset::nftables::listing::symbols::{self, ETHER_TYPES};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// TCP, UDP, DCCP, SCTP, UDP-Lite: their headers begin with two ports.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

impl Scene<'_> {
    pub(super) fn field(self, protocol: &str, field: &str) -> Loaded {
        match self.has_header(protocol) {
            Truth::No => Loaded::Missing,
            Truth::Unknown => Loaded::Unknown,
            Truth::Yes => match protocol {
                "ip" | "ip6" => self.network_field(protocol, field),
                _ => self.transport_field(protocol, field),
            },
        }
    }

    /// Whether the packet has a header of this protocol. A chain of frames may ask for the type that the frame's header names,
    /// which for a tagged frame is the tag's: nft writes `ether type ip ip saddr …` and `icmp type …`, which it asks so, without it.
    pub(in crate::evaluate::nftables) fn has_header(self, protocol: &str) -> Truth {
        let is_by_type = matches!(protocol, "ip" | "ip6" | "icmp" | "icmpv6" | "igmp");
        match self.carries(protocol) {
            Truth::Yes if is_by_type && self.may_hide_headers() => Truth::Unknown,
            other => other,
        }
    }

    /// Whether a tag may stand before the headers that rules here ask for.
    pub(in crate::evaluate::nftables) fn may_hide_headers(self) -> bool {
        !self.is_of_ip() && self.packet.vlan_tag != Some(false)
    }

    fn carries(self, protocol: &str) -> Truth {
        match protocol {
            "ip" => self.is_family(IpFamily::V4),
            "ip6" => self.is_family(IpFamily::V6),
            "th" => self.has_transport(),
            "icmp" | "icmpv6" | "igmp" | "tcp" | "udp" | "udplite" | "sctp" | "dccp" | "ah" | "esp"
            | "comp" => self.is_protocol(protocol),
            // What comes before the IP header.
            _ => Truth::Unknown,
        }
    }

    fn network_field(self, protocol: &str, field: &str) -> Loaded {
        const IP6_HEADER_BYTES: u32 = 40;
        let packet = self.packet;
        match (protocol, field) {
            (_, "saddr") => Loaded::address(packet.source),
            (_, "daddr") => Loaded::address(packet.destination),
            (_, "dscp") => Loaded::known(packet.dscp),
            (_, "ecn") => Loaded::known(packet.ecn),
            ("ip", "version") => Loaded::number(4_u8),
            ("ip6", "version") => Loaded::number(6_u8),
            ("ip", "protocol") => Loaded::known(packet.protocol),
            ("ip", "ttl") | ("ip6", "hoplimit") => Loaded::known(packet.ttl),
            ("ip", "length") => Loaded::known(packet.length_bytes),
            ("ip6", "length") => {
                let length = packet.length_bytes;
                Loaded::known(length.and_then(|bytes| bytes.checked_sub(IP6_HEADER_BYTES)))
            }
            // With extension headers this is the first of them.
            ("ip6", "nexthdr") if packet.extension_headers == Some(false) => Loaded::known(packet.protocol),
            // Three flags, then the offset.
            ("ip", "frag-off") if packet.later_fragment == Some(false) => Loaded::Is(Data::Number(Number {
                value: 0,
                unknown: 0xe000,
            })),
            _ => Loaded::Unknown,
        }
    }

    fn transport_field(self, protocol: &str, field: &str) -> Loaded {
        let packet = self.packet;
        let has_ports = packet.protocol.is_some_and(|number| WITH_PORTS.contains(&number));
        match (protocol, field) {
            (_, "sport") if has_ports => Loaded::known(packet.sport),
            (_, "dport") if has_ports => Loaded::known(packet.dport),
            ("tcp", "flags") => Loaded::known(packet.tcp_flags),
            ("icmp" | "icmpv6", "type") => Loaded::known(packet.icmp_type),
            ("icmp" | "icmpv6", "code") => Loaded::known(packet.icmp_code),
            ("th", "sport") if matches!(packet.protocol, Some(ICMP | ICMPV6)) => self.type_and_code(),
            _ => Loaded::Unknown,
        }
    }

    /// Where others have the source port, ICMP has these.
    fn type_and_code(self) -> Loaded {
        let both = self.packet.icmp_type.zip(self.packet.icmp_code);
        Loaded::known(both.map(|(kind, code)| u16::from_be_bytes([kind, code])))
    }

    /// Bits of the packet: those that have a name too.
    pub(super) fn raw(self, base: &str, offset: u64, length: u64) -> Loaded {
        match (base, offset, length) {
            ("th", 0, 16) => self.field("th", "sport"),
            ("th", 16, 16) => self.field("th", "dport"),
            ("nh", ..) => match (self.packet.ip_family(), offset, length) {
                (Some(IpFamily::V4), 64, 8) => self.field("ip", "ttl"),
                (Some(IpFamily::V4), 72, 8) => self.field("ip", "protocol"),
                (Some(IpFamily::V4), 96, 32) => self.field("ip", "saddr"),
                (Some(IpFamily::V4), 128, 32) => self.field("ip", "daddr"),
                _ => Loaded::Unknown,
            },
            _ => Loaded::Unknown,
        }
    }

    pub(in crate::evaluate::nftables) fn is_family(self, family: IpFamily) -> Truth {
        match self.packet.ip_family() {
            Some(known) => Truth::from(known == family),
            None => Truth::Unknown,
        }
    }

    /// Later fragments have no header of the transport.
    fn has_transport(self) -> Truth {
        match (self.packet.later_fragment, self.packet.protocol) {
            (Some(true), _) => Truth::No,
            (_, None) => Truth::Unknown,
            // That ports or types are known says that they are there.
            (None, Some(_)) if self.knows_transport() => Truth::Yes,
            (None, Some(_)) => Truth::Unknown,
            (Some(false), Some(_)) => Truth::Yes,
        }
    }

    fn knows_transport(self) -> bool {
        let packet = self.packet;
        packet.sport.is_some()
            || packet.dport.is_some()
            || packet.icmp_type.is_some()
            || packet.tcp_flags.is_some()
    }

    fn is_protocol(self, name: &str) -> Truth {
        let wanted = symbols::number(symbols::PROTOCOLS, name);
        let is = match (self.packet.protocol, wanted) {
            (Some(protocol), Some(wanted)) => Truth::from(u64::from(protocol) == wanted),
            _ => Truth::Unknown,
        };
        match is {
            Truth::No => Truth::No,
            other => other.and(self.has_transport()),
        }
    }

    /// `meta protocol`
    pub(super) fn ether_type(self) -> Loaded {
        let name = match self.packet.ip_family() {
            Some(IpFamily::V4) => "ip",
            Some(IpFamily::V6) => "ip6",
            None => return Loaded::Unknown,
        };
        Loaded::known(symbols::number(ETHER_TYPES, name))
    }
}
