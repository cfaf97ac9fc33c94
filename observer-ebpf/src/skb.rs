//! What a `struct sk_buff` says, include/linux/skbuff.h v6.1 … v6.18.

use observer_common::{ABSENT, DropEvent, HEADER_BYTES, flag};

use crate::cast::{self, field};
use crate::memory::{bounded, is_kernel_address, offset, read_bytes};

/// Lowest inode number of a network namespace: `PROC_DYNAMIC_FIRST` less a few for the first namespaces,
/// include/linux/proc_ns.h.
const FIRST_INODE: u32 = 0xefff_ff00;
/// `SKB_DST_PTRMASK` and the low bits of any pointer to a `dst_entry`.
const DST_MASK: u64 = !7;

/// Address of the packet's `struct net`, and its inode. `from_sock` is set when only the socket knew.
///
/// `dev` shares its place with a tree node while TCP holds the packet, so what it points to is believed only
/// if a namespace is really there.
#[inline(always)]
pub fn net(skb: u64, event: &mut DropEvent) -> Option<(u64, u32)> {
    let dev: u64 = field(skb, offset!(skb_dev))?;
    if is_kernel_address(dev)
        && let Some(found) = net_at(dev, offset!(dev_net))
    {
        return Some(found);
    }
    event.flags |= flag::NET_FROM_SOCK;
    let sock: u64 = field(skb, offset!(skb_sk))?;
    if is_kernel_address(sock)
        && let Some(found) = net_at(sock, offset!(sock_net))
    {
        return Some(found);
    }
    net_at(route_device(skb)?, offset!(dev_net))
}

#[inline(always)]
fn net_at(holder: u64, at: u32) -> Option<(u64, u32)> {
    let net: u64 = field(holder, at)?;
    if !is_kernel_address(net) {
        return None;
    }
    let inode: u32 = field(net, offset!(net_inum))?;
    (inode >= FIRST_INODE).then_some((net, inode))
}

/// The device of the packet's route.
#[inline(always)]
fn route_device(skb: u64) -> Option<u64> {
    let dst: u64 = field::<u64>(skb, offset!(skb_dst))? & DST_MASK;
    if !is_kernel_address(dst) {
        return None;
    }
    field(dst, offset!(dst_dev)).filter(|dev| is_kernel_address(*dev))
}

/// Fills what the record says of the packet itself; false if it is not an IP packet.
#[inline(always)]
pub fn fill(skb: u64, event: &mut DropEvent) -> bool {
    skb_fill(skb, event) != 0
}

/// [`fill`], by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn skb_fill(skb: u64, event: *mut DropEvent) -> u32 {
    // SAFETY: this CPU's element.
    u32::from(!event.is_null() && filled(skb, unsafe { &mut *event }))
}

#[inline(always)]
fn filled(skb: u64, event: &mut DropEvent) -> bool {
    event.len_bytes = field(skb, offset!(skb_len)).unwrap_or(0);
    event.mark = field(skb, offset!(skb_mark)).unwrap_or(0);
    event.iif = field(skb, offset!(skb_iif)).unwrap_or(0);
    event.pkt_type = field::<u8>(skb, offset!(skb_pkt_type)).unwrap_or(0) & 7;
    event.protocol = field(skb, offset!(skb_protocol)).unwrap_or(0);
    event.dev_ifindex = 0;
    event.route_ifindex = 0;
    event.dev_name = [0; 16];
    event.route_name = [0; 16];
    if let Some(dev) = field::<u64>(skb, offset!(skb_dev))
        && event.flags & flag::NET_FROM_SOCK == 0
    {
        event.dev_ifindex = field(dev, offset!(dev_ifindex)).unwrap_or(0);
        name(&mut event.dev_name, dev);
    }
    if let Some(dev) = route_device(skb) {
        event.route_ifindex = field(dev, offset!(dev_ifindex)).unwrap_or(0);
        name(&mut event.route_name, dev);
    }
    headers(skb, event)
}

/// Copies a device's name, to where words may lie.
#[inline(always)]
fn name(to: &mut [u8; 16], dev: u64) {
    let offset = offset!(dev_name);
    if offset != ABSENT {
        // SAFETY: two words are as long as the array. What cannot be read is zero.
        unsafe { cast::copy::<2>(to.as_mut_ptr().cast(), dev + u64::from(offset)) };
    }
}

/// Copies the packet from its network header on, as far as it lies in one piece.
#[inline(always)]
fn headers(skb: u64, event: &mut DropEvent) -> bool {
    event.header_bytes = 0;
    let is_v4 = event.protocol == 0x0800u16.to_be();
    let is_v6 = event.protocol == 0x86ddu16.to_be();
    if !is_v4 && !is_v6 {
        return false;
    }
    let Some(head) = field::<u64>(skb, offset!(skb_head)) else {
        return false;
    };
    let Some(tail) = field::<u32>(skb, offset!(skb_tail)) else {
        return false;
    };
    let Some(start) = field::<u16>(skb, offset!(skb_network_header)) else {
        return false;
    };
    let start = u32::from(start);
    // `skb->len` counts from `data`, which is the network header in every netfilter hook, but the transport header in a
    // socket and the link header in a device.
    if let Some(data) = field::<u64>(skb, offset!(skb_data)) {
        event.len_bytes = event
            .len_bytes
            .wrapping_add((data.wrapping_sub(head) as u32).wrapping_sub(start));
    }
    if tail <= start {
        return false;
    }
    event.header_bytes = tail - start;
    let len = bounded(&event.header_bytes, HEADER_BYTES as u32);
    event.header_bytes = len;
    // SAFETY: `len` is at most the array's length.
    if !unsafe { read_bytes(event.header.as_mut_ptr(), len, head + u64::from(start)) } {
        return false;
    }
    let version = event.header[0] >> 4;
    (is_v4 && version == 4 && len >= 20) || (is_v6 && version == 6 && len >= 40)
}
