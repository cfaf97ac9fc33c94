//! The packet as it was when it died, and the network namespace it died in.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Proto;

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Netns {
    /// Its inode number, as `lsns -t net` and `readlink /proc/PID/ns/net` show it.
    pub inode: u32,
    /// Its name, as `ip netns` shows it; absent for one without a name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

/// The headers of a packet, as they stood at that moment (after whatever NAT had been done).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// The network protocol.
    pub family: PacketFamily,
    /// The Ethernet type, in hexadecimal (`0x88cc`), where `family` is `other`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ethertype: Option<String>,
    /// The transport protocol.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proto: Option<Proto>,
    /// The source address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub src: Option<IpAddr>,
    /// The source port, where the protocol has ports and this fragment carries them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sport: Option<u16>,
    /// The destination address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dst: Option<IpAddr>,
    /// The destination port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dport: Option<u16>,
    /// Length in bytes from the network header on; for a GSO packet, of all its segments.
    pub len: u32,
    /// Time to live, or IPv6 hop limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttl: Option<u8>,
    /// The IPv4 identification, in host order.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ip_id: Option<u16>,
    /// Offset of this fragment in bytes; absent for a packet in one piece and for a first fragment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frag_offset: Option<u16>,
    /// The TCP flags that are set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcp_flags: Option<TcpFlags>,
    /// The ICMP or ICMPv6 type.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub icmp_type: Option<u8>,
    /// The ICMP or ICMPv6 code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub icmp_code: Option<u8>,
    /// The VLAN identifier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vlan: Option<u16>,
    /// The packet mark (fwmark).
    pub mark: Mark,
}

/// The network protocol of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// Anything else, or headers that could not be read.
    #[default]
    Other,
}

/// A packet mark; written in hexadecimal, as `iptables` and `ip rule` print it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark(pub u32);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| de::Error::custom("a mark begins with 0x"))?;
        u32::from_str_radix(digits, 16)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

/// TCP flags, as byte 13 of the header holds them; written as a list of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// The connection is no more.
    pub const RST: Self = Self(0x04);
    /// Data to be handed to the program.
    pub const PSH: Self = Self(0x08);

    // In the order people write them: what opens and closes first.
    const NAMES: [(u8, &'static str); 8] = [
        (0x02, "SYN"),
        (0x01, "FIN"),
        (0x04, "RST"),
        (0x08, "PSH"),
        (0x10, "ACK"),
        (0x20, "URG"),
        (0x40, "ECE"),
        (0x80, "CWR"),
    ];

    /// Whether one of these is set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| name)
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let bit_of = |name: &String| {
            Self::NAMES
                .iter()
                .find(|(_, known)| known == name)
                .map_or(0, |(bit, _)| *bit)
        };
        // A flag that a later version knows is an unknown field: ignored.
        Ok(Self(names.iter().map(bit_of).fold(0, |all, bit| all | bit)))
    }
}
