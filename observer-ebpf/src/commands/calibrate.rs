//! Finds this CPU's per-CPU offset before the first drop needs it.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::warn;

use crate::{
    cpu,
    maps::{PEEK, SCRATCH},
};

/// Puts the offset of the CPU it runs on into the first word of `PEEK`. Returns 0, or 1.
#[raw_tracepoint]
fn calibrate(ctx: RawTracePointContext) -> i32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 1;
    };
    let Some(offset) = cpu::offset_of_this_cpu(scratch) else {
        warn!(
            &ctx,
            "cannot find this CPU's per-CPU offset: its rule counters cannot be read"
        );
        return 1;
    };
    let Some(to) = PEEK.get_ptr_mut(0) else { return 1 };
    // SAFETY: the element is longer than a word.
    unsafe { to.cast::<u64>().write_unaligned(offset) };
    0
}
