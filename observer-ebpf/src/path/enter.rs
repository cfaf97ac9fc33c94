//! A packet enters a hook.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use observer_common::{Count, EventKind, Filter, HookEvent, MAX_DEPTH, PATH_FILTER, hook_flag};

use super::classify::classify;
use super::frame::{self, Frame, Function, OURS_ONLY, PathCpu, Running, tracking};
use super::sight::Sight;
use super::snapshot::snapshot_compare;
use super::{glance, is_inet, list_of, nat, passing, snapshot};
use crate::look::Look;
use crate::maps::{FILTER, PATH_CPU, count};
use crate::memory::offset;
use crate::mode::mode;
use crate::nets;

/// A frame that is older was never left: no packet is in a hook for so long.
const OLD_NS: u64 = 1_000_000_000;

/// Opens a frame if the packet wants watching, or if another is being watched on this CPU. `sp`: the stack pointer
/// where a kprobe saw it, else 0.
#[inline(always)]
pub fn enter(skb: impl Look, state: impl Look, entries: u64, first: u32, sp: u64) -> Option<()> {
    if mode!(enabled) == 0 {
        return None;
    }
    let cpu = PATH_CPU.get_ptr_mut(0)?;
    let epoch = mode!(epoch);
    forget_before(cpu, epoch);
    let sight = Sight::of(skb, state, epoch, cpu);
    let depth = live_depth(cpu);
    if depth >= MAX_DEPTH {
        overflow();
        return None;
    }
    let mut set = glance::NOWHERE;
    // SAFETY: this CPU's element.
    if depth == 0 && unsafe { (*cpu).ours } < OURS_ONLY {
        if passing::is_known(&sight) {
            return None;
        }
        set = glance::take(&sight, cpu).unwrap_or(glance::NOWHERE);
        if let Some((place, conn)) = glance::find(set, cpu) {
            passing::begins(&sight, place, conn);
            return None;
        }
    }
    let filter = FILTER.get(PATH_FILTER)?;
    let frame = frame::at(depth)?;
    begin(frame, &sight, state, filter);
    let tracking = classify(skb, frame, cpu, filter);
    learn(cpu, tracking);
    if tracking == tracking::NONE && depth == 0 {
        match glance::remember(set, cpu) {
            Some(place) => passing::begins(&sight, place, 0),
            None => passing::was_seen(&sight),
        }
        return None;
    }
    // SAFETY: this CPU's element.
    unsafe {
        (*frame).state = state.address();
        (*frame).sp = sp;
        (*frame).tracking = tracking;
        // SAFETY: the helper has no preconditions.
        (*frame).event.time_ns = bpf_ktime_get_ns();
        (*frame).event.entries = entries;
        (*frame).event.first = if first > 255 { 255 } else { first as u8 };
        if first != 0 {
            (*frame).event.flags |= hook_flag::RESUMED;
        }
    }
    // What the outer packet matched so far, before this one's counters move.
    if depth > 0 {
        pause(depth - 1);
    }
    if tracking != tracking::NONE {
        open(frame, cpu, depth, skb, state, filter);
    }
    // SAFETY: this CPU's element; in this order, so that an interrupt sees no half-made frame as its own.
    unsafe { core::ptr::write_volatile(&raw mut (*frame).skb, sight.address) };
    frame::set_depth(depth + 1);
    Some(())
}

/// Counts packets that the filter matches.
#[inline(always)]
fn learn(cpu: *mut PathCpu, tracking: u32) {
    // SAFETY: this CPU's element.
    let ours = unsafe { &mut (*cpu).ours };
    if tracking == tracking::NONE {
        *ours = 0;
    } else if *ours < OURS_ONLY {
        *ours += 1;
    }
}

/// The parts of the record that classifying needs.
#[inline(always)]
fn begin<S: Look>(frame: *mut Frame, sight: &Sight<S>, state: impl Look, filter: &Filter) {
    // SAFETY: this CPU's element.
    let frame = unsafe { &mut *frame };
    frame.skb = 0;
    frame.closed = 0;
    frame.has_snapshot = 0;
    frame.run_count = 0;
    frame.moved_tables = 0;
    frame.nft = Running::default();
    frame.function = Function::default();
    let event = &mut frame.event;
    event.kind = EventKind::Hook as u32;
    event.flags = 0;
    event.skb = sight.address;
    event.net = sight.net;
    event.netns_inode = state.follow(sight.net).load(offset!(net_inum));
    event.nfct = sight.nfct;
    event.hook = sight.hook;
    event.pf = sight.pf;
    event.matched = 0;
    event.pad = 0;
    event.step_count = 0;
    event.generation = 0;
    event.nft_seq = 0;
    event.in_ifindex = 0;
    event.out_ifindex = 0;
    if filter.iface_count != 0 {
        devices(event, state);
    } else {
        put(&mut event.in_name, [0; 2]);
        put(&mut event.out_name, [0; 2]);
    }
}

