//! observer's kernel programs.
//!
//! `probes/` holds one file per kernel function or tracepoint that is watched; `commands/` what user space runs
//! on demand through `BPF_PROG_TEST_RUN`, never attached to anything; beside them what both share.
//!
//! # Functions that stand alone
//! Nearly everything is `inline(always)`: the verifier then knows every bound, but follows it anew for each way that leads there,
//! and the ways multiply. An `extern "C"` function with a name is global to BTF: the verifier follows it once, with arguments of
//! which it knows no more than the types, and its callers without looking inside (kernel/bpf/verifier.c, `do_check_subprogs()`, v5.6).
//! Of the ways through all programs a sixth was left when the larger parts stood alone. What such a function takes:
//! numbers, and pointers to a whole structure in a map, which may be null there. A pointer that the kernel typed is no number; it
//! becomes one in a map's memory. Until 6.1 what such a pointer leads to is no key of a map: there it stays outside. It returns a number.
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
mod remembered;
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
