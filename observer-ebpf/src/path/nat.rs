//! Will the nat table be asked? It is asked once for each connection and direction (`nf_nat_inet_fn`,
//! net/netfilter/nf_nat_core.c, v6.1 … v6.18), and its counters are by far the most: they are copied when it may be.
//!
//! Before conntrack has seen a packet nothing tells. So a connection is remembered where its addresses lead, and looked at:
//! if it is theirs, of this namespace, alive and confirmed, the nat table has been asked. All of that the kernel's memory
//! says: what is remembered is a hint, and may be another's. What came of it is known when the packet leaves: a connection
//! that is not confirmed then is new, and its nat rules went unseen.

use observer_common::{ABSENT, HookEvent, hook_flag};

use super::frame::Frame;
use super::{OUTPUT, PREROUTING, is_inet};
use crate::cast;
use crate::conntrack;
use crate::filter::{half, word, words};
use crate::maps::{CONNS, CONNS_LEN};
use crate::memory::{is_kernel_address, offset};

/// `IPS_CONFIRMED`: the connection's first packet has left the host, or was taken by it.
const CONFIRMED: u32 = 1 << 3;
/// `IPS_SRC_NAT_DONE`: the nat table is not asked for the source again.
const SRC_NAT_DONE: u32 = 1 << 7;
/// `IPS_DST_NAT_DONE`
const DST_NAT_DONE: u32 = 1 << 8;
/// `IPS_DYING`
const DYING: u32 = 1 << 9;
/// In [`CONNS`], beside the connection's address: the packet is an answer.
const ANSWER: u64 = 1;
/// Odd, and its bits are spread: what is unlike in two tuples reaches the bits that are taken.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a connection's tuple says, in the kernel's own form: an IPv4 address is followed by zeroes.
#[repr(C)]
pub struct TupleKey {
    src: [u64; 2],
    dst: [u64; 2],
    /// Network byte order.
    src_port: u16,
    /// Network byte order.
    dst_port: u16,
    proto: u32,
}

impl TupleKey {
    /// Its place in [`CONNS`], in a namespace.
    #[inline(always)]
    fn place(&self, inode: u32) -> u32 {
        let ports = u64::from(self.src_port) << 16 | u64::from(self.dst_port);
        let src = self.src[0] ^ self.src[1].rotate_left(7);
        let dst = self.dst[0].rotate_left(32) ^ self.dst[1];
        let mixed = src ^ dst ^ ports.rotate_left(17) ^ u64::from(inode) << 40;
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(MIX);
        (mixed >> 48) as u32 & (CONNS_LEN - 1)
    }
}

/// Whether the nat table may be asked about the packet that enters.
#[inline(always)]
pub fn may_be_asked(frame: &mut Frame) -> bool {
    let event = &frame.event;
    if let Some(status) = conntrack::status(event.nfct) {
        return status & done(event.hook) == 0;
    }
    if !comes_before_conntrack(event) {
        return true;
    }
    if !fill_key(frame) {
        return true;
    }
    let place = frame.nat_key.place(frame.event.netns_inode);
    let Some(found) = CONNS.get(place).copied() else {
        return true;
    };
    frame.nat_conn = found & !7;
    !is_still(found, frame)
}

/// Whether `found` is a connection that lives and is that of the frame's key.
#[inline(always)]
fn is_still(found: u64, frame: &mut Frame) -> bool {
    let conn = found & !7;
    let offset = if found & ANSWER == 0 {
        offset!(ct_original)
    } else {
        offset!(ct_reply)
    };
    if !is_kernel_address(conn) || !conntrack::tuple(&mut frame.nat_tuple, conn, offset) {
        return false;
    }
    let net = offset!(ct_net);
    if net == ABSENT || cast::load::<u64>(conn + u64::from(net)) != frame.event.net {
        return false;
    }
    // The connection may be gone: what cannot be read has none of the bits.
    let status = conntrack::status(conn).unwrap_or(0);
    let wanted = CONFIRMED | DST_NAT_DONE;
    let (tuple, key) = (&frame.nat_tuple, &frame.nat_key);
    status & (wanted | DYING) == wanted
        && words(&tuple.src) == key.src
        && words(&tuple.dst) == key.dst
        && tuple.src_port == key.src_port
        && tuple.dst_port == key.dst_port
        && u32::from(tuple.proto) == key.proto
}

/// The packet leaves: did the nat table see it although it was not expected to? Else, its connection is remembered.
#[inline(always)]
pub fn left(frame: &mut Frame) {
    let event = &mut frame.event;
    if event.flags & hook_flag::COUNTERS == 0 || event.flags & hook_flag::CONN == 0 {
        return;
    }
    let is_confirmed = event.conn.status & CONFIRMED != 0;
    if event.flags & hook_flag::NAT == 0 {
        let is_other = !is_confirmed || event.conn.address != frame.nat_conn;
        if is_other && comes_before_conntrack(event) {
            event.flags |= hook_flag::UNSEEN;
        }
        return;
    }
    if is_confirmed && frame.has_nat != 0 {
        remember(frame, false);
        remember(frame, true);
    }
}

#[inline(always)]
fn remember(frame: &mut Frame, is_answer: bool) {
    let conn = &frame.event.conn;
    let tuple = if is_answer { &conn.reply } else { &conn.original };
    let key = &mut frame.nat_key;
    key.src = words(&tuple.src);
    key.dst = words(&tuple.dst);
    key.src_port = tuple.src_port;
    key.dst_port = tuple.dst_port;
    key.proto = u32::from(tuple.proto);
    let value = conn.address | if is_answer { ANSWER } else { 0 };
    // Whose place it was must do with a copy of the nat table's counters.
    if let Some(to) = CONNS.get_ptr_mut(key.place(frame.event.netns_inode)) {
        // SAFETY: the element lives as long as the map; one aligned word is written.
        unsafe { core::ptr::write_volatile(to, value) };
    }
}

/// The addresses of a packet of TCP or UDP, whole and without options; false if it is another.
#[inline(always)]
fn fill_key(frame: &mut Frame) -> bool {
    let event = &frame.event;
    let header = &event.before;
    if event.flags & hook_flag::TUNNEL != 0 {
        return false;
    }
    let is_v4 = header[0] == 0x45;
    let (proto, least) = if is_v4 { (header[9], 24) } else { (header[6], 44) };
    let is_plain = if is_v4 {
        header[6] & 0x1f == 0 && header[7] == 0
    } else {
        header[0] >> 4 == 6
    };
    if !is_plain || (proto != 6 && proto != 17) || event.before_bytes < least {
        return false;
    }
    let key = &mut frame.nat_key;
    let ports = if is_v4 {
        key.src = [u64::from(half(header, 12)), 0];
        key.dst = [u64::from(half(header, 16)), 0];
        half(header, 20)
    } else {
        key.src = [word(header, 8), word(header, 16)];
        key.dst = [word(header, 24), word(header, 32)];
        half(header, 40)
    };
    key.src_port = ports as u16;
    key.dst_port = (ports >> 16) as u16;
    key.proto = u32::from(proto);
    true
}

#[inline(always)]
fn comes_before_conntrack(event: &HookEvent) -> bool {
    is_inet(event.pf) && (event.hook == PREROUTING || event.hook == OUTPUT) && event.nfct & !7 == 0
}

/// The bit that says that the hook's nat table has been asked.
#[inline(always)]
fn done(hook: u8) -> u32 {
    if hook == PREROUTING || hook == OUTPUT {
        DST_NAT_DONE
    } else {
        SRC_NAT_DONE
    }
}
