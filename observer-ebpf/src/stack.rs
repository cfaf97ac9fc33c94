//! Return addresses of the drop at hand: which hook, and whether one traversal interrupted another.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_stack};
use observer_common::{Filter, MAX_STACK, flag};

use crate::maps::Scratch;

/// How many frames are looked at.
pub const DEPTH: usize = 96;

/// Fills `stack`, `stack_count`, `nesting` of the record and its flag [`flag::STACK_CUT`].
#[inline(always)]
pub fn fill(ctx: &impl EbpfContext, scratch: *mut Scratch, filter: &Filter) {
    // SAFETY: this CPU's element; the helper writes at most the given length.
    let bytes = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut (*scratch).stack).cast(),
            (DEPTH * 8) as u32,
            0,
        )
    };
    let count = if bytes > 0 {
        (bytes as usize / 8).min(DEPTH)
    } else {
        0
    };
    let mut nesting = 0;
    let [start, end] = filter.hook_slow;
    // SAFETY: this CPU's element, indices below the arrays' lengths.
    unsafe {
        for i in 0..DEPTH {
            if i >= count {
                break;
            }
            let address = (*scratch).stack[i];
            if i < MAX_STACK {
                (*scratch).event.stack[i] = address;
            }
            if address >= start && address < end {
                nesting += 1;
            }
        }
        (*scratch).event.nesting = nesting;
        (*scratch).event.stack_count = count.min(MAX_STACK) as u32;
        if count == DEPTH || count == 0 {
            (*scratch).event.flags |= flag::STACK_CUT;
        }
    }
}
