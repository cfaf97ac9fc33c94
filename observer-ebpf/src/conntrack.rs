//! The packet's connection, include/net/netfilter/nf_conntrack.h and nf_conntrack_tuple.h v6.1 … v6.18.

use observer_common::{ABSENT, Conn, ConnTuple};

use crate::memory::{field, is_kernel_address, offset, read_bytes};

/// `IPS_TEMPLATE`: a zone or helper given by a rule, not a connection.
const TEMPLATE: u64 = 1 << 11;
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
    if !tuple(&mut to.original, conn, offset!(ct_original)) || !tuple(&mut to.reply, conn, offset!(ct_reply))
    {
        return false;
    }
    to.address = conn;
    to.status = status as u32;
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

/// Reads a tuple to where it is to be.
#[inline(always)]
pub fn tuple(to: &mut ConnTuple, conn: u64, offset: u32) -> bool {
    let place: *mut ConnTuple = to;
    // SAFETY: the length is the structure's.
    offset != ABSENT
        && unsafe {
            read_bytes(
                place.cast(),
                size_of::<ConnTuple>() as u32,
                conn + u64::from(offset),
            )
        }
}

/// `::ffff:a.b.c.d`
#[inline(always)]
pub fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3],
    ]
}
