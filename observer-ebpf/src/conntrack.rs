//! The packet's connection, include/net/netfilter/nf_conntrack.h and nf_conntrack_tuple.h v6.1 … v6.18.

use observer_common::{Conn, ConnTuple};

use crate::memory::{field, is_kernel_address, offset};

/// `IPS_TEMPLATE`: a zone or helper given by a rule, not a connection.
const TEMPLATE: u64 = 1 << 11;
/// `NFPROTO_IPV4`
const IPV4: u16 = 2;

/// `struct nf_conntrack_tuple`: user API in all but name, the same in every version read.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawTuple {
    src: [u8; 16],
    src_port: u16,
    family: u16,
    dst: [u8; 16],
    dst_port: u16,
    proto: u8,
    direction: u8,
}

/// `skb->_nfct`; 0 if the kernel has no conntrack.
#[inline(always)]
pub fn of(skb: u64) -> u64 {
    field(skb, offset!(skb_nfct)).unwrap_or(0)
}

/// Fills `to` from `skb->_nfct`; false if that is no connection.
#[inline(always)]
pub fn fill(nfct: u64, to: &mut Conn) -> bool {
    *to = Conn::default();
    let conn = nfct & !7;
    to.info = (nfct & 7) as u32;
    if !is_kernel_address(conn) {
        return false;
    }
    let Some(status) = field::<u64>(conn, offset!(ct_status)) else {
        return false;
    };
    if status & TEMPLATE != 0 {
        return false;
    }
    let Some(original) = field::<RawTuple>(conn, offset!(ct_original)) else {
        return false;
    };
    let Some(reply) = field::<RawTuple>(conn, offset!(ct_reply)) else {
        return false;
    };
    to.address = conn;
    to.status = status as u32;
    set(&mut to.original, &original);
    set(&mut to.reply, &reply);
    true
}

/// `nf_conn.status` of a connection, a template among them.
#[inline(always)]
pub fn status(nfct: u64) -> Option<u32> {
    let conn = nfct & !7;
    if !is_kernel_address(conn) {
        return None;
    }
    field(conn, offset!(ct_status))
}

#[inline(always)]
fn set(to: &mut ConnTuple, from: &RawTuple) {
    if from.family == IPV4 {
        to.src = mapped([from.src[0], from.src[1], from.src[2], from.src[3]]);
        to.dst = mapped([from.dst[0], from.dst[1], from.dst[2], from.dst[3]]);
    } else {
        to.src = from.src;
        to.dst = from.dst;
    }
    to.src_port = from.src_port;
    to.dst_port = from.dst_port;
    to.proto = from.proto;
    to.family = from.family as u8;
}

/// `::ffff:a.b.c.d`
#[inline(always)]
pub fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3],
    ]
}
