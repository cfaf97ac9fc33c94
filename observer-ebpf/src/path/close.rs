//! The end of a frame: what moved, what changed, and the record.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, generated::bpf_ringbuf_output};
use observer_common::{Count, HookEvent, HookRuns, MAX_STEPS, NetState, PATH_FILTER, Step, hook_flag};

use super::classify::{is_match, remember};
use super::frame::{self, Frame, tracking};
use super::snapshot::snapshot_compare;
use super::{is_inet, list_of, nat, packet};
use crate::conntrack;
use crate::counters;
use crate::look::{Look, Plain};
use crate::maps::{FILTER, NO_WAKEUP, PATH_CPU, PATHS, count};
use crate::memory::{bounded, offset};
use crate::nets;

/// The packet leaves the hook in one piece, or was given away.
#[inline(always)]
pub fn left(frame: *mut Frame, depth: u32, returned: i32, skb: impl Look) {
    // SAFETY: this CPU's element.
    unsafe { (*frame).event.returned = returned };
    snapshot_compare(frame, depth);
    if returned == 1 {
        // SAFETY: as above.
        let event = unsafe { &mut (*frame).event };
        packet::fill_after(skb, event);
        connection(event, skb.load(offset!(skb_nfct)));
        // SAFETY: as above.
        nat::left(unsafe { &mut *frame });
    }
    finish(frame);
}

/// The packet is being freed: if it is in a hook right now, its record is written. True if so.
#[inline(always)]
pub fn freed(skb: u64) -> bool {
    path_freed(skb) != 0
}

/// [`freed`], by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_freed(skb: u64) -> u32 {
    u32::from(is_freed(skb))
}

#[inline(always)]
fn is_freed(skb: u64) -> bool {
    let Some(frame) = frame::innermost(skb).or_else(|| frame::spare(skb)) else {
        return false;
    };
    let depth = frame::depth().wrapping_sub(1);
    // SAFETY: this CPU's element.
    unsafe {
        (*frame).event.returned = -1;
        (*frame).event.flags |= hook_flag::FREED;
    }
    snapshot_compare(frame, depth);
    let skb = Plain(skb);
    // SAFETY: as above.
    let event = unsafe { &mut (*frame).event };
    event.mark_after = skb.load(offset!(skb_mark));
    connection(event, skb.load(offset!(skb_nfct)));
    finish(frame)
}

/// The packet is being freed, and is only counted: nothing is told of the hook that it is in.
#[inline(always)]
pub fn forget(skb: u64) {
    if let Some(frame) = frame::innermost(skb).or_else(|| frame::spare(skb)) {
        // SAFETY: this CPU's element.
        unsafe { (*frame).closed = 1 };
    }
}

#[inline(always)]
fn connection(event: &mut HookEvent, nfct: u64) {
    if conntrack::fill(nfct, &mut event.conn) {
        event.flags |= hook_flag::CONN;
    }
}

/// True if the record was written.
#[inline(always)]
fn finish(frame: *mut Frame) -> bool {
    // SAFETY: this CPU's element.
    let of = unsafe { &mut *frame };
    of.closed = 1;
    if of.tracking == tracking::PERHAPS {
        let (Some(cpu), Some(filter)) = (PATH_CPU.get_ptr_mut(0), FILTER.get(PATH_FILTER)) else {
            return false;
        };
        let is_ours = is_match(of, cpu, filter);
        remember(of, is_ours);
        if !is_ours {
            return false;
        }
    }
    write(of)
}

/// Completes the record and writes it: true if it could.
#[inline(always)]
fn write(of: &mut Frame) -> bool {
    // Freed inside one, or its exit was not seen: what it decided is not known.
    if of.nft.open != 0 {
        of.event.flags |= hook_flag::UNSEEN;
    }
    if of.is_bare == 0 {
        generation(of);
    }
    // SAFETY: the helper has no preconditions.
    of.event.cpu = unsafe { bpf_get_smp_processor_id() };
    send(&mut of.event)
}

/// Whether the ruleset is still the one that user space has read.
#[inline(always)]
fn generation(frame: &mut Frame) {
    let moved = frame.moved_tables;
    let event = &mut frame.event;
    let state = PATH_CPU
        .get_ptr_mut(0)
        .and_then(|cpu| nets::state_again(cpu, event.net));
    let Some(state) = state else {
        event.nft_seq = 0;
        return;
    };
    // Bridges and devices have lists of their own, which are not compared.
    let runs = if is_inet(event.pf) {
        state.runs.get(list_of(event.pf, event.hook))
    } else {
        None
    };
    event.nft_seq = match runs {
        // Its base chains would be functions of the hook.
        Some(runs) if runs.has_nft == 0 => state.nft_seq_value,
        _ => counters::nft_seq(state),
    };
    if event.generation != 0
        && (nets::generation_of(state) != event.generation || is_stale(event, state, runs, moved))
    {
        event.flags |= hook_flag::STALE;
    }
}

/// The list of functions that ran, the tables that it asks, and the generation of nf_tables: are they those that user
/// space has read? A table with a counter that `moved` is the one that was asked. The nat tables matter if they may have been.
#[inline(always)]
fn is_stale(event: &HookEvent, state: &NetState, runs: Option<&HookRuns>, moved: u32) -> bool {
    let asked = runs.map_or(u32::MAX, |runs| {
        let nat = if event.flags & hook_flag::NAT == 0 {
            0
        } else {
            runs.nat_tables
        };
        runs.tables | nat
    });
    let list = list_of(event.pf, event.hook);
    state.hooks.get(list).is_none_or(|read| *read != event.entries)
        || event.nft_seq != state.nft_seq_value
        || counters::has_other_tables(state, asked & !moved)
}

#[inline(always)]
fn send(event: &mut HookEvent) -> bool {
    let steps = bounded(&event.step_count, MAX_STEPS as u32) as usize;
    let len = HookEvent::LEN_FIXED + steps * size_of::<Step>();
    // SAFETY: the record lies in a map's element and is at least `len` long.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const PATHS).cast_mut().cast(),
            (&raw mut *event).cast(),
            len as u64,
            NO_WAKEUP,
        )
    };
    count(if sent == 0 {
        Count::HookSent
    } else {
        Count::HookLost
    });
    sent == 0
}
