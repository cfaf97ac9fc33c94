//! Packets on their way from hook to hook in a namespace that the filter is known not to match: what was found out at the
//! first hook need not be found out at the next.
//!
//! Their memory may be another packet's by then. That one enters its namespace by a first hook, too, where it is looked
//! at; and it would have to have the same connection and length.

use super::glance::{self, Place};
use super::sight::Sight;
use crate::look::Look;
use crate::maps::{PASSING, PASSING_LEN};

/// A packet.
#[repr(C)]
pub struct Passing {
    skb: u64,
    net: u64,
    /// The connection that it is expected to have, 0 if that is not known.
    conn: u64,
    len_bytes: u32,
    epoch: u32,
    /// Where its addresses are remembered.
    place: Place,
    /// Zero.
    pad: u32,
}

/// The place of a packet: `sk_buff`s lie 256 bytes apart or more.
#[inline(always)]
fn of<S: Look>(sight: &Sight<S>) -> Option<*mut Passing> {
    PASSING.get_ptr_mut(((sight.address >> 8) ^ (sight.address >> 16)) as u32 & (PASSING_LEN - 1))
}

impl Passing {
    #[inline(always)]
    fn is<S: Look>(&self, sight: &Sight<S>) -> bool {
        self.skb == sight.address
            && self.net == sight.net
            && self.len_bytes == sight.len_bytes
            && self.epoch == sight.epoch
    }
}

/// Whether this packet's earlier hook told that the filter does not match it.
#[inline(always)]
pub fn is_known<S: Look>(sight: &Sight<S>) -> bool {
    let conn = sight.conn();
    if conn == 0 || sight.may_change() {
        return false;
    }
    let Some(passing) = of(sight) else {
        return false;
    };
    // SAFETY: this CPU's element.
    let passing = unsafe { &*passing };
    passing.conn == conn && passing.is(sight)
}

/// Its addresses were seen at its first hook: the filter does not match them, nor the connection that they had last.
#[inline(always)]
pub fn begins<S: Look>(sight: &Sight<S>, place: Place, conn: u64) {
    let Some(passing) = of(sight).filter(|_| sight.may_change()) else {
        return;
    };
    // SAFETY: this CPU's element.
    unsafe {
        *passing = Passing {
            skb: sight.address,
            net: sight.net,
            conn,
            len_bytes: sight.len_bytes,
            epoch: sight.epoch,
            place,
            pad: 0,
        };
    }
}

/// It was looked at with its connection: the filter matches neither.
#[inline(always)]
pub fn was_seen<S: Look>(sight: &Sight<S>) {
    let conn = sight.conn();
    let Some(passing) = of(sight).filter(|_| conn != 0) else {
        return;
    };
    // SAFETY: this CPU's element.
    let passing = unsafe { &mut *passing };
    if passing.is(sight) {
        glance::learn(passing.place, conn);
        passing.conn = conn;
    } else {
        *passing = Passing {
            skb: sight.address,
            net: sight.net,
            conn,
            len_bytes: sight.len_bytes,
            epoch: sight.epoch,
            place: Place::none(),
            pad: 0,
        };
    }
}
