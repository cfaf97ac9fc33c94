//! The connection of a packet: both tuples, its state, its NAT, and how often it has died.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};

use observer_common::{Conn, ConnTuple, DropEvent, flag};

use crate::report::record::{CtState, Flow, Nat, Packet, Tuple};

/// `IPS_SRC_NAT`, include/uapi/linux/netfilter/nf_conntrack_common.h
const SRC_NAT: u32 = 1 << 4;
/// `IPS_DST_NAT`
const DST_NAT: u32 = 1 << 5;
/// So many connections are counted one by one; then the count begins anew.
const MOST_FLOWS: usize = 16_384;

/// Counts the packets of each connection.
#[derive(Default)]
pub struct Flows {
    packets: HashMap<u64, u64>,
}

/// What was seen of a packet's connection.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The connection, if it has one.
    pub conn: Option<&'a Conn>,
    /// `enum ip_conntrack_info`
    pub info: u32,
    /// Its network namespace.
    pub inode: u32,
}

impl<'a> Seen<'a> {
    /// Of a packet that died.
    pub fn of(event: &'a DropEvent) -> Self {
        Self {
            conn: (event.flags & flag::CONN != 0).then_some(&event.conn),
            info: event.conn.info,
            inode: event.netns_inode,
        }
    }
}

impl Flows {
    /// The connection of a packet; without one, its headers taken as one. `None` for what has no addresses.
    ///
    /// `tracked`: whether conntrack has seen it for sure, so that no connection means an invalid packet.
    pub fn flow(&mut self, seen: &Seen<'_>, packet: &Packet, tracked: bool) -> Option<Flow> {
        let original = match seen.conn {
            Some(conn) => tuple(&conn.original),
            None => tuple_of(packet)?,
        };
        let key = key(seen.inode, packet, &original);
        if self.packets.len() >= MOST_FLOWS && !self.packets.contains_key(&key) {
            self.packets.clear();
        }
        let packets = self.packets.entry(key).or_insert(0);
        *packets += 1;
        Some(Flow {
            id: format!("{key:016x}"),
            original,
            reply: seen.conn.map(|conn| tuple(&conn.reply)),
            nat: seen.conn.map(nat).unwrap_or_default(),
            ct_state: state(seen, tracked),
            service: None,
            packets: *packets,
        })
    }
}

/// The packet's own addresses and ports.
pub fn tuple_of(packet: &Packet) -> Option<Tuple> {
    Some(Tuple {
        src: packet.src?,
        sport: packet.sport,
        dst: packet.dst?,
        dport: packet.dport,
        icmp_id: None,
    })
}

fn key(inode: u32, packet: &Packet, original: &Tuple) -> u64 {
    let mut hasher = DefaultHasher::new();
    (inode, packet.proto.map(|proto| proto.0), original).hash(&mut hasher);
    hasher.finish()
}

fn nat(conn: &Conn) -> Vec<Nat> {
    let kinds = [(DST_NAT, Nat::Dnat), (SRC_NAT, Nat::Snat)];
    kinds
        .into_iter()
        .filter(|(bit, _)| conn.status & bit != 0)
        .map(|(_, nat)| nat)
        .collect()
}

/// `enum ip_conntrack_info`, include/uapi/linux/netfilter/nf_conntrack_common.h
fn state(seen: &Seen<'_>, tracked: bool) -> Option<CtState> {
    if seen.conn.is_none() {
        return match seen.info {
            7 => Some(CtState::Untracked),
            _ => tracked.then_some(CtState::Invalid),
        };
    }
    match seen.info {
        0 | 3 => Some(CtState::Established),
        1 | 4 => Some(CtState::Related),
        2 => Some(CtState::New),
        _ => None,
    }
}

/// A tuple of the kernel's, with addresses as people write them.
pub fn tuple(from: &ConnTuple) -> Tuple {
    // Ports of what has none hold other things: for ICMP the identifier, then type and code.
    let has_ports = matches!(from.proto, 6 | 17 | 33 | 132 | 136);
    let is_icmp = matches!(from.proto, 1 | 58);
    Tuple {
        src: address(from.src),
        sport: has_ports.then(|| u16::from_be(from.src_port)),
        dst: address(from.dst),
        dport: has_ports.then(|| u16::from_be(from.dst_port)),
        icmp_id: is_icmp.then(|| u16::from_be(from.src_port)),
    }
}

fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}
