//! observer's kernel programs.
//!
//! `probes/` holds one file per kernel function or tracepoint that is watched; `commands/` what user space runs
//! on demand through `BPF_PROG_TEST_RUN`, never attached to anything; beside them what both share.
#![no_std]
#![no_main]

mod behind;
mod bytes;
mod cast;
mod commands;
mod conntrack;
mod cost;
mod counters;
mod cpu;
mod filter;
mod flood;
mod look;
mod maps;
mod memory;
mod mode;
mod nets;
mod path;
mod probes;
mod registers;
mod skb;
mod stack;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
