//! Follows a list of the kernel (`struct list_head`) from node to node.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_loop, macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::{MAX_ORDERS, WINDOW_BYTES};

use crate::{maps::PEEK, memory::read};

/// What the callback of `bpf_loop` shares with its caller.
#[repr(C)]
struct Walk {
    /// The node that was read last.
    at: u64,
    /// The list's head.
    head: u64,
}

/// Arguments: a node, the list's head. Puts the addresses of the nodes behind it into `PEEK`, as many as there is room for up to
/// the head; 0 behind the last one if the list could not be read any further. Returns 0.
#[raw_tracepoint]
fn follow(ctx: RawTracePointContext) -> i32 {
    let mut walk = Walk {
        at: ctx.arg(0),
        head: ctx.arg(1),
    };
    // SAFETY: the callback has the signature that the helper wants, and `walk` outlives the call.
    unsafe { bpf_loop(MAX_ORDERS, next as *mut c_void, (&raw mut walk).cast(), 0) };
    0
}

/// The index is a full register, so that the verifier knows its bound after the test.
unsafe extern "C" fn next(index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: what `follow` passed.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let Some(window) = PEEK.get_ptr_mut(0) else {
        return 1;
    };
    if index >= u64::from(WINDOW_BYTES) / 8 {
        return 1;
    }
    let at = read::<u64>(walk.at).unwrap_or(0);
    // SAFETY: the index is below the number of words in the window.
    unsafe { window.cast::<u64>().add(index as usize).write(at) };
    walk.at = at;
    i64::from(at == 0 || at == walk.head)
}
