//! The packet in a hook: its headers, and those of the packet in it if it is a tunnel's.

use observer_common::{AFTER_BYTES, BEFORE_BYTES, HookEvent, hook_flag};

use crate::cast;
use crate::look::Look;
use crate::memory::{bounded, offset, read_bytes};

/// Network byte order.
pub const ETH_P_IP: u16 = 0x0800u16.to_be();
/// Network byte order.
pub const ETH_P_IPV6: u16 = 0x86ddu16.to_be();
const IPPROTO_IPIP: u8 = 4;
/// `IPPROTO_TCP`
pub const IPPROTO_TCP: u8 = 6;
/// `IPPROTO_UDP`
pub const IPPROTO_UDP: u8 = 17;
const IPPROTO_IPV6: u8 = 41;
/// VXLAN's port, and the one that Linux used before there was a number for it: flannel's.
pub const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// UDP, VXLAN and Ethernet headers.
const VXLAN_BYTES: u32 = 8 + 8 + 14;
/// What is read of an IPv4 packet: its longest header and the ports.
const V4_WORDS: usize = 8;
const BEFORE_WORDS: usize = BEFORE_BYTES / size_of::<u64>();
const AFTER_WORDS: usize = AFTER_BYTES / size_of::<u64>();

/// Fills `before`, `before_bytes`, `protocol` and `len_bytes`; false if it is not an IP packet.
#[inline(always)]
pub fn fill(skb: impl Look, event: &mut HookEvent) -> bool {
    event.before_bytes = 0;
    event.protocol = skb.load(offset!(skb_protocol));
    let is_v4 = event.protocol == ETH_P_IP;
    if !is_v4 && event.protocol != ETH_P_IPV6 {
        return false;
    }
    let start = u32::from(skb.load::<u16>(offset!(skb_network_header)));
    let head: u64 = skb.load(offset!(skb_head));
    let data: u64 = skb.load(offset!(skb_data));
    let len: u32 = skb.load(offset!(skb_len));
    event.len_bytes = len.wrapping_add((data.wrapping_sub(head) as u32).wrapping_sub(start));
    if is_v4 {
        read_from::<V4_WORDS>(event, skb, head, start);
    } else {
        read_from::<BEFORE_WORDS>(event, skb, head, start);
    }
    let version = event.before[0] >> 4;
    (is_v4 && version == 4 && event.before_bytes >= 20)
        || (!is_v4 && version == 6 && event.before_bytes >= 40)
}

/// Reads the headers that begin so far behind `skb->head`, `N` words at most. What lies behind the packet can be read, too:
/// `struct skb_shared_info`.
#[inline(always)]
fn read_from<const N: usize>(event: &mut HookEvent, skb: impl Look, head: u64, start: u32) {
    event.before_bytes = 0;
    let tail: u32 = skb.load(offset!(skb_tail));
    if tail <= start {
        return;
    }
    event.before_bytes = tail - start;
    let len = bounded(&event.before_bytes, (N * size_of::<u64>()) as u32);
    event.before_bytes = len;
    // SAFETY: `len` and the words are at most the array's length.
    if !unsafe { read_some::<N>(event.before.as_mut_ptr(), len, head + u64::from(start)) } {
        event.before_bytes = 0;
    }
}

/// Reads `len` bytes, or where it costs less, `N` words: not fewer. False if it could not; or the first word is zero.
///
/// # Safety
/// `to` must point to at least so many words that the verifier knows of, and begin at a multiple of eight bytes.
#[inline(always)]
unsafe fn read_some<const N: usize>(to: *mut u8, len: u32, from: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        if cast::is_possible() {
            cast::copy::<N>(to.cast(), from)
        } else {
            read_bytes(to, len, from)
        }
    }
}

/// If the packet carries another, puts its headers into `other` and those of the inner one into `before`.
#[inline(always)]
pub fn unwrap_tunnel(skb: impl Look, event: &mut HookEvent) -> bool {
    let Some(start) = inner_start(skb, event) else {
        return false;
    };
    let mut index = 0;
    while index < AFTER_BYTES {
        event.other[index] = event.before[index];
        index += 1;
    }
    read_from::<BEFORE_WORDS>(event, skb, skb.load(offset!(skb_head)), start);
    let version = event.before[0] >> 4;
    let is_ip = (version == 4 && event.before_bytes >= 20) || (version == 6 && event.before_bytes >= 40);
    if is_ip {
        event.flags |= hook_flag::TUNNEL;
    }
    is_ip
}

/// Where the inner network header begins, behind `skb->head`.
#[inline(always)]
fn inner_start(skb: impl Look, event: &HookEvent) -> Option<u32> {
    let bits: u8 = skb.load(offset!(skb_encapsulation));
    if bits >> (offset!(skb_encapsulation_bit) & 7) & 1 != 0 {
        let start = u32::from(skb.load::<u16>(offset!(skb_inner_network)));
        let outer = u32::from(skb.load::<u16>(offset!(skb_network_header)));
        return (start > outer).then_some(start);
    }
    if event.before[0] >> 4 != 4 {
        return None;
    }
    let start = u32::from(skb.load::<u16>(offset!(skb_network_header)));
    let header = u32::from(event.before[0] & 0xf) * 4;
    match event.before[9] {
        IPPROTO_IPIP | IPPROTO_IPV6 => Some(start + header),
        IPPROTO_UDP if header == 20 => {
            let port = u16::from_be_bytes([event.before[22], event.before[23]]);
            (port == VXLAN_PORTS[0] || port == VXLAN_PORTS[1]).then_some(start + header + VXLAN_BYTES)
        }
        _ => None,
    }
}

/// Fills `other` and `mark_after` of a packet that lives on.
#[inline(always)]
pub fn fill_after(skb: impl Look, event: &mut HookEvent) {
    event.mark_after = skb.load(offset!(skb_mark));
    if event.flags & hook_flag::TUNNEL != 0 {
        return;
    }
    let start = u64::from(skb.load::<u16>(offset!(skb_network_header)));
    let head: u64 = skb.load(offset!(skb_head));
    let len = bounded(&event.before_bytes, AFTER_BYTES as u32);
    // SAFETY: `len` and the words are at most the array's length.
    // A header begins with a version.
    if unsafe { read_some::<AFTER_WORDS>(event.other.as_mut_ptr(), len, head + start) } && event.other[0] != 0
    {
        event.flags |= hook_flag::AFTER;
    }
}
