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
    let conn = nfct & !7;
    to.address = 0;
    to.info = (nfct & 7) as u32;
    to.pad = 0;
    if !is_kernel_address(conn) || !read_conn(conn, to) || u64::from(to.status) & TEMPLATE != 0 {
        // What was read of it is nobody's.
        to.original = ConnTuple::default();
        to.reply = ConnTuple::default();
        to.status = 0;
        return false;
    }
    to.address = conn;
    true
}

/// Tuples and status: at once where they lie as in every kernel so far, else one by one.
#[inline(always)]
fn read_conn(conn: u64, to: &mut Conn) -> bool {
    let (original, reply, status) = (offset!(ct_original), offset!(ct_reply), offset!(ct_status));
    if reply.wrapping_sub(original) == Conn::REPLY_BEHIND as u32
        && status.wrapping_sub(original) == Conn::STATUS_BEHIND as u32
    {
        let at = core::mem::offset_of!(Conn, original);
        // SAFETY: the length is that of the rest of the structure.
        return original != ABSENT
            && unsafe {
                let place = core::ptr::from_mut(to).cast::<u8>().add(at);
                read_bytes(place, Conn::KERNEL_BYTES as u32, conn + u64::from(original))
            };
    }
    to.between = [0; 2];
    to.status_upper = 0;
    to.status = field::<u64>(conn, status).unwrap_or(0) as u32;
    status != ABSENT && tuple(&mut to.original, conn, original) && tuple(&mut to.reply, conn, reply)
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

/// `::ffff:a.b.c.d` of the four bytes, in two words as they lie in memory.
#[inline(always)]
pub fn mapped(v4: u32) -> [u64; 2] {
    [0, 0xffff_0000 | u64::from(v4) << 32]
}
