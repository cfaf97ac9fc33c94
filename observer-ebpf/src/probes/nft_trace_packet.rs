//! `__nft_trace_packet`: nf_tables says what each rule did, while its trace key is on.
//!
//! net/netfilter/nf_tables_core.c
//!     v5.10 … v6.3  (struct nft_traceinfo *info, const struct nft_chain *chain, enum nft_trace_types type)
//!     v6.4 … v6.18  (const struct nft_pktinfo *pkt, const struct nft_verdict *verdict, const struct nft_rule_dp *rule,
//!                    struct nft_traceinfo *info, enum nft_trace_types type)
//!
//! `static noinline`, called for each matched rule, return and policy of each packet; whether the packet is marked for
//! tracing is tested inside.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use observer_common::{ABSENT, NftOffsets, step};

use crate::{
    cost::{Program, begins, ends},
    maps::NFT,
    memory::{field, read},
    path::{Traced, traced},
    registers::five_arguments,
};

/// `struct nft_rule_dp`: is_last 1, dlen 12, handle 42 bits.
const HANDLE_SHIFT: u32 = 13;
const HANDLE_MASK: u64 = (1 << 42) - 1;
const IS_LAST: u64 = 1;
/// `enum nft_verdicts`, include/uapi/linux/netfilter/nf_tables.h
const NFT_CONTINUE: i32 = -1;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;
/// `struct nft_verdict`, include/net/netfilter/nf_tables.h
const VERDICT_CHAIN: u32 = 8;

#[kprobe(function = "__nft_trace_packet")]
fn nft_trace_packet(ctx: ProbeContext) -> u32 {
    begins(Program::Trace);
    let _ = call(&ctx);
    ends(Program::Trace);
    0
}

/// The arguments, whichever list of them this kernel has.
struct Arguments {
    pkt: u64,
    info: u64,
    verdict: u64,
    rule: u64,
    kind: u32,
}

#[inline(always)]
fn call(ctx: &ProbeContext) -> Option<()> {
    let offsets = NFT.get(0)?;
    if offsets.known == 0 {
        return None;
    }
    let arguments = arguments(ctx, offsets)?;
    // When the key is turned on in the middle of a packet nothing else of the structure is filled.
    let on: u8 = field(arguments.info, offsets.trace_on)?;
    if on >> (offsets.trace_on_bit & 7) & 1 == 0 {
        return None;
    }
    let base: u64 = field(arguments.info, offsets.trace_base)?;
    let code: i32 = read(arguments.verdict)?;
    let to: u64 = field(arguments.verdict, VERDICT_CHAIN).unwrap_or(0);
    let rule: u64 = if arguments.rule == 0 {
        0
    } else {
        read(arguments.rule)?
    };
    // Where a chain ends, 6.1 says RETURN and later kernels say RULE, of what is no rule: its handle is not filled.
    let is_end = arguments.kind != step::POLICY && code == NFT_CONTINUE && rule & IS_LAST != 0;
    let (kind, handle) = match arguments.kind {
        step::POLICY => (step::POLICY, u64::from(field::<u8>(base, offsets.base_policy)?)),
        _ if is_end => (step::RETURN, 0),
        kind => (kind, rule >> HANDLE_SHIFT & HANDLE_MASK),
    };
    traced(
        offsets,
        &Traced {
            pkt: arguments.pkt,
            kind,
            code,
            handle,
            base: base + u64::from(offsets.base_chain),
            to: if code == NFT_JUMP || code == NFT_GOTO {
                to
            } else {
                0
            },
        },
    )
}

/// All five are read before it is known which list they are of.
#[inline(always)]
fn arguments(ctx: &ProbeContext, offsets: &NftOffsets) -> Option<Arguments> {
    let [first, second, third, fourth, fifth] = five_arguments(ctx.regs);
    if offsets.trace_pkt == ABSENT {
        return Some(Arguments {
            pkt: first,
            verdict: second,
            rule: third,
            info: fourth,
            kind: fifth as u32,
        });
    }
    Some(Arguments {
        pkt: field(first, offsets.trace_pkt)?,
        verdict: field(first, offsets.trace_verdict)?,
        rule: field(first, offsets.trace_rule)?,
        info: first,
        kind: third as u32,
    })
}
