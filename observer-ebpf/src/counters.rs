//! Which rule counter moved on this CPU since the last look.
//!
//! A rule that matches adds to its counter before its verdict (net/ipv4/netfilter/ip_tables.c `ipt_do_table`,
//! net/netfilter/nft_counter.c, v6.1 … v6.18), so at the moment a packet is freed the counter of the rule that
//! dropped it has moved.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_common::{
    Baseline, DropEvent, MAX_JUMPS, MAX_MOVED, MAX_TABLES, NO_TABLE, NetState, candidate, flag,
};

use crate::{
    cast,
    maps::{BASELINES, CANDIDATES, READY, Scratch},
    memory::{as_number, field, offset, read, read_bytes},
    nets::{self, generation_of},
};

/// What the callbacks of `bpf_loop` share.
#[repr(C)]
struct Scan {
    scratch: *mut Scratch,
    cpu_offset: u64,
    first: u32,
    moved: u32,
}

/// Compares every candidate of the namespace with its baseline, remembers what moved, and takes the new baseline.
#[inline(always)]
pub fn compare(scratch: *mut Scratch, cpu_offset: u64, net: u64) {
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*scratch).event };
    event.moved_count = 0;
    event.generation = 0;
    let Some(state) = nets::state(net) else {
        event.flags |= flag::UNREAD;
        return;
    };
    if state.inode != event.netns_inode {
        event.flags |= flag::UNREAD;
        return;
    }
    // 0: the ruleset's counters were freed. A CPU that never took a baseline has 0 in `READY`, too.
    let generation = generation_of(state);
    if generation == 0 {
        event.flags |= flag::NO_BASELINE;
        return;
    }
    event.generation = generation;
    if READY.get(state.slot).is_none_or(|ready| *ready != generation) {
        event.flags |= flag::NO_BASELINE;
        return;
    }
    if is_stale(net, state) {
        event.flags |= flag::STALE;
    }
    let mut scan = Scan {
        scratch,
        cpu_offset,
        first: state.first,
        moved: 0,
    };
    // SAFETY: the callback has the signature that the helper wants, and `scan` outlives the call.
    unsafe { bpf_loop(state.count, compare_one as *mut c_void, (&raw mut scan).cast(), 0) };
    jumps(event, state, scan.moved);
    // User space may have written another reading meanwhile: then nothing of this is worth anything.
    if generation_of(state) != generation {
        event.flags |= flag::NO_BASELINE;
        return;
    }
    event.moved_count = scan.moved;
    event.flags |= flag::COMPARED;
}

/// Is what user space has read still in force? Hook lists, tables and the nf_tables generation are compared: all of them before
/// there is a branch, for the verifier would follow each.
#[inline(always)]
pub fn is_stale(net: u64, state: &NetState) -> bool {
    let mut differs = 0;
    if let Some(hooks) = field::<[u64; 10]>(net, offset!(net_hooks)) {
        for (now, read) in hooks.iter().zip(&state.hooks) {
            differs |= now ^ read;
        }
    }
    (as_number(differs) != 0) | has_other_tables(state, u32::MAX) | (nft_seq(state) != state.nft_seq_value)
}

/// Does a table of x_tables have other rules than those that were read? `which`: a bit for each that matters.
#[inline(always)]
pub fn has_other_tables(state: &NetState, which: u32) -> bool {
    if which == 0 {
        return false;
    }
    let mut differs = 0;
    for (place, table) in state.tables.iter().enumerate() {
        if which >> place == 0 {
            break;
        }
        if which >> place & 1 != 0 && table.private_at != 0 {
            // What cannot be read is zero, which no table's is.
            differs |= cast::load::<u64>(table.private_at) ^ table.private;
        }
    }
    as_number(differs) != 0
}

/// nf_tables' generation as it is now; 0 if it is not known where it lies.
#[inline(always)]
pub fn nft_seq(state: &NetState) -> u32 {
    if state.nft_seq == 0 {
        return 0;
    }
    cast::load(state.nft_seq)
}

