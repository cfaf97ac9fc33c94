//! Which rule counter moved on this CPU since the last look.
//!
//! A rule that matches adds to its counter before its verdict (net/ipv4/netfilter/ip_tables.c `ipt_do_table`,
//! net/netfilter/nft_counter.c, v6.1 … v6.18), so at the moment a packet is freed the counter of the rule that
//! dropped it has moved.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_common::{
    Baseline, DropEvent, GROUP_WORDS, Group, MAX_JUMPS, MAX_MOVED, MAX_TABLES, NO_TABLE, NetState, candidate,
    flag,
};

use crate::{
    behind::{self, Look},
    cast,
    maps::{BASELINES, GROUPS, READY, Scratch},
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
    /// Table of the first that moved.
    table: u32,
    pad: u32,
}

/// The comparison of one group.
#[repr(C)]
struct Pair {
    scratch: *mut Scratch,
    then: *mut Baseline,
    begins: u32,
    flags: u32,
    /// Of the next candidate.
    number: u32,
    moved: u32,
}

/// Packets and bytes.
const COUNTER_BYTES: u32 = 16;
/// So many words of a group are compared before there is a branch.
const AT_ONCE: usize = 4;
const _: () = assert!(GROUP_WORDS.is_multiple_of(2 * AT_ONCE));

/// Compares every candidate of the namespace with its baseline, remembers what moved, and takes the new baseline.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn counters_compare(scratch: *mut Scratch, cpu_offset: u64, net: u64) -> u32 {
    if scratch.is_null() {
        return Look::Own as u32;
    }
    compare(scratch, cpu_offset, net) as u32
}

#[inline(always)]
fn compare(scratch: *mut Scratch, cpu_offset: u64, net: u64) -> Look {
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*scratch).event };
    event.moved_count = 0;
    event.generation = 0;
    let Some(state) = nets::state(net) else {
        event.flags |= flag::UNREAD;
        return Look::Own;
    };
    if state.inode != event.netns_inode {
        event.flags |= flag::UNREAD;
        return Look::Own;
    }
    // 0: the ruleset's counters were freed. A CPU that never took a baseline has 0 in `READY`, too.
    let generation = generation_of(state);
    if generation == 0 {
        event.flags |= flag::NO_BASELINE;
        return Look::Own;
    }
    event.generation = generation;
    if READY.get(state.slot).is_none_or(|ready| *ready != generation) {
        event.flags |= flag::NO_BASELINE;
        behind::fall_again(state.slot);
        return Look::Own;
    }
    if is_stale(net, state) {
        event.flags |= flag::STALE;
    }
    let mut scan = Scan {
        scratch,
        cpu_offset,
        first: state.first,
        moved: 0,
        table: NO_TABLE,
        pad: 0,
    };
    // SAFETY: the callback has the signature that the helper wants, and `scan` outlives the call.
    unsafe {
        bpf_loop(
            state.count,
            compare_group as *mut c_void,
            (&raw mut scan).cast(),
            0,
        )
    };
    jumps(event, state, scan.table);
    // User space may have written another reading meanwhile: then nothing of this is worth anything.
    if generation_of(state) != generation {
        event.flags |= flag::NO_BASELINE;
        return Look::Own;
    }
    let look = behind::looked(state.slot, scan.moved);
    if look != Look::Own {
        event.flags |= flag::BEHIND;
        return look;
    }
    event.moved_count = scan.moved;
    event.flags |= flag::COMPARED;
    look
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

unsafe extern "C" fn compare_group(index: u32, scan: *mut c_void) -> i64 {
    // SAFETY: what `compare` passed.
    let scan = unsafe { &mut *scan.cast::<Scan>() };
    let index = scan.first + index;
    let (Some(group), Some(then)) = (GROUPS.get(index), BASELINES.get_ptr_mut(index)) else {
        return 1;
    };
    if cast::is_possible() && group.flags & candidate::ALONE == 0 && !moved(group, then, scan.cpu_offset) {
        return 0;
    }
    // SAFETY: this CPU's element.
    let now = unsafe { &raw mut (*scan.scratch).now };
    if !look(group, now, scan.cpu_offset) {
        return 0;
    }
    if !differ(now, then, group.flags & candidate::ALONE != 0) {
        return 0;
    }
    let mut pair = Pair {
        scratch: scan.scratch,
        then,
        begins: group.begins,
        flags: group.flags,
        number: group.number,
        moved: scan.moved,
    };
    // SAFETY: the callback has the signature that the helper wants, and `pair` outlives the call.
    unsafe {
        bpf_loop(
            GROUP_WORDS as u32,
            compare_one as *mut c_void,
            (&raw mut pair).cast(),
            0,
        )
    };
    if scan.moved == 0 && pair.moved != 0 {
        scan.table = group.table;
    }
    scan.moved = pair.moved;
    keep(then, now);
    0
}

/// Some words before there is a branch: nearly always nothing differs, and all at once would need more of the stack than there is.
#[inline(always)]
fn differ(now: *const Baseline, then: *const Baseline, is_alone: bool) -> bool {
    // SAFETY: this CPU's elements.
    let (now, then) = unsafe { (&(*now).words, &(*then).words) };
    if is_alone {
        return (now[0] ^ then[0]) | (now[1] ^ then[1]) != 0;
    }
    for first in (0..GROUP_WORDS).step_by(AT_ONCE) {
        let mut differs = 0;
        for word in first..first + AT_ONCE {
            differs |= now[word] ^ then[word];
        }
        if differs != 0 {
            return true;
        }
    }
    false
}

