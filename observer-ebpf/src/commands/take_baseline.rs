//! Takes the baseline of a namespace's counters on one CPU.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::warn;

use crate::{counters, cpu, maps::SCRATCH};

/// Argument: address of the `struct net`. Runs on the CPU that user space names. Returns 0, or 1.
#[raw_tracepoint]
fn take_baseline(ctx: RawTracePointContext) -> i32 {
    let net: u64 = ctx.arg(0);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 1;
    };
    let Some(cpu_offset) = cpu::offset_of_this_cpu(scratch) else {
        return 1;
    };
    if counters::take_baseline(scratch, cpu_offset, net).is_none() {
        warn!(&ctx, "no baseline for the namespace at {:x}", net);
        return 1;
    }
    0
}
