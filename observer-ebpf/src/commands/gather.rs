//! Reads many pieces of kernel memory at once: a system call for each of 20,000 rules costs more than what it reads.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_loop, macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::{MAX_ORDERS, ORDER_BYTES, UNREADABLE, WINDOW_BYTES};

use crate::{
    maps::{ORDERS, PEEK},
    memory::{bounded, read_bytes},
};

/// Argument: how many of `ORDERS` are to be read. Each says for itself whether it could be. Returns 0.
#[raw_tracepoint]
fn gather(ctx: RawTracePointContext) -> i32 {
    let count: u64 = ctx.arg(0);
    let mut nothing = 0_u64;
    let count = if count > u64::from(MAX_ORDERS) {
        MAX_ORDERS
    } else {
        count as u32
    };
    // SAFETY: the callback has the signature that the helper wants, and `nothing` outlives the call.
    unsafe { bpf_loop(count, one as *mut c_void, (&raw mut nothing).cast(), 0) };
    0
}

unsafe extern "C" fn one(index: u32, _: *mut c_void) -> i64 {
    let (Some(order), Some(window)) = (ORDERS.get_ptr_mut(index), PEEK.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: user space writes only while this does not run.
    let order = unsafe { &mut *order };
    let at = bounded(&order.offset, WINDOW_BYTES - ORDER_BYTES);
    let len = bounded(&order.len, ORDER_BYTES);
    // SAFETY: from `at` on there is room for the longest piece.
    let read = unsafe { read_bytes(window.cast::<u8>().add(at as usize), len, order.address) };
    if !read {
        order.len = UNREADABLE;
    }
    0
}
