//! The way of a packet through its hooks. Each traversal of a hook is a frame: opened when `nf_hook_slow` is entered,
//! closed when it is left or the packet is freed in it. Frames lie one within the other on a CPU: a REJECT sends a
//! packet through OUTPUT while its own is still in FORWARD.

mod classify;
mod close;
mod enter;
mod frame;
mod function;
mod glance;
mod leave;
mod nat;
mod packet;
mod passing;
mod sight;
mod snapshot;
mod trace;
mod verdict;

pub use close::{forget, freed};
pub use enter::enter;
pub use frame::{FlowKey, Frame, PathCpu};
pub use function::{function_entered, function_left};
pub use glance::Set;
pub use leave::{Left, leave};
pub use passing::Passing;
pub use trace::{Traced, traced};
pub use verdict::{Called, chain_entered, chain_left, decided, writer_entered, writer_left};

/// `NFPROTO_IPV4`
const IPV4: u8 = 2;
/// `NFPROTO_BRIDGE`
const BRIDGE: u8 = 7;
/// `NFPROTO_IPV6`
const IPV6: u8 = 10;
/// `NF_INET_PRE_ROUTING`, `NF_BR_PRE_ROUTING`
const PREROUTING: u8 = 0;
/// `NF_INET_LOCAL_OUT`
const OUTPUT: u8 = 3;

/// Whether a hook is one of IPv4's or IPv6's.
#[inline(always)]
fn is_inet(pf: u8) -> bool {
    pf == IPV4 || pf == IPV6
}

/// Which of a namespace's lists of hook functions is that of one of IPv4's or IPv6's hooks.
#[inline(always)]
fn list_of(pf: u8, hook: u8) -> usize {
    if pf == IPV6 {
        5 + usize::from(hook)
    } else {
        usize::from(hook)
    }
}
