//! Packets that the filter is known not to match: on a busy node nearly all are, and finding that out anew for each of
//! them is most of what watching costs. So each CPU remembers the addresses of those that it has looked at, with all that
//! the answer came from. What differs in any of it is looked at anew, and so is everything after a while: a connection
//! may have gone, and another with the same addresses be translated otherwise.

use aya_ebpf::helpers::bpf_jiffies64;

use super::frame::PathCpu;
use super::packet::{ETH_P_IP, ETH_P_IPV6, IPPROTO_TCP, IPPROTO_UDP, VXLAN_PORTS};
use super::sight::Sight;
use crate::cast;
use crate::look::Look;
use crate::maps::{GLANCE_SETS, GLANCES};
use crate::memory::offset;
use crate::mode::mode;

/// IPv4 and TCP.
const V4_WORDS: usize = 5;
/// IPv6 and most of TCP.
const V6_WORDS: usize = 7;
/// How long an answer holds, in ticks of the kernel's clock: a quarter of a second to two and a half.
const TICKS: u64 = 250;
/// What is unlike in two flows lies anywhere in a word: all of it must reach the bits that are taken.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
/// In `what`: conntrack and NAT are still to come.
const MAY_CHANGE: u64 = 1 << 40;

/// All that it depends on whether the filter matches a packet without a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Glance {
    /// Address of the `struct net`.
    net: u64,
    /// IPv4: its first half, the other is zero.
    src: [u64; 2],
    /// As `src`.
    dst: [u64; 2],
    /// Ports, protocol, [`MAY_CHANGE`], and the filter's epoch; 0: nothing is known.
    what: u64,
    /// The connection that the last such packet was found to have, or 0.
    conn: u64,
    /// When it was looked at.
    at: u64,
}

/// Two flows that would have the same place.
#[repr(C)]
pub struct Set([Glance; 2]);

/// Where a [`Glance`] is made.
#[repr(C)]
pub struct Room {
    glance: Glance,
    header: [u64; V6_WORDS],
}

/// A place among [`GLANCES`], and which of its two.
#[derive(Clone, Copy)]
pub struct Place(u32);

impl Place {
    const NONE: u32 = u32::MAX;

    /// Nowhere.
    pub const fn none() -> Self {
        Self(Self::NONE)
    }
}

/// Takes a glance at the packet, in this CPU's room; the set where it would be remembered, or `None` if it is not of the
/// plain kind that is.
#[inline(always)]
pub fn take<S: Look>(sight: &Sight<S>, cpu: *mut PathCpu) -> Option<u32> {
    if mode!(is_plain) == 0 || sight.conn() != 0 {
        return None;
    }
    let skb = sight.skb;
    let bits: u8 = skb.load(offset!(skb_encapsulation));
    if bits >> (offset!(skb_encapsulation_bit) & 7) & 1 != 0 {
        return None;
    }
    // SAFETY: this CPU's element.
    let room = unsafe { &mut (*cpu).room };
    let start = u32::from(skb.load::<u16>(offset!(skb_network_header)));
    let head: u64 = skb.load(offset!(skb_head));
    let from = head + u64::from(start);
    let bytes = skb.load::<u32>(offset!(skb_tail)).wrapping_sub(start);
    let protocol: u16 = skb.load(offset!(skb_protocol));
    if protocol == ETH_P_IP {
        ipv4(room, from, bytes)?;
    } else if protocol == ETH_P_IPV6 {
        ipv6(room, from, bytes)?;
    } else {
        return None;
    }
    let glance = &mut room.glance;
    // SAFETY: this CPU's element; volatile, so that it is read back as a number: the verifier allows no arithmetic with a
    // typed pointer.
    let net = unsafe {
        core::ptr::write_volatile(&raw mut glance.net, sight.net);
        core::ptr::read_volatile(&raw const glance.net)
    };
    glance.what |= u64::from(sight.epoch & 0x7f_ffff) << 41 | if sight.may_change() { MAY_CHANGE } else { 0 };
    let mixed = glance.src[0] ^ glance.src[1].rotate_left(7) ^ glance.dst[0].rotate_left(32);
    let mixed = mixed ^ glance.dst[1] ^ glance.what.rotate_left(17) ^ net;
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(MIX);
    Some((mixed >> 48) as u32 & (GLANCE_SETS - 1))
}

