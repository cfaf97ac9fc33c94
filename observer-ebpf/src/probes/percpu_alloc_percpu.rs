//! `percpu_alloc_percpu`: a block of rule counters is being allocated, so a ruleset is about to change.
//!
//! include/trace/events/percpu.h
//!     v5.10  TP_PROTO(bool reserved, bool is_atomic, size_t size, size_t align, void *base_addr, int off, void __percpu *ptr)
//!     v6.1   TP_PROTO(unsigned long call_site, bool reserved, bool is_atomic, size_t size, size_t align, …)
//!
//! `xt_percpu_counter_alloc` (net/netfilter/x_tables.c) asks for 4096 bytes, aligned to 4096, for each 256 rules;
//! `nft_counter_do_init` (net/netfilter/nft_counter.c) for two `u64` a counter. Nothing on the path of a packet
//! allocates per-CPU memory.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_get_current_task},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};

use super::percpu_free_percpu::{say, was_said_just_now};
use crate::memory::{field, offset};

/// `XT_PCPU_BLOCK_SIZE`
const XT_BLOCK_BYTES: u64 = 4096;
/// `sizeof(struct nft_counter)`, with and without its sequence counter.
const NFT_COUNTER_BYTES: u64 = 16;

#[btf_tracepoint(function = "percpu_alloc_percpu")]
fn percpu_alloc_percpu(ctx: BtfTracePointContext) -> i32 {
    // The verifier wants a constant argument number. Kernels with the older list lack `bpf_loop`, too.
    if offset!(alloc_size_arg) != 3 {
        return 0;
    }
    let size: u64 = ctx.arg(3);
    if size != XT_BLOCK_BYTES && size != NFT_COUNTER_BYTES {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    // A ruleset has thousands of counters.
    if was_said_just_now(now) {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let Some(nsproxy) = field::<u64>(task, offset!(task_nsproxy)) else {
        return 0;
    };
    let Some(net) = field::<u64>(nsproxy, offset!(nsproxy_net)) else {
        return 0;
    };
    let inode = field(net, offset!(net_inum)).unwrap_or(0);
    say(net, inode, now);
    0
}
