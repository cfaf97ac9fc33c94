//! Reads kernel memory for user space.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{
    maps::{PEEK, PEEK_BYTES},
    memory::read_bytes,
};

/// Arguments: address, length in bytes. Returns 0, or 1 if it could not be read.
#[raw_tracepoint]
fn peek(ctx: RawTracePointContext) -> i32 {
    let address: u64 = ctx.arg(0);
    let mut len: u64 = ctx.arg(1);
    let Some(to) = PEEK.get_ptr_mut(0) else { return 1 };
    if len > PEEK_BYTES as u64 {
        len = PEEK_BYTES as u64;
    }
    // SAFETY: `len` is at most the element's length.
    i32::from(!unsafe { read_bytes(to.cast(), len as u32, address) })
}
