//! What the programs on the way of packets cost: they measure themselves while user space asks them to. The kernel would
//! do it too (`BPF_ENABLE_STATS`), but to begin and to end that it rewrites its own code on every processor.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use observer_common::Count;

use crate::maps::{BEGAN, SCRATCH, add};
use crate::mode::mode;

/// A program that is measured. Each may be interrupted by another, none by itself.
#[derive(Clone, Copy)]
pub enum Program {
    HookEntry = 0,
    HookExit = 1,
    ChainEntry = 2,
    ChainExit = 3,
    WriterEntry = 4,
    WriterExit = 5,
    Immediate = 6,
    Trace = 7,
    FunctionEntry = 8,
    FunctionExit = 9,
}

/// How many there are.
pub const MEASURED: u32 = 10;

/// The beginning of a run.
#[repr(C)]
pub struct Began {
    /// `CLOCK_MONOTONIC`
    at_ns: u64,
    /// The window that it fell into, 0 when the run is over.
    window: u32,
    /// Zero.
    pad: u32,
}

/// One of so many runs at `kfree_skb` is measured, a power of two.
const SAMPLED: u64 = 16;

/// When the program at `kfree_skb` began to run, if this run is measured; else 0.
#[inline(always)]
pub fn samples() -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's element, and the helper has no preconditions.
    unsafe {
        (*scratch).runs += 1;
        if (*scratch).runs & (SAMPLED - 1) == 0 {
            bpf_ktime_get_ns()
        } else {
            0
        }
    }
}

/// It ends: what it took stands for those that are not measured.
#[inline(always)]
pub fn sampled(began: u64) {
    if began != 0 {
        // SAFETY: the helper has no preconditions.
        let took = unsafe { bpf_ktime_get_ns() }.wrapping_sub(began);
        add(Count::DropTime, took * SAMPLED);
    }
}

/// A program begins to run.
#[inline(always)]
pub fn begins(program: Program) {
    let window = mode!(window);
    if window != 0 {
        begin(program, window);
    }
}

/// It ends: the time that it took is added to the total if it began in the same window.
#[inline(always)]
pub fn ends(program: Program) {
    let window = mode!(window);
    if window != 0 {
        end(program, window);
    }
}

fn begin(program: Program, window: u32) {
    if let Some(began) = BEGAN.get_ptr_mut(program as u32) {
        // SAFETY: this CPU's element, and the helper has no preconditions.
        unsafe {
            (*began).window = window;
            (*began).at_ns = bpf_ktime_get_ns();
        }
    }
}

fn end(program: Program, window: u32) {
    let Some(began) = BEGAN.get_ptr_mut(program as u32) else {
        return;
    };
    // SAFETY: as above.
    unsafe {
        if (*began).window == window {
            (*began).window = 0;
            add(Count::RunTime, bpf_ktime_get_ns().wrapping_sub((*began).at_ns));
        }
    }
}
