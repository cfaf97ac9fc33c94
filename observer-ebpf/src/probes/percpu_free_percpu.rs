//! `percpu_free_percpu`: a known ruleset's counters are being freed: it has been replaced.
//!
//! include/trace/events/percpu.h, v5.10 … v6.18
//!     TP_PROTO(void *base_addr, int off, void __percpu *ptr)
//!
//! The kernel frees a table's counters after it has put the new table in force and before the memory can be used
//! again (net/ipv4/netfilter/ip_tables.c `__do_replace`). So no address is ever taken for another's.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use observer_common::{EventKind, RulesetEvent};

use crate::maps::{BLOCKS, EVENTS, SCRATCH};
use crate::nets;

/// How long a CPU stays silent after it said that a ruleset changes: user space looks several times anyway.
const QUIET_NS: u64 = 500_000;

#[btf_tracepoint(function = "percpu_free_percpu")]
fn percpu_free_percpu(ctx: BtfTracePointContext) -> i32 {
    let block = ctx.arg::<*const u8>(2) as u64;
    // SAFETY: a copy is taken at once.
    let Some(net) = (unsafe { BLOCKS.get(block) }).copied() else {
        return 0;
    };
    // Not an error if it is gone already: another of its blocks was freed just before.
    let _ = BLOCKS.remove(block);
    let inode = nets::outdated(net).unwrap_or(0);
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    say(net, inode, now);
    0
}

/// Whether this CPU has said a moment ago that a ruleset changes.
#[inline(always)]
pub fn was_said_just_now(now: u64) -> bool {
    // SAFETY: this CPU's element; a time that is a little off does no harm.
    SCRATCH
        .get_ptr_mut(0)
        .is_some_and(|scratch| unsafe { now - (*scratch).said_ns < QUIET_NS })
}

/// Tells user space that the rulesets of a namespace want reading.
#[inline(always)]
pub fn say(net: u64, inode: u32, now: u64) {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's element; a time that is a little off does no harm.
    unsafe { (*scratch).said_ns = now };
    let event = RulesetEvent {
        kind: EventKind::Ruleset as u32,
        netns_inode: inode,
        net,
        time_ns: now,
    };
    // A full ring buffer loses the hint, not the truth: a stale ruleset is noticed at the next drop.
    let _ = EVENTS.output::<RulesetEvent>(event, 0);
}
