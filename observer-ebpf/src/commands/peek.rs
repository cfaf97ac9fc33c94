//! Reads kernel memory for user space.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use observer_common::WINDOW_BYTES;

use crate::{maps::PEEK, memory::read_bytes};

/// Arguments: address, length in bytes. Returns 0, or 1 if it could not be read.
#[raw_tracepoint]
fn peek(ctx: RawTracePointContext) -> i32 {
    let address: u64 = ctx.arg(0);
    let mut len: u64 = ctx.arg(1);
    let Some(to) = PEEK.get_ptr_mut(0) else { return 1 };
    if len > u64::from(WINDOW_BYTES) {
        len = u64::from(WINDOW_BYTES);
    }
    // SAFETY: `len` is at most the element's length.
    i32::from(!unsafe { read_bytes(to.cast(), len as u32, address) })
}
