//! The packet's connection, include/net/netfilter/nf_conntrack.h and nf_conntrack_tuple.h v6.1 … v6.18.

use observer_common::{ABSENT, Conn, ConnTuple};

use crate::cast;
use crate::memory::{is_kernel_address, offset, read_bytes};

/// `IPS_TEMPLATE`: a zone or helper given by a rule, not a connection.
const TEMPLATE: u64 = 1 << 11;
const TUPLE_WORDS: usize = size_of::<ConnTuple>() / size_of::<u64>();

/// `skb->_nfct`; 0 if the kernel has no conntrack.
#[inline(always)]
pub fn of(skb: u64) -> u64 {
    cast::field(skb, offset!(skb_nfct)).unwrap_or(0)
}

/// Fills `to` from `skb->_nfct`; false if that is no connection.
#[inline(always)]
pub fn fill(nfct: u64, to: &mut Conn) -> bool {
    let conn = nfct & !7;
    to.address = 0;
    to.info = (nfct & 7) as u32;
    to.pad = 0;
    // A connection has a family: one that cannot be read has none.
    if !is_kernel_address(conn)
        || !read_conn(conn, to)
        || u64::from(to.status) & TEMPLATE != 0
        || to.original.family == 0
    {
        // What was read of it is nobody's.
        to.original = ConnTuple::default();
        to.reply = ConnTuple::default();
        to.status = 0;
        return false;
    }
    to.address = conn;
    true
}

/// [`fill`], by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn conntrack_fill(nfct: u64, to: *mut Conn) -> u32 {
    // SAFETY: this CPU's element.
    u32::from(!to.is_null() && fill(nfct, unsafe { &mut *to }))
}

/// Tuples and status: at once where they lie as in every kernel so far, else one by one.
#[inline(always)]
fn read_conn(conn: u64, to: &mut Conn) -> bool {
    let (original, reply, status) = (offset!(ct_original), offset!(ct_reply), offset!(ct_status));
    if !cast::is_possible()
        && reply.wrapping_sub(original) == Conn::REPLY_BEHIND as u32
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
    to.status = status_of(conn);
    status != ABSENT && tuple(&mut to.original, conn, original) && tuple(&mut to.reply, conn, reply)
}

/// `nf_conn.status` of a connection, a template among them; `None` if there is none. No bits if it cannot be read.
#[inline(always)]
pub fn status(nfct: u64) -> Option<u32> {
    let conn = nfct & !7;
    is_kernel_address(conn).then(|| status_of(conn))
}

#[inline(always)]
fn status_of(conn: u64) -> u32 {
    let offset = offset!(ct_status);
    if offset == ABSENT {
        return 0;
    }
    cast::load(conn + u64::from(offset))
}

/// Reads a tuple to where it is to be. One that cannot be read may be all zero.
#[inline(always)]
pub fn tuple(to: &mut ConnTuple, conn: u64, offset: u32) -> bool {
    let place: *mut ConnTuple = to;
    // SAFETY: so many words are the structure.
    offset != ABSENT && unsafe { cast::copy::<TUPLE_WORDS>(place.cast(), conn + u64::from(offset)) }
}

/// `::ffff:a.b.c.d` of the four bytes, in two words as they lie in memory.
#[inline(always)]
pub fn mapped(v4: u32) -> [u64; 2] {
    [0, 0xffff_0000 | u64::from(v4) << 32]
}
