//! Transport protocols by their names in /etc/protocols, in lower case, as netfilter's tools print them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An IP protocol number; written as its name where it has one everybody knows, else as the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proto(pub u8);

/// A protocol name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol; give tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255")]
pub struct UnknownProto;

impl Proto {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// IGMP.
    pub const IGMP: Self = Self(2);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// Its name, where it has a well-known one.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(number, _)| *number == self.0)
            .map(|(_, name)| *name)
    }
}

const NAMES: &[(u8, &str)] = &[
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipip"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (89, "ospf"),
    (103, "pim"),
    (112, "vrrp"),
    (132, "sctp"),
    (136, "udplite"),
];

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl FromStr for Proto {
    type Err = UnknownProto;

    fn from_str(text: &str) -> Result<Self, UnknownProto> {
        let lower = text.to_ascii_lowercase();
        let name = match lower.as_str() {
            "ipv6-icmp" | "icmp6" => "icmpv6",
            other => other,
        };
        match NAMES.iter().find(|(_, known)| *known == name) {
            Some((number, _)) => Ok(Self(*number)),
            None => lower.parse().map(Self).map_err(|_| UnknownProto),
        }
    }
}

impl Serialize for Proto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Proto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_reads_back_from_its_text() {
        for number in 0..=u8::MAX {
            assert_eq!(Proto(number).to_string().parse(), Ok(Proto(number)));
        }
    }

    #[test]
    fn names_are_taken_in_any_case_and_by_their_other_spellings() {
        assert_eq!("TCP".parse(), Ok(Proto::TCP));
        assert_eq!("ipv6-icmp".parse(), Ok(Proto::ICMPV6));
        assert_eq!("256".parse::<Proto>(), Err(UnknownProto));
        assert_eq!("tpc".parse::<Proto>(), Err(UnknownProto));
    }
}
