//! Finds the network namespace of the caller: the one end of the list of all of them.

use aya_ebpf::{
    helpers::generated::bpf_get_current_task, macros::raw_tracepoint, programs::RawTracePointContext,
};

use crate::{
    maps::PEEK,
    memory::{field, offset},
};

/// Puts the address of the caller's `struct net` into the first word of `PEEK`. Returns 0, or 1.
#[raw_tracepoint]
fn current_net(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let Some(nsproxy) = field::<u64>(task, offset!(task_nsproxy)) else {
        return 1;
    };
    let Some(net) = field::<u64>(nsproxy, offset!(nsproxy_net)) else {
        return 1;
    };
    let Some(to) = PEEK.get_ptr_mut(0) else { return 1 };
    // SAFETY: the element is longer than a word.
    unsafe { to.cast::<u64>().write_unaligned(net) };
    0
}
