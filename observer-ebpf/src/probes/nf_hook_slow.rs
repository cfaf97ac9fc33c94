//! `nf_hook_slow`: a packet goes through the functions of one hook.
//!
//! net/netfilter/core.c, v5.10 … v6.18
//!     int nf_hook_slow(struct sk_buff *skb, struct nf_hook_state *state, const struct nf_hook_entries *e, unsigned int i)
//!
//! Returns 1 if the packet was accepted, 0 if somebody else has it now, less than 0 if it was dropped.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};

use crate::{
    cost::{
        Program::{HookEntry, HookExit},
        begins, ends,
    },
    look::{Plain, Typed},
    path::{Left, enter, leave},
    registers::{stack_pointer, stack_pointer_at_entry},
};

#[fentry(function = "nf_hook_slow")]
fn nf_hook_slow_entry(ctx: FEntryContext) -> i32 {
    begins(HookEntry);
    let _ = enter(Typed(ctx.arg(0)), Typed(ctx.arg(1)), ctx.arg(2), ctx.arg(3), 0);
    ends(HookEntry);
    0
}

#[fexit(function = "nf_hook_slow")]
fn nf_hook_slow_exit(ctx: FExitContext) -> i32 {
    let left = Left {
        state: ctx.arg(1),
        sp: 0,
        // Behind the four arguments.
        returned: ctx.arg(4),
    };
    begins(HookExit);
    let _ = leave(left, |_| Typed(ctx.arg(0)));
    ends(HookExit);
    0
}

/// Where the kernel allows no fentry.
#[kprobe(function = "nf_hook_slow")]
fn nf_hook_slow_kprobe(ctx: ProbeContext) -> u32 {
    begins(HookEntry);
    let _ = entered(&ctx);
    ends(HookEntry);
    0
}

fn entered(ctx: &ProbeContext) -> Option<()> {
    enter(
        Plain(ctx.arg(0)?),
        Plain(ctx.arg(1)?),
        ctx.arg(2)?,
        ctx.arg(3)?,
        stack_pointer(ctx.regs),
    )
}

#[kretprobe(function = "nf_hook_slow")]
fn nf_hook_slow_kretprobe(ctx: RetProbeContext) -> u32 {
    let left = Left {
        state: 0,
        sp: stack_pointer_at_entry(ctx.regs),
        returned: ctx.ret(),
    };
    begins(HookExit);
    let _ = leave(left, Plain);
    ends(HookExit);
    0
}
