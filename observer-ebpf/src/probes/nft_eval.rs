//! The other functions that can write a verdict of nf_tables: one pair of programs for all of them, since they are all
//! called in the same way.
//!
//! `struct nft_expr_ops`, include/net/netfilter/nf_tables.h, v5.10 … v6.18
//!     void (*eval)(const struct nft_expr *expr, struct nft_regs *regs, const struct nft_pktinfo *pkt)
//!
//! The verdict is in `regs` when they return.

use aya_ebpf::{
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    cost::{
        Program::{WriterEntry, WriterExit},
        begins, ends,
    },
    maps::NFT,
    path::{Called, writer_entered, writer_left},
    registers::{arguments, stack_pointer, stack_pointer_at_entry},
};

#[kprobe]
fn nft_eval_entry(ctx: ProbeContext) -> u32 {
    let [expr, regs, pkt] = arguments(ctx.regs);
    let sp = stack_pointer(ctx.regs);
    begins(WriterEntry);
    if let Some(offsets) = NFT.get(0).filter(|offsets| offsets.known != 0) {
        let _ = writer_entered(offsets, &Called { expr, regs, pkt }, sp);
    }
    ends(WriterEntry);
    0
}

#[kretprobe]
fn nft_eval_exit(ctx: RetProbeContext) -> u32 {
    let sp = stack_pointer_at_entry(ctx.regs);
    begins(WriterExit);
    if let Some(offsets) = NFT.get(0) {
        let _ = writer_left(offsets, sp);
    }
    ends(WriterExit);
    0
}
