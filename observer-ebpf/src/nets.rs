//! What user space has read of a namespace.
//!
//! It is replaced while programs run. User space writes it twice: with generation 0, and with its own, in which nothing else
//! differs any more. So what was taken from it is whole if it had the same generation before and after, and that was not 0.

use observer_common::NetState;

use crate::maps::{NETS, SLOTS};
use crate::path::PathCpu;

/// What is known of the namespace, if anything.
#[inline(always)]
pub fn state(net: u64) -> Option<&'static NetState> {
    // SAFETY: a copy is taken at once.
    let slot = unsafe { SLOTS.get(net) }.copied()?;
    at(slot, net)
}

/// As [`state`], of a namespace that this CPU's last packet was probably in, too: without the hash map.
#[inline(always)]
pub fn state_again(cpu: *mut PathCpu, net: u64) -> Option<&'static NetState> {
    // SAFETY: this CPU's element.
    let (last, slot) = unsafe { ((*cpu).net, (*cpu).slot) };
    if last == net
        && let Some(state) = at(slot, net)
    {
        return Some(state);
    }
    let state = state(net)?;
    // SAFETY: as above.
    unsafe {
        (*cpu).net = net;
        (*cpu).slot = state.slot;
    }
    Some(state)
}

/// What is in the slot, if it is still this namespace's.
#[inline(always)]
fn at(slot: u32, net: u64) -> Option<&'static NetState> {
    NETS.get(slot).filter(|state| state.net == net)
}

/// The generation as it is now.
#[inline(always)]
pub fn generation_of(state: &NetState) -> u32 {
    // SAFETY: a reference can be read.
    unsafe { core::ptr::read_volatile(&raw const state.generation) }
}

/// The ruleset's counters are being freed: nothing is compared until user space has read it anew. Its namespace's inode.
#[inline(always)]
pub fn outdated(net: u64) -> Option<u32> {
    // SAFETY: a copy is taken at once.
    let slot = unsafe { SLOTS.get(net) }.copied()?;
    let state = NETS.get_ptr_mut(slot)?;
    // SAFETY: the element lives as long as the map; one aligned word is written.
    unsafe {
        if (*state).net != net {
            return None;
        }
        core::ptr::write_volatile(&raw mut (*state).generation, 0);
        Some((*state).inode)
    }
}
