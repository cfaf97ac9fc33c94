//! `nft_immediate_eval`: a rule of nf_tables comes to its verdict, if that is written in it.
//!
//! net/netfilter/nft_immediate.c, v5.10 … v6.18
//!     void nft_immediate_eval(const struct nft_expr *expr, struct nft_regs *regs, const struct nft_pktinfo *pkt)
//!
//! Only the rules that matched come so far. The verdict is the expression's own data, so the entry tells all.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};

use crate::{
    cost::{Program, begins, ends},
    maps::NFT,
    memory::field,
    path::{Called, decided},
    registers::arguments,
};

/// `struct nft_immediate_expr` behind the operations: `struct nft_data data`, `u8 dreg`
/// (include/net/netfilter/nf_tables_core.h).
const CODE: u32 = 8;
const CHAIN: u32 = 16;
const DREG: u32 = 24;
/// `NFT_REG_VERDICT`; the others hold data.
const VERDICT: u8 = 0;

#[kprobe(function = "nft_immediate_eval")]
fn nft_immediate_eval(ctx: ProbeContext) -> u32 {
    let [expr, regs, pkt] = arguments(ctx.regs);
    begins(Program::Immediate);
    let _ = evaluated(&Called { expr, regs, pkt });
    ends(Program::Immediate);
    0
}

#[inline(always)]
fn evaluated(call: &Called) -> Option<()> {
    let offsets = NFT.get(0).filter(|offsets| offsets.known != 0)?;
    let register: u8 = field(call.expr, DREG)?;
    if register != VERDICT {
        return None;
    }
    decided(offsets, call, field(call.expr, CODE)?, field(call.expr, CHAIN)?)
}
