//! Counters that were not looked at for every drop: in a flood ([`crate::flood`]) most are only counted. What has moved by the
//! next look is not that drop's alone, and must not name it.
//!
//! The first look after that only catches up. What moves after it is what packets counted after it, with one exception: a packet
//! may have counted before, been interrupted by the softirq in which the look was taken, and be freed behind it. On one CPU it is
//! the only one, and nothing of its own moves any more. So for as long as a softirq may last, a drop for which no counter moved is
//! not believed to be without one.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use observer_common::behind::{FELL, FOLDED, NEVER, SHIFT, UNSEEN};

use crate::maps::BEHIND;
use crate::nets;

/// Twice as long as a softirq lasts: `MAX_SOFTIRQ_TIME` (kernel/softirq.c) and `netdev_budget_usecs` (net/core/dev.c), v6.12.
const SETTLED_NS: u64 = 20_000_000;
/// A flood lasts until so long after the last drop that was folded: user space takes baselines by then.
const FLOOD_NS: u64 = 250_000_000;

/// What a look at the counters is worth.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// What moved was counted since the last drop, or why not has been said.
    Own,
    /// It may be others'.
    Late,
    /// So it may, in the middle of a flood: after this look others have their own.
    Opens,
}

/// As a function that stands alone returns it.
impl From<u32> for Look {
    #[inline(always)]
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Late,
            2 => Self::Opens,
            _ => Self::Own,
        }
    }
}

/// The counters of this namespace are not looked at for a drop on this CPU that was folded.
#[inline(always)]
pub fn folded(net: u64) {
    fall(net, FOLDED);
}

/// They are not looked at for a drop outside the filter.
#[inline(always)]
pub fn unseen(net: u64) {
    fall(net, UNSEEN);
}

#[inline(always)]
fn fall(net: u64, why: u64) {
    if let Some(state) = nets::state(net) {
        write(state.slot, now() << SHIFT | why);
    }
}

/// They could not be, while a baseline is taken: if that is to catch up, it does not.
#[inline(always)]
pub fn fall_again(slot: u32) {
    if read(slot) != NEVER {
        write(slot, now() << SHIFT | UNSEEN);
    }
}

/// A baseline is going to be taken from nothing. Said before, so that a drop meanwhile has the last word.
#[inline(always)]
pub fn catches_up(slot: u32) {
    if read(slot) != NEVER {
        write(slot, now() << SHIFT);
    }
}

/// The counters of a namespace have been looked at for a drop: `moved` of them were others than before.
#[inline(always)]
pub fn looked(slot: u32, moved: u32) -> Look {
    let was = read(slot);
    if was == NEVER {
        return Look::Own;
    }
    let now = now();
    let ago = now.wrapping_sub(was >> SHIFT);
    if was & FELL != 0 {
        write(slot, now << SHIFT);
        return if was & FELL == FOLDED && ago < FLOOD_NS {
            Look::Opens
        } else {
            Look::Late
        };
    }
    if ago > SETTLED_NS {
        write(slot, NEVER);
        return Look::Own;
    }
    if moved == 0 { Look::Late } else { Look::Own }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn read(slot: u32) -> u64 {
    BEHIND.get(slot).copied().unwrap_or(NEVER)
}

#[inline(always)]
fn write(slot: u32, value: u64) {
    if let Some(behind) = BEHIND.get_ptr_mut(slot) {
        // SAFETY: this CPU's element.
        unsafe { *behind = value };
    }
}
