//! Packets that the filter is known not to match: on a busy node nearly all are, and finding that out anew for each of
//! them is most of what watching costs. So each CPU remembers what it found out of the last few flows, with all that
//! it was found out from; what differs in any of it is looked at anew.

use observer_common::Filter;

use super::frame::PathCpu;
use super::packet::{ETH_P_IP, IPPROTO_UDP, VXLAN_PORTS};
use super::{OUTPUT, PREROUTING, is_inet};
use crate::look::Look;
use crate::maps::{OTHERS, OTHERS_LEN};
use crate::memory::{offset, read_bytes};

const IPPROTO_TCP: u8 = 6;
/// IPv4 and TCP without options.
const HEADER_BYTES: u32 = 40;
const HEADER_WORDS: usize = HEADER_BYTES as usize / 8;
/// `struct nf_conntrack_tuple`
const TUPLE_WORDS: usize = 5;
/// `struct nf_conntrack_tuple_hash`: two pointers and a tuple. A connection has two, one behind the other.
const TUPLE_HASH_WORDS: usize = 7;
const PAIR_WORDS: usize = TUPLE_HASH_WORDS + TUPLE_WORDS;

/// All that it depends on whether the filter matches a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Glance {
    /// Address of the `struct net`.
    net: u64,
    /// Address of the connection, or 0.
    conn: u64,
    /// IPv4 source and destination.
    addresses: u64,
    /// Ports, protocol, and 1 above them where conntrack and NAT are still to come.
    ports: u64,
    /// The filter's epoch; 0 is none.
    epoch: u64,
    /// The connection's tuples, or zeroes.
    tuples: [[u64; TUPLE_WORDS]; 2],
}

/// Where a [`Glance`] is made.
#[repr(C)]
pub struct Room {
    glance: Glance,
    header: [u64; HEADER_WORDS],
    pair: [u64; PAIR_WORDS],
}

/// Fills this CPU's glance; where it would be remembered, or `None` if the packet is not of the plain kind that is.
#[inline(always)]
pub fn glance(
    skb: impl Look,
    net: u64,
    (hook, pf): (u8, u8),
    nfct: u64,
    cpu: *mut PathCpu,
    filter: &Filter,
) -> Option<u32> {
    // Devices and inodes are not looked at here.
    if filter.iface_count | filter.netns_count != 0 || skb.load::<u16>(offset!(skb_protocol)) != ETH_P_IP {
        return None;
    }
    let bits: u8 = skb.load(offset!(skb_encapsulation));
    if bits >> (offset!(skb_encapsulation_bit) & 7) & 1 != 0 {
        return None;
    }
    // SAFETY: this CPU's element.
    let room = unsafe { &mut (*cpu).room };
    headers(skb, room)?;
    let may_change = is_inet(pf) && (hook == PREROUTING || hook == OUTPUT);
    let glance = &mut room.glance;
    glance.ports |= u64::from(may_change) << 40;
    glance.net = net;
    glance.epoch = u64::from(filter.epoch);
    glance.conn = nfct & !7;
    if glance.conn == 0 {
        glance.tuples = [[0; TUPLE_WORDS]; 2];
    } else {
        tuples(room)?;
    }
    let glance = &room.glance;
    let mixed = glance.addresses ^ glance.ports.rotate_left(17) ^ glance.conn;
    // What differs between flows lies anywhere in the word: all of it must reach the bits that are taken.
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Some((mixed >> 48) as u32 & (OTHERS_LEN - 1))
}

/// Addresses, ports and protocol of a UDP or TCP packet over IPv4, whole and without options.
#[inline(always)]
fn headers(skb: impl Look, room: &mut Room) -> Option<()> {
    let start = u32::from(skb.load::<u16>(offset!(skb_network_header)));
    let tail: u32 = skb.load(offset!(skb_tail));
    let head: u64 = skb.load(offset!(skb_head));
    // SAFETY: the length is the array's.
    if !unsafe {
        read_bytes(
            room.header.as_mut_ptr().cast(),
            HEADER_BYTES,
            head + u64::from(start),
        )
    } {
        return None;
    }
    let [first, second, third, _, fifth] = room.header;
    let proto = (second >> 8) as u8;
    let (source, ports) = (second >> 32, third >> 32);
    // Version 4, five words; bytes 6 and 7 are three bits and the fragment's offset.
    if first as u8 != 0x45 || (first >> 48) & 0xff1f != 0 {
        return None;
    }
    let least = match proto {
        IPPROTO_UDP => {
            let port = (ports >> 16) as u16;
            if port == VXLAN_PORTS[0].to_be() || port == VXLAN_PORTS[1].to_be() {
                return None;
            }
            28
        }
        // A SYN may open another connection than the last with these ports: byte 33.
        IPPROTO_TCP if (fifth >> 8) & 0x12 != 0x02 => HEADER_BYTES,
        _ => return None,
    };
    if tail < start + least {
        return None;
    }
    room.glance.addresses = source | third << 32;
    room.glance.ports = ports | u64::from(proto) << 32;
    Some(())
}

#[inline(always)]
fn tuples(room: &mut Room) -> Option<()> {
    let (original, reply) = (offset!(ct_original), offset!(ct_reply));
    if reply.wrapping_sub(original) != 8 * TUPLE_HASH_WORDS as u32 {
        return None;
    }
    let from = room.glance.conn + u64::from(original);
    // SAFETY: the length is the array's.
    if !unsafe { read_bytes(room.pair.as_mut_ptr().cast(), 8 * PAIR_WORDS as u32, from) } {
        return None;
    }
    for word in 0..TUPLE_WORDS {
        room.glance.tuples[0][word] = room.pair[word];
        room.glance.tuples[1][word] = room.pair[word + TUPLE_HASH_WORDS];
    }
    Some(())
}

/// Whether a packet with this CPU's glance was found not to match.
#[inline(always)]
pub fn is_known(index: u32, cpu: *mut PathCpu) -> bool {
    let Some(known) = OTHERS.get_ptr_mut(index) else {
        return false;
    };
    // SAFETY: this CPU's elements.
    let (known, now) = unsafe { (&*known, &(*cpu).room.glance) };
    let mut differs = (known.net ^ now.net)
        | (known.conn ^ now.conn)
        | (known.addresses ^ now.addresses)
        | (known.ports ^ now.ports)
        | (known.epoch ^ now.epoch);
    if now.conn != 0 {
        for word in 0..TUPLE_WORDS {
            differs |= known.tuples[0][word] ^ now.tuples[0][word];
            differs |= known.tuples[1][word] ^ now.tuples[1][word];
        }
    }
    differs == 0
}

/// Remembers that it was.
#[inline(always)]
pub fn remember(index: u32, cpu: *mut PathCpu) {
    if let Some(place) = OTHERS.get_ptr_mut(index) {
        // SAFETY: this CPU's elements.
        unsafe { *place = (*cpu).room.glance };
    }
}
