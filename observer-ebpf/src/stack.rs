//! Return addresses of the drop at hand: which hook, and whether one traversal interrupted another.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_stack, bpf_loop},
};
use observer_common::{Filter, MAX_STACK, SENT_STACK, flag};

use crate::maps::Scratch;

/// What the callback of `bpf_loop` shares with its caller.
#[repr(C)]
struct Walk {
    scratch: *mut Scratch,
    start: u64,
    end: u64,
    nesting: u32,
}

/// Fills `stack`, `stack_count` and `nesting` of the record and its flag [`flag::STACK_CUT`].
#[inline(always)]
pub fn fill(ctx: &impl EbpfContext, scratch: *mut Scratch, filter: &Filter) {
    // SAFETY: this CPU's element; the helper writes at most the given length.
    let bytes = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut (*scratch).event.stack).cast(),
            (MAX_STACK * 8) as u32,
            0,
        )
    };
    let count = if bytes > 0 { bytes as u32 / 8 } else { 0 };
    let [start, end] = filter.hook_slow;
    let mut walk = Walk {
        scratch,
        start,
        end,
        nesting: 0,
    };
    // SAFETY: the callback has the signature that the helper wants, and `walk` outlives the call.
    unsafe { bpf_loop(count, frame as *mut c_void, (&raw mut walk).cast(), 0) };
    // SAFETY: this CPU's element.
    unsafe {
        (*scratch).event.nesting = walk.nesting;
        (*scratch).event.stack_count = if count > SENT_STACK as u32 {
            SENT_STACK as u32
        } else {
            count
        };
        if count as usize >= MAX_STACK || count == 0 {
            (*scratch).event.flags |= flag::STACK_CUT;
        }
    }
}

/// The index is a full register, so that the verifier knows its bound after the test.
unsafe extern "C" fn frame(index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: what `fill` passed.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    if index >= MAX_STACK as u64 {
        return 1;
    }
    // SAFETY: this CPU's element, index below the array's length.
    let address = unsafe { (*walk.scratch).event.stack[index as usize] };
    if address >= walk.start && address < walk.end {
        walk.nesting += 1;
    }
    0
}
