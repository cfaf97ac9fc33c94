//! What the functions say that write nf_tables' verdicts, where the trace hook cannot be had: which expression decided,
//! and where a base chain began and ended.

use observer_common::{Count, MAX_DEPTH, NftOffsets, Step, step};

use super::frame::{self, Frame};
use super::trace::frameless;
use crate::maps::count;
use crate::memory::{field, read};

/// `struct nft_verdict`, include/net/netfilter/nf_tables.h
const VERDICT_CHAIN: u32 = 8;
/// `enum nft_verdicts`, include/uapi/linux/netfilter/nf_tables.h
const NFT_CONTINUE: i32 = -1;
const NFT_BREAK: i32 = -2;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;

/// An expression is evaluated.
#[derive(Clone, Copy)]
pub struct Called {
    /// Address of the `struct nft_expr`.
    pub expr: u64,
    /// Address of the `struct nft_regs`.
    pub regs: u64,
    /// Address of the `struct nft_pktinfo`.
    pub pkt: u64,
}

/// `nft_do_chain` begins with a base chain. `sp`: the stack pointer at its entry.
#[inline(always)]
pub fn chain_entered(offsets: &NftOffsets, pkt: u64, base: u64, sp: u64) -> Option<()> {
    let skb: u64 = field(pkt, offsets.pkt_skb)?;
    let frame = match frame::innermost(skb) {
        Some(frame) => frame,
        None => {
            frame::mark_outer(skb);
            frameless(offsets, pkt, skb)?
        }
    };
    // SAFETY: this CPU's element.
    unsafe {
        (*frame).nft.base = base;
        (*frame).nft.chain_sp = sp;
    }
    say(frame, step::BEGIN, 0, 0, 0);
    Some(())
}

/// `nft_do_chain` ends. `sp`: what the stack pointer was at its entry.
#[inline(always)]
pub fn chain_left(returned: u32, sp: u64) -> Option<()> {
    let frame = running()?;
    // SAFETY: this CPU's element.
    let chain_sp = unsafe { (*frame).nft.chain_sp };
    if chain_sp != sp {
        unmatched(chain_sp);
        return None;
    }
    say(frame, step::END, returned, 0, 0);
    // SAFETY: as above.
    unsafe { (*frame).nft.chain_sp = 0 };
    Some(())
}

/// An expression wrote this verdict.
#[inline(always)]
pub fn decided(offsets: &NftOffsets, call: &Called, code: i32, to: u64) -> Option<()> {
    let frame = own(offsets, call.pkt)?;
    verdict(frame, call.expr, code, to);
    Some(())
}

/// A function that may write a verdict begins. `sp`: the stack pointer at its entry.
#[inline(always)]
pub fn writer_entered(offsets: &NftOffsets, call: &Called, sp: u64) -> Option<()> {
    let frame = own(offsets, call.pkt)?;
    // SAFETY: this CPU's element.
    let running = unsafe { &mut (*frame).nft };
    if running.open != 0 && sp < running.writer_sp {
        // One writer called another: the outer one's exit tells.
        return None;
    }
    running.open += 1;
    running.writer_sp = sp;
    running.expr = call.expr;
    running.regs = call.regs;
    Some(())
}

/// A function that may write a verdict ends. `sp`: what the stack pointer was at its entry.
#[inline(always)]
pub fn writer_left(offsets: &NftOffsets, sp: u64) -> Option<()> {
    let frame = running()?;
    // SAFETY: this CPU's element.
    let running = unsafe { (*frame).nft };
    if running.open == 0 {
        return None;
    }
    if running.writer_sp != sp {
        // Below it lies a writer that it called.
        if sp > running.writer_sp {
            unmatched(running.writer_sp);
        }
        return None;
    }
    let verdict_at = running.regs + u64::from(offsets.regs_verdict);
    let code: i32 = read(verdict_at)?;
    let to: u64 = field(verdict_at, VERDICT_CHAIN).unwrap_or(0);
    // SAFETY: as above.
    unsafe { (*frame).nft.open = running.open - 1 };
    verdict(frame, running.expr, code, to);
    Some(())
}

/// The frame of this packet.
#[inline(always)]
fn own(offsets: &NftOffsets, pkt: u64) -> Option<*mut Frame> {
    let skb: u64 = field(pkt, offsets.pkt_skb)?;
    if let Some(frame) = frame::innermost(skb) {
        return Some(frame);
    }
    frame::mark_outer(skb);
    frame::spare(skb)
}

/// The frame that a function without arguments can be in: the innermost, or that of a hook without frames.
#[inline(always)]
fn running() -> Option<*mut Frame> {
    let depth = frame::depth();
    let at = if depth == 0 || depth > MAX_DEPTH {
        MAX_DEPTH
    } else {
        depth - 1
    };
    let frame = frame::at(at)?;
    // SAFETY: this CPU's element.
    unsafe { (*frame).closed == 0 && (*frame).nft.chain_sp != 0 }.then_some(frame)
}

#[inline(always)]
fn verdict(frame: *mut Frame, expr: u64, code: i32, to: u64) {
    match code {
        NFT_CONTINUE | NFT_BREAK => {}
        NFT_JUMP | NFT_GOTO => say(frame, step::VERDICT, code as u32, expr, to),
        _ => say(frame, step::VERDICT, code as u32, expr, 0),
    }
}

#[inline(always)]
fn say(frame: *mut Frame, kind: u32, value: u32, expr: u64, to: u64) {
    // SAFETY: this CPU's element.
    let (event, base) = unsafe { (&raw mut (*frame).event, (*frame).nft.base) };
    frame::push(
        event,
        Step {
            kind,
            value,
            words: [expr, base, to],
        },
    );
}

/// An exit came where another was waited for.
#[inline(always)]
fn unmatched(waited_for: u64) {
    if waited_for != 0 {
        count(Count::Unmatched);
    }
}