#[inline(always)]
fn ipv4(room: &mut Room, from: u64, bytes: u32) -> Option<()> {
    // SAFETY: no more than the array. What lies behind the packet can be read, too: `struct skb_shared_info`.
    if !unsafe { cast::copy::<V4_WORDS>(room.header.as_mut_ptr(), from) } {
        return None;
    }
    let [first, second, third, _, fifth, ..] = room.header;
    // Version 4, five words; bytes 6 and 7 are three bits and the fragment's offset.
    if first as u8 != 0x45 || (first >> 48) & 0xff1f != 0 {
        return None;
    }
    let what = transport((second >> 8) as u8, (third >> 32) as u32, (fifth >> 8) as u8)?;
    if bytes < 20 + least(what) {
        return None;
    }
    room.glance.src = [second >> 32, 0];
    room.glance.dst = [third & 0xffff_ffff, 0];
    room.glance.what = what;
    Some(())
}

#[inline(always)]
fn ipv6(room: &mut Room, from: u64, bytes: u32) -> Option<()> {
    // SAFETY: as above.
    if !unsafe { cast::copy::<V6_WORDS>(room.header.as_mut_ptr(), from) } {
        return None;
    }
    let [first, src, src_low, dst, dst_low, sixth, seventh] = room.header;
    if first as u8 >> 4 != 6 {
        return None;
    }
    let what = transport((first >> 48) as u8, sixth as u32, (seventh >> 40) as u8)?;
    if bytes < 40 + least(what) {
        return None;
    }
    room.glance.src = [src, src_low];
    room.glance.dst = [dst, dst_low];
    room.glance.what = what;
    Some(())
}

/// Ports and protocol of UDP or TCP that opens nothing and carries no other packet.
#[inline(always)]
fn transport(proto: u8, ports: u32, tcp_flags: u8) -> Option<u64> {
    match proto {
        IPPROTO_UDP => {
            let port = (ports >> 16) as u16;
            if port == VXLAN_PORTS[0].to_be() || port == VXLAN_PORTS[1].to_be() {
                return None;
            }
        }
        // A SYN may open another connection than the last with these ports.
        IPPROTO_TCP if tcp_flags & 0x12 != 0x02 => {}
        _ => return None,
    }
    Some(u64::from(ports) | u64::from(proto) << 32)
}

/// Bytes of the transport header that were looked at.
#[inline(always)]
fn least(what: u64) -> u32 {
    if what >> 32 == u64::from(IPPROTO_TCP) {
        14
    } else {
        8
    }
}

/// Instead of a set: a packet that is not remembered. (A number, and no `Option`: of that the compiler would copy what is
/// nothing, which the verifier does not allow.)
pub const NOWHERE: u32 = GLANCE_SETS;

/// Where a packet with this CPU's glance is remembered as one that the filter does not match, and its connection.
#[inline(always)]
pub fn find(set: u32, cpu: *mut PathCpu) -> Option<(Place, u64)> {
    let known = GLANCES.get_ptr(set)?;
    // SAFETY: this CPU's elements.
    let (known, now) = unsafe { (&(*known).0, &(*cpu).room.glance) };
    // SAFETY: the helper has no preconditions.
    let ticks = unsafe { bpf_jiffies64() };
    let is_it = |one: &Glance| {
        let differs = (one.net ^ now.net)
            | (one.what ^ now.what)
            | (one.src[0] ^ now.src[0])
            | (one.src[1] ^ now.src[1])
            | (one.dst[0] ^ now.dst[0])
            | (one.dst[1] ^ now.dst[1]);
        differs == 0 && ticks.wrapping_sub(one.at) < TICKS
    };
    if is_it(&known[0]) {
        return Some((Place(set * 2), known[0].conn));
    }
    is_it(&known[1]).then(|| (Place(set * 2 + 1), known[1].conn))
}

/// Remembers that the filter does not match it; the older of the two makes room.
#[inline(always)]
pub fn remember(set: u32, cpu: *mut PathCpu) -> Option<Place> {
    let known = GLANCES.get_ptr_mut(set)?;
    // SAFETY: this CPU's elements; the helper has no preconditions.
    unsafe {
        let glance = &mut (*cpu).room.glance;
        glance.conn = 0;
        glance.at = bpf_jiffies64();
        let older = usize::from((*known).0[0].at > (*known).0[1].at);
        if older == 0 {
            (*known).0[0] = *glance;
        } else {
            (*known).0[1] = *glance;
        }
        Some(Place(set * 2 + older as u32))
    }
}

/// The packet that was remembered there was found to have this connection, which the filter does not match either. If the
/// place is another's by now, that one's packets will be seen to have another, and looked at.
#[inline(always)]
pub fn learn(place: Place, conn: u64) {
    if place.0 == Place::NONE {
        return;
    }
    if let Some(known) = GLANCES.get_ptr_mut(place.0 / 2) {
        // SAFETY: this CPU's element.
        unsafe {
            if place.0 & 1 == 0 {
                (*known).0[0].conn = conn;
            } else {
                (*known).0[1].conn = conn;
            }
        }
    }
}
