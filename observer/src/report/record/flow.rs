//! The connection a packet belongs to, as conntrack knows it: one story before and after NAT.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Source port, where the protocol has ports.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sport: Option<u16>,
    /// Destination address.
    pub dst: IpAddr,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dport: Option<u16>,
    /// The identifier of an ICMP query.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub icmp_id: Option<u16>,
}

/// A connection, or where conntrack has none the headers taken as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The same for every packet of the connection, on this node, in this run. Opaque.
    pub id: String,
    /// The direction of the first packet, before NAT.
    pub original: Tuple,
    /// The direction of the answers, as they arrive, before NAT is undone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply: Option<Tuple>,
    /// The translations that are set up.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub nat: Vec<Nat>,
    /// What conntrack says of this packet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ct_state: Option<CtState>,
    /// The Kubernetes service (`namespace/name`) the client addressed, where the ruleset names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// How many packets of this flow have died in this run, this one included.
    pub packets: u64,
}

/// A translation of addresses or ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// The destination is translated.
    Dnat,
    /// The source is translated (masquerading included).
    Snat,
}

/// The state of a packet's connection, as `-m conntrack --ctstate` and `ct state` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CtState {
    /// The first packet of a connection, or one that no answer has been seen to.
    New,
    /// Packets have been seen in both directions.
    Established,
    /// It belongs to another connection (an ICMP error, an FTP data connection).
    Related,
    /// Conntrack could not place it.
    Invalid,
    /// It is not tracked.
    Untracked,
}

impl CtState {
    /// The name, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Established => "ESTABLISHED",
            Self::Related => "RELATED",
            Self::Invalid => "INVALID",
            Self::Untracked => "UNTRACKED",
        }
    }
}

impl Nat {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dnat => "dnat",
            Self::Snat => "snat",
        }
    }
}
