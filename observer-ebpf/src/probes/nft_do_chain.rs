//! `nft_do_chain`: a packet goes through a base chain of nf_tables.
//!
//! net/netfilter/nf_tables_core.c, v5.10 … v6.18
//!     unsigned int nft_do_chain(struct nft_pktinfo *pkt, void *priv)
//!
//! `priv` is the base chain's `struct nft_chain`. Returns a verdict of netfilter; a packet that it frees by itself (6.7
//! and some older stable kernels) is gone before that.

use aya_ebpf::{
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    cost::{
        Program::{ChainEntry, ChainExit},
        begins, ends,
    },
    maps::NFT,
    path::{chain_entered, chain_left},
    registers::{arguments, returned, stack_pointer, stack_pointer_at_entry},
};

#[kprobe(function = "nft_do_chain")]
fn nft_do_chain_entry(ctx: ProbeContext) -> u32 {
    let [pkt, base, _] = arguments(ctx.regs);
    let sp = stack_pointer(ctx.regs);
    begins(ChainEntry);
    if let Some(offsets) = NFT.get(0).filter(|offsets| offsets.known != 0) {
        let _ = chain_entered(offsets, pkt, base, sp);
    }
    ends(ChainEntry);
    0
}

#[kretprobe(function = "nft_do_chain")]
fn nft_do_chain_exit(ctx: RetProbeContext) -> u32 {
    let code = returned(ctx.regs) as u32;
    let sp = stack_pointer_at_entry(ctx.regs);
    begins(ChainExit);
    let _ = chain_left(code, sp);
    ends(ChainExit);
    0
}