/// Word by word: the compiler would make a call of it.
#[inline(always)]
fn keep(then: *mut Baseline, now: *const Baseline) {
    for word in 0..GROUP_WORDS {
        // SAFETY: this CPU's elements.
        unsafe { (*then).words[word] = core::ptr::read_volatile(&raw const (*now).words[word]) };
    }
}

/// The index is a full register, so that the verifier knows its bound after the test.
unsafe extern "C" fn compare_one(word: u64, pair: *mut c_void) -> i64 {
    // SAFETY: what `compare_group` passed.
    let pair = unsafe { &mut *pair.cast::<Pair>() };
    // A counter that is alone has the first two.
    if word >= GROUP_WORDS as u64 - 1 {
        return 1;
    }
    if pair.begins >> word & 1 == 0 {
        return 0;
    }
    let number = pair.number;
    pair.number += 1;
    let word = word as usize;
    // SAFETY: this CPU's elements, indexes below the arrays' length.
    let since =
        |word: usize| unsafe { (*pair.scratch).now.words[word].wrapping_sub((*pair.then).words[word]) };
    let (mut packets, mut bytes) = (since(word), since(word + 1));
    if packets | bytes == 0 {
        return 0;
    }
    if pair.flags & candidate::BYTES_FIRST != 0 {
        core::mem::swap(&mut packets, &mut bytes);
    }
    let slot = pair.moved as usize;
    if slot < MAX_MOVED {
        // SAFETY: this CPU's element, index below the array's length.
        let moved = unsafe { &mut (*pair.scratch).event.moved[slot] };
        moved.candidate = number;
        moved.packets = if packets > u64::from(u32::MAX) {
            u32::MAX
        } else {
            packets as u32
        };
        moved.bytes = bytes;
    }
    pair.moved += 1;
    0
}

/// Where a group's words lie on this CPU.
#[inline(always)]
fn place(group: &Group, cpu_offset: u64) -> u64 {
    if group.flags & candidate::NOT_PER_CPU == 0 {
        group.address.wrapping_add(cpu_offset)
    } else {
        group.address
    }
}

/// Whether a counter of a group moved, without its being copied: a packet adds to both words of a counter, and of two that lie side by
/// side one has an even index.
#[inline(always)]
fn moved(group: &Group, then: *const Baseline, cpu_offset: u64) -> bool {
    let now = cast::words(place(group, cpu_offset));
    // SAFETY: this CPU's element.
    let then = unsafe { &(*then).words };
    for first in (0..GROUP_WORDS).step_by(2 * AT_ONCE) {
        let mut differs = 0;
        for word in (first..first + 2 * AT_ONCE).step_by(2) {
            // SAFETY: the verifier checks the access, and the kernel makes a load that faults read zero.
            differs |= unsafe { now.add(word).read_volatile() } ^ then[word];
        }
        if differs != 0 {
            return true;
        }
    }
    false
}

/// Reads a group's words on this CPU; false if they cannot be read. Of a counter that is alone the others are those of another group,
/// and mean nothing.
#[inline(always)]
fn look(group: &Group, now: *mut Baseline, cpu_offset: u64) -> bool {
    let address = place(group, cpu_offset);
    if group.flags & candidate::ALONE == 0 {
        // SAFETY: the length is the structure's.
        unsafe { read_bytes(now.cast(), size_of::<Baseline>() as u32, address) }
    } else {
        // SAFETY: two of its words.
        unsafe { read_bytes(now.cast(), COUNTER_BYTES, address) }
    }
}

/// Copies the jump stack of the table whose rule moved first.
#[inline(always)]
fn jumps(event: &mut DropEvent, state: &NetState, table: u32) {
    event.jumps = [0; MAX_JUMPS];
    if table >= MAX_TABLES as u32 {
        return;
    }
    let jumpstack = state.tables[table as usize].jumpstack;
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
    let ready = READY.get_ptr_mut(state.slot)?;
    behind::catches_up(state.slot);
    // Nothing is compared meanwhile: a drop that interrupts this would change what is being copied.
    // SAFETY: this CPU's element.
    unsafe { core::ptr::write_volatile(ready, 0) };
    let mut scan = Scan {
        scratch,
        cpu_offset,
        first: state.first,
        moved: 0,
        table: NO_TABLE,
        pad: 0,
    };
    // SAFETY: as in `compare`.
    unsafe { bpf_loop(state.count, take_one as *mut c_void, (&raw mut scan).cast(), 0) };
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(ready, state.generation) };
    Some(())
}

unsafe extern "C" fn take_one(index: u32, scan: *mut c_void) -> i64 {
    // SAFETY: what `take_baseline` passed.
    let scan = unsafe { &mut *scan.cast::<Scan>() };
    let index = scan.first + index;
    let (Some(group), Some(then)) = (GROUPS.get(index), BASELINES.get_ptr_mut(index)) else {
        return 1;
    };
    // SAFETY: this CPU's element.
    let now = unsafe { &raw mut (*scan.scratch).now };
    if look(group, now, scan.cpu_offset) {
        keep(then, now);
    }
    0
}