unsafe extern "C" fn compare_one(index: u32, scan: *mut c_void) -> i64 {
    // SAFETY: what `compare` passed.
    let scan = unsafe { &mut *scan.cast::<Scan>() };
    let index = scan.first + index;
    let Some(now) = look(index, scan.cpu_offset) else {
        return 0;
    };
    let Some(last) = BASELINES.get_ptr_mut(index) else {
        return 1;
    };
    // SAFETY: this CPU's element.
    let before = unsafe { *last };
    if before.words == now.words {
        return 0;
    }
    // SAFETY: this CPU's element.
    unsafe { *last = now };
    let Some(candidate) = CANDIDATES.get(index) else {
        return 1;
    };
    let [mut packets, mut bytes] = [
        now.words[0].wrapping_sub(before.words[0]),
        now.words[1].wrapping_sub(before.words[1]),
    ];
    if candidate.flags & candidate::BYTES_FIRST != 0 {
        core::mem::swap(&mut packets, &mut bytes);
    }
    let slot = scan.moved as usize;
    if slot < MAX_MOVED {
        // SAFETY: this CPU's element, index below the array's length.
        let moved = unsafe { &mut (*scan.scratch).event.moved[slot] };
        moved.candidate = index;
        moved.packets = if packets > u64::from(u32::MAX) {
            u32::MAX
        } else {
            packets as u32
        };
        moved.bytes = bytes;
    }
    scan.moved += 1;
    0
}

/// Reads a candidate's counter on this CPU.
#[inline(always)]
fn look(index: u32, cpu_offset: u64) -> Option<Baseline> {
    let candidate = CANDIDATES.get(index)?;
    let mut address = candidate.counter;
    if candidate.flags & candidate::NOT_PER_CPU == 0 {
        address = address.wrapping_add(cpu_offset);
    }
    read(address)
}

/// Copies the jump stack of the table whose rule moved first.
#[inline(always)]
fn jumps(event: &mut DropEvent, state: &NetState, moved: u32) {
    event.jumps = [0; MAX_JUMPS];
    if moved == 0 {
        return;
    }
    let Some(candidate) = CANDIDATES.get(event.moved[0].candidate) else {
        return;
    };
    if candidate.table == NO_TABLE || candidate.table >= MAX_TABLES as u32 {
        return;
    }
    let jumpstack = state.tables[candidate.table as usize].jumpstack;
    if jumpstack == 0 {
        return;
    }
    // `jumpstack[cpu]`, struct xt_table_info, include/linux/netfilter/x_tables.h
    let Some(mine) = read::<u64>(jumpstack + 8 * u64::from(event.cpu)) else {
        return;
    };
    if mine != 0 {
        // SAFETY: the length is the array's.
        unsafe { read_bytes(event.jumps.as_mut_ptr().cast(), (8 * MAX_JUMPS) as u32, mine) };
    }
}

/// Takes the baseline of a namespace on this CPU, from nothing.
#[inline(always)]
pub fn take_baseline(scratch: *mut Scratch, cpu_offset: u64, net: u64) -> Option<()> {
    let state = nets::state(net)?;
    let mut scan = Scan {
        scratch,
        cpu_offset,
        first: state.first,
        moved: 0,
    };
    // SAFETY: as in `compare`.
    unsafe { bpf_loop(state.count, take_one as *mut c_void, (&raw mut scan).cast(), 0) };
    let ready = READY.get_ptr_mut(state.slot)?;
    // SAFETY: this CPU's element.
    unsafe { *ready = state.generation };
    Some(())
}

unsafe extern "C" fn take_one(index: u32, scan: *mut c_void) -> i64 {
    // SAFETY: what `take_baseline` passed.
    let scan = unsafe { &mut *scan.cast::<Scan>() };
    let index = scan.first + index;
    let Some(now) = look(index, scan.cpu_offset) else {
        return 0;
    };
    let Some(last) = BASELINES.get_ptr_mut(index) else {
        return 1;
    };
    // SAFETY: this CPU's element.
    unsafe { *last = now };
    0
}
