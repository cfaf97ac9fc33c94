//! Return addresses of the drop at hand: which hook, and whether one traversal interrupted another.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_stack, bpf_loop},
};
use observer_common::{CALLER_FRAMES, Filter, MAX_STACK, SENT_STACK, SHORT_STACK, flag};

use crate::{maps::Scratch, remembered};

/// What the callback of `bpf_loop` shares with its caller.
#[repr(C)]
struct Walk {
    scratch: *mut Scratch,
    /// Where the functions lie: the stack has no room for it.
    filter: *const Filter,
}

/// What the frames are. They lie in a map, not on the stack: there the verifier would follow each value that they can have.
#[repr(C)]
pub struct Frames {
    /// Frames of `nf_hook_slow`.
    nesting: u32,
    /// Index of the first of them.
    pub first: u32,
    /// Frames of `__br_forward`.
    forwards: u32,
    /// Index behind the last of `bpf_trace_run*`: what called the program.
    start: u32,
}

/// Fills `stack`, `stack_count` and `nesting` of the record and its flag [`flag::STACK_CUT`]. Unwinding is a third of what a drop
/// costs: the whole stack is looked at only where the innermost frames leave open which hook it was.
#[inline(always)]
pub fn fill(ctx: &impl EbpfContext, scratch: *mut Scratch, filter: &Filter) {
    // SAFETY: this CPU's element; volatile, so that it is read back as a number.
    let here = unsafe {
        core::ptr::write_volatile(&raw mut (*scratch).pointers[0], ctx.as_ptr() as u64);
        core::ptr::read_volatile(&raw const (*scratch).pointers[0])
    };
    let recalled = remembered::stack_recall(scratch, here, filter.functions);
    if recalled == remembered::RECALLED {
        return;
    }
    let mut walk = Walk { scratch, filter };
    let mut count = unwind::<SHORT_STACK>(ctx, &mut walk);
    // SAFETY: this CPU's element.
    let frames = unsafe { &raw const (*scratch).frames };
    // SAFETY: as above; volatile, so that each is looked at for itself.
    let (nesting, first, forwards) = unsafe {
        (
            (&raw const (*frames).nesting).read_volatile(),
            (&raw const (*frames).first).read_volatile(),
            (&raw const (*frames).forwards).read_volatile(),
        )
    };
    let is_told = (nesting != 0) & (forwards == 0) & (first + CALLER_FRAMES < count);
    if (count as usize >= SHORT_STACK) & !is_told {
        count = unwind::<MAX_STACK>(ctx, &mut walk);
    }
    // SAFETY: as above.
    let start = unsafe { (&raw const (*frames).start).read_volatile() };
    if recalled == remembered::TO_CHECK {
        remembered::stack_check(scratch);
    } else if is_told & (nesting == 1) & (start != 0) & (start <= first) {
        remembered::stack_learn(scratch, here, start, filter.functions);
    }
    // SAFETY: this CPU's element.
    unsafe {
        (*scratch).event.nesting = (*frames).nesting;
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

/// Up to `N` frames, and what they are; returns how many there are.
#[inline(always)]
fn unwind<const N: usize>(ctx: &impl EbpfContext, walk: &mut Walk) -> u32 {
    // SAFETY: this CPU's element; the helper writes at most the given length, which is no more than the array's.
    let bytes = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut (*walk.scratch).event.stack).cast(),
            (N * 8) as u32,
            0,
        )
    };
    let count = if bytes > 0 { bytes as u32 / 8 } else { 0 };
    // SAFETY: this CPU's element.
    unsafe {
        (*walk.scratch).frames = Frames {
            nesting: 0,
            first: 0,
            forwards: 0,
            start: 0,
        };
    }
    let walk: *mut Walk = walk;
    // SAFETY: the callback has the signature that the helper wants, and `walk` outlives the call.
    unsafe { bpf_loop(count, frame as *mut c_void, walk.cast(), 0) };
    count
}

/// The index is a full register, so that the verifier knows its bound after the test.
unsafe extern "C" fn frame(index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: what `unwind` passed.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    if index >= MAX_STACK as u64 {
        return 1;
    }
    // SAFETY: the element that `fill` was given.
    let (hook_slow, bridge_forward, trace_run) = unsafe {
        (
            (*walk.filter).hook_slow,
            (*walk.filter).bridge_forward,
            (*walk.filter).trace_run,
        )
    };
    // SAFETY: this CPU's element, index below the array's length.
    let (address, frames) = unsafe {
        (
            (*walk.scratch).event.stack[index as usize],
            &mut (*walk.scratch).frames,
        )
    };
    if address >= hook_slow[0] && address < hook_slow[1] {
        if frames.nesting == 0 {
            frames.first = index as u32;
        }
        frames.nesting += 1;
    }
    if address >= trace_run[0] && address < trace_run[1] {
        frames.start = index as u32 + 1;
    }
    if address >= bridge_forward[0] && address < bridge_forward[1] {
        frames.forwards += 1;
    }
    0
}
