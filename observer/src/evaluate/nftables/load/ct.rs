//! What conntrack knows of a packet's connection (net/netfilter/nft_ct.c).

use super::Scene;
use crate::evaluate::nftables::packet::{CtState, Device, Direction, IpFamily, Tuple};
use crate::evaluate::nftables::value::{Loaded, Truth};

/// `NF_IP_PRI_CONNTRACK`: in PREROUTING and OUTPUT a packet has no connection before.
const CONNTRACK: i64 = -200;

/// The bits of a connection's status that have names. The others tell how far the kernel is with it (`IPS_SRC_NAT_DONE` and
/// its like), which changes on the way.
const NAMED_STATUS: u32 = 0x23f;

/// What of a connection there can be in a chain.
enum Seen {
    /// Conntrack has had the packet, or surely has not.
    State(CtState),
    /// There is a connection, in a state that is not known.
    Unknown,
}

impl Scene<'_> {
    pub(super) fn ct(self, key: &str, direction: Option<&str>) -> Loaded {
        let state = match self.seen() {
            Seen::State(state) => state,
            Seen::Unknown => return Loaded::Unknown,
        };
        if key == "state" {
            return Loaded::number(state.bit());
        }
        // Without a connection a rule that asks for anything else does not match.
        if !state.has_connection() {
            return Loaded::Missing;
        }
        let connection = &self.packet.connection;
        match (key, direction) {
            ("status", _) => Loaded::bits(connection.status.without(!NAMED_STATUS)),
            ("mark", _) => Loaded::bits(connection.mark),
            ("direction", _) => Loaded::known(connection.direction.map(|direction| match direction {
                Direction::Original => 0_u8,
                Direction::Reply => 1,
            })),
            ("protocol", _) => Loaded::known(self.packet.protocol),
            ("l3proto", _) => match self.packet.ip_family() {
                Some(IpFamily::V4) => Loaded::number(2_u8),
                Some(IpFamily::V6) => Loaded::number(10_u8),
                None => Loaded::Unknown,
            },
            // An address of the other family is not there.
            ("ip saddr" | "ip daddr", _) if self.is_family(IpFamily::V4) != Truth::Yes => {
                unless_known(self.is_family(IpFamily::V4))
            }
            ("ip6 saddr" | "ip6 daddr", _) if self.is_family(IpFamily::V6) != Truth::Yes => {
                unless_known(self.is_family(IpFamily::V6))
            }
            (_, Some("original")) => of_tuple(&connection.original, key),
            (_, Some("reply")) => of_tuple(&connection.reply, key),
            _ => Loaded::Unknown,
        }
    }

    /// Whether the packet has a connection here.
    pub(in crate::evaluate::nftables) fn has_connection(self) -> Truth {
        match self.seen() {
            Seen::State(state) => Truth::from(state.has_connection()),
            Seen::Unknown => Truth::Unknown,
        }
    }

    /// Conntrack comes at a priority of its own, in two hooks; a packet that comes in has met it nowhere else, unless it
    /// comes from this host.
    fn seen(self) -> Seen {
        if !self.is_of_ip() {
            return Seen::Unknown;
        }
        let known = match self.packet.connection.state {
            Some(state) => Seen::State(state),
            None => Seen::Unknown,
        };
        let from_elsewhere = matches!(&self.packet.input, Device::Named(name) if name != "lo");
        match self.at.hook {
            "prerouting" | "output" if self.at.priority > CONNTRACK => known,
            "prerouting" if self.at.priority < CONNTRACK && from_elsewhere => {
                match self.packet.connection.state {
                    // A rule has just said so.
                    Some(CtState::Untracked) => known,
                    _ => Seen::State(CtState::Invalid),
                }
            }
            // Nobody has told conntrack of it yet, if that is what is said.
            "output" if self.at.priority < CONNTRACK => match self.packet.connection.state {
                Some(state) if !state.has_connection() => Seen::State(state),
                _ => Seen::Unknown,
            },
            "prerouting" | "output" => Seen::Unknown,
            _ => known,
        }
    }
}

fn unless_known(is_family: Truth) -> Loaded {
    match is_family {
        Truth::No => Loaded::Missing,
        _ => Loaded::Unknown,
    }
}

fn of_tuple(tuple: &Tuple, key: &str) -> Loaded {
    match key {
        "ip saddr" | "ip6 saddr" | "saddr" => Loaded::address(tuple.source),
        "ip daddr" | "ip6 daddr" | "daddr" => Loaded::address(tuple.destination),
        "proto-src" => Loaded::known(tuple.sport),
        "proto-dst" => Loaded::known(tuple.dport),
        _ => Loaded::Unknown,
    }
}