/// Fills the names and indexes of the hook's devices.
#[inline(always)]
pub fn devices<S: Look>(event: &mut HookEvent, state: S) {
    let from: u64 = state.load(offset!(state_in));
    let to: u64 = state.load(offset!(state_out));
    event.in_ifindex = device(state, from, &mut event.in_name);
    event.out_ifindex = device(state, to, &mut event.out_name);
}

/// Fills a device's name and returns its index; without one, with zeroes.
#[inline(always)]
fn device<S: Look>(state: S, address: u64, name: &mut [u8; 16]) -> u32 {
    let (words, index) = if address == 0 {
        ([0; 2], 0)
    } else {
        let device = state.follow(address);
        (device.load(offset!(dev_name)), device.load(offset!(dev_ifindex)))
    };
    put(name, words);
    index
}

/// Writes a name, word by word.
#[inline(always)]
fn put(name: &mut [u8; 16], words: [u64; 2]) {
    // SAFETY: as long as the array, which begins at a multiple of eight bytes (asserted where it is shared, `ALIGNED`).
    unsafe { name.as_mut_ptr().cast::<[u64; 2]>().write(words) };
}

/// The rest of the record, and the copy of the counters.
#[inline(always)]
fn open(frame: *mut Frame, cpu: *mut PathCpu, depth: u32, skb: impl Look, state: impl Look, filter: &Filter) {
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*frame).event };
    event.mark_before = skb.load(offset!(skb_mark));
    event.mark_after = event.mark_before;
    if filter.iface_count == 0 {
        devices(event, state);
    }
    event.flags |= super::trace::watched(filter);
    choose_runs(frame, cpu, depth);
}

/// Chooses the counters to copy: those of the hook's tables, and of nat if it will be asked.
#[inline(always)]
fn choose_runs(frame: *mut Frame, cpu: *mut PathCpu, depth: u32) {
    // SAFETY: this CPU's element.
    let frame = unsafe { &mut *frame };
    let event = &mut frame.event;
    frame.has_nat = 0;
    frame.is_bare = 0;
    let Some(state) = nets::state_again(cpu, event.net) else {
        return;
    };
    if state.inode != event.netns_inode || !is_inet(event.pf) || event.hook > 4 {
        return;
    }
    // It is looked at again in the end.
    event.generation = nets::generation_of(state);
    let Some(runs) = state.runs.get(list_of(event.pf, event.hook)) else {
        return;
    };
    event.flags |= hook_flag::COUNTERS;
    if runs.tables | runs.nat_tables | runs.has_nft == 0 {
        frame.is_bare = 1;
        event.nft_seq = state.nft_seq_value;
        // The list that runs is settled by now.
        if state
            .hooks
            .get(list_of(event.pf, event.hook))
            .is_none_or(|read| *read != event.entries)
        {
            event.flags |= hook_flag::STALE;
        }
    }
    if runs.cut != 0 {
        event.flags |= hook_flag::UNSEEN;
    }
    frame.first_run = runs.first;
    frame.run_count = runs.count;
    frame.has_nat = u32::from(runs.nat_count != 0);
    if runs.nat_count == 0 || nat::may_be_asked(frame) {
        frame.event.flags |= hook_flag::NAT;
        frame.run_count += runs.nat_count;
    }
    snapshot::take(frame, depth);
}

/// Another packet's traversal begins within this frame's.
#[inline(always)]
fn pause(depth: u32) {
    let Some(frame) = frame::at(depth) else { return };
    snapshot_compare(frame, depth);
}

/// What this CPU remembers from before the probes were put on anew is void.
#[inline(always)]
fn forget_before(cpu: *mut PathCpu, epoch: u32) {
    // SAFETY: this CPU's element.
    unsafe {
        if (*cpu).epoch != epoch {
            (*cpu).epoch = epoch;
            frame::set_depth(0);
        }
    }
}

/// How many frames are open, when those that were never left are forgotten: no packet is in a hook for so long.
#[inline(always)]
fn live_depth(cpu: *mut PathCpu) -> u32 {
    let depth = frame::depth_of(cpu);
    if depth == 0 || depth > MAX_DEPTH {
        return depth;
    }
    let Some(innermost) = frame::at(depth - 1) else {
        return depth;
    };
    // SAFETY: this CPU's element; the helper has no preconditions.
    let age = unsafe { bpf_ktime_get_ns().wrapping_sub((*innermost).event.time_ns) };
    if age <= OLD_NS {
        return depth;
    }
    count(Count::Unmatched);
    frame::set_depth(0);
    0
}

/// Deeper than any real nesting: what the frames around it count cannot be told apart any more.
#[inline(always)]
fn overflow() {
    count(Count::Unmatched);
    let Some(frame) = frame::at(MAX_DEPTH - 1) else {
        return;
    };
    // SAFETY: this CPU's element.
    unsafe { (*frame).event.flags |= hook_flag::MIXED };
}
