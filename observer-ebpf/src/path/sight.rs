//! What is seen of a packet as it enters a hook, before anything is read that costs more than a load.

use super::frame::PathCpu;
use super::{OUTPUT, PREROUTING, is_inet};
use crate::look::Look;
use crate::memory::offset;

/// A packet that enters a hook.
pub struct Sight<S> {
    /// Its `sk_buff`.
    pub skb: S,
    /// The address of that as a number: the verifier allows no arithmetic with a typed pointer.
    pub address: u64,
    /// Address of the `struct net`.
    pub net: u64,
    /// `skb->_nfct`
    pub nfct: u64,
    /// `skb->len`, in bytes.
    pub len_bytes: u32,
    /// The filter's.
    pub epoch: u32,
    /// `state->hook`
    pub hook: u8,
    /// `state->pf`
    pub pf: u8,
}

impl<S: Look> Sight<S> {
    /// What is seen of this one.
    #[inline(always)]
    pub fn of(skb: S, state: impl Look, epoch: u32, cpu: *mut PathCpu) -> Self {
        // SAFETY: this CPU's element; volatile, so that the compiler does not see through the round trip.
        let address = unsafe {
            let place = &raw mut (*cpu).address;
            core::ptr::write_volatile(place, skb.address());
            core::ptr::read_volatile(place)
        };
        Self {
            skb,
            address,
            net: state.load(offset!(state_net)),
            nfct: skb.load(offset!(skb_nfct)),
            len_bytes: skb.load(offset!(skb_len)),
            epoch,
            hook: state.load(offset!(state_hook)),
            pf: state.load(offset!(state_pf)),
        }
    }

    /// Address of its connection (or template), 0 if it has none yet.
    #[inline(always)]
    pub fn conn(&self) -> u64 {
        self.nfct & !7
    }

    /// Whether conntrack and NAT may still have their part in this hook.
    #[inline(always)]
    pub fn may_change(&self) -> bool {
        is_inet(self.pf) && (self.hook == PREROUTING || self.hook == OUTPUT)
    }
}
