//! The functions of a hook that ask no rules (IPVS, a BPF program, a security module, …): one pair of programs for all of
//! them, since a hook calls them all in the same way.
//!
//! `nf_hookfn`, include/linux/netfilter.h, v5.10 … v6.18
//!     unsigned int hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)

use aya_ebpf::{
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    cost::{
        Program::{FunctionEntry, FunctionExit},
        begins, ends,
    },
    path::{function_entered, function_left},
    registers::{arguments, instruction_pointer, returned, stack_pointer, stack_pointer_at_entry},
};

#[kprobe]
fn hook_function_entry(ctx: ProbeContext) -> u32 {
    let [_, skb, _] = arguments(ctx.regs);
    let (at, sp) = (instruction_pointer(ctx.regs), stack_pointer(ctx.regs));
    begins(FunctionEntry);
    let _ = function_entered(skb, at, sp);
    ends(FunctionEntry);
    0
}

#[kretprobe]
fn hook_function_exit(ctx: RetProbeContext) -> u32 {
    let verdict = returned(ctx.regs) as u32;
    let sp = stack_pointer_at_entry(ctx.regs);
    begins(FunctionExit);
    let _ = function_left(verdict, sp);
    ends(FunctionExit);
    0
}
