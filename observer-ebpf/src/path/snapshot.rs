//! The counters of a hook's tables: copied when a packet enters, compared when it leaves. What moved in between is
//! what it matched: nothing else runs in netfilter on this CPU meanwhile but what is a frame of its own.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_common::{
    CHUNK_BYTES, HookEvent, MAX_TABLES, RUN_SLOTS, Run, SLOT_BYTES, SNAPSHOT_DEPTH, Step, candidate,
    hook_flag, step,
};

use super::frame::{self, Frame, PathCpu};
use crate::cpu;
use crate::maps::{CHUNKS, CHUNKS_A_DEPTH, PATH_CPU, RUNS, SCRATCH};
use crate::memory::{bounded, preset, read_bytes};

/// Longest run, in bytes.
const RUN_BYTES: u32 = RUN_SLOTS * SLOT_BYTES;
/// Counters that one turn of the inner loop compares.
const GROUP: u64 = 8;

/// What the callbacks of `bpf_loop` share.
#[repr(C)]
struct Work {
    frame: *mut Frame,
    event: *mut HookEvent,
    cpu: *mut PathCpu,
    cpu_offset: u64,
    first: u32,
    depth: u32,
    failed: u32,
    pad: u32,
}

/// The comparison of one run.
#[repr(C)]
struct Pair {
    frame: *mut Frame,
    event: *mut HookEvent,
    now: *const u64,
    then: *mut u64,
    slots: u32,
    first_slot: u32,
    /// The bit of the run's table; 0 if it is not of x_tables.
    table: u64,
}

/// Copies the frame's runs.
#[inline(always)]
pub fn take(frame: *mut Frame, depth: u32) {
    // SAFETY: this CPU's element.
    unsafe { (*frame).has_snapshot = 0 };
    if run(frame, depth, copy_one as *mut c_void) {
        // SAFETY: as above.
        unsafe { (*frame).has_snapshot = 1 };
    }
}

/// [`take`], by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn snapshot_take(frame: *mut Frame, depth: u32) -> u32 {
    if !frame.is_null() {
        take(frame, depth);
    }
    0
}

/// Adds to the frame's steps what moved since the copy. The copy is then out of date.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn snapshot_compare(frame: *mut Frame, depth: u32) -> u32 {
    if frame.is_null() {
        return 0;
    }
    // SAFETY: this CPU's element.
    if unsafe { (*frame).has_snapshot } != 0 {
        run(frame, depth, compare_one as *mut c_void);
        // SAFETY: as above.
        unsafe { (*frame).has_snapshot = 0 };
    }
    0
}

#[inline(always)]
fn run(frame: *mut Frame, depth: u32, each: *mut c_void) -> bool {
    // SAFETY: this CPU's element.
    let (first, count, event) = unsafe { ((*frame).first_run, (*frame).run_count, &raw mut (*frame).event) };
    if count == 0 {
        return true;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return false;
    };
    let Some(cpu_offset) = cpu::offset_of_this_cpu(scratch) else {
        return false;
    };
    let Some(cpu) = PATH_CPU.get_ptr_mut(0) else {
        return false;
    };
    if depth >= SNAPSHOT_DEPTH {
        return false;
    }
    let mut work = Work {
        frame,
        event,
        cpu,
        cpu_offset,
        first,
        depth,
        failed: 0,
        pad: 0,
    };
    // SAFETY: the callback has the signature that the helper wants, and `work` outlives the call.
    unsafe { bpf_loop(count, each, (&raw mut work).cast(), 0) };
    if work.failed != 0 {
        // SAFETY: this CPU's element.
        unsafe { (*event).flags |= hook_flag::UNSEEN };
    }
    work.failed == 0
}

/// Where a run's counters are on this CPU.
#[inline(always)]
fn address(run: &Run, cpu_offset: u64) -> u64 {
    if run.flags & candidate::NOT_PER_CPU == 0 {
        run.address.wrapping_add(cpu_offset)
    } else {
        run.address
    }
}

/// Where the copy of a run lies.
#[inline(always)]
fn kept(run: &Run, depth: u32) -> Option<*mut u8> {
    let chunk = CHUNKS.get_ptr_mut(depth * chunks_a_depth() + run.chunk)?;
    let at = bounded(&run.offset, CHUNK_BYTES - RUN_BYTES);
    // SAFETY: `at` leaves room for the longest run in the element.
    Some(unsafe { chunk.cast::<u8>().add(at as usize) })
}

#[inline(always)]
fn chunks_a_depth() -> u32 {
    preset(&raw const CHUNKS_A_DEPTH)
}

unsafe extern "C" fn copy_one(index: u64, work: *mut c_void) -> i64 {
    // SAFETY: what `run` passed.
    let work = unsafe { &mut *work.cast::<Work>() };
    let Some(run) = RUNS.get(work.first + index as u32) else {
        work.failed = 1;
        return 1;
    };
    let Some(to) = kept(run, work.depth) else {
        work.failed = 1;
        return 1;
    };
    let len = bounded(&run.slots, RUN_SLOTS) * SLOT_BYTES;
    // SAFETY: the element has room for the longest run behind `to`.
    if !unsafe { read_bytes(to, len, address(run, work.cpu_offset)) } {
        work.failed = 1;
        return 1;
    }
    0
}

unsafe extern "C" fn compare_one(index: u64, work: *mut c_void) -> i64 {
    // SAFETY: what `run` passed.
    let work = unsafe { &mut *work.cast::<Work>() };
    let Some(run) = RUNS.get(work.first + index as u32) else {
        work.failed = 1;
        return 1;
    };
    let Some(then) = kept(run, work.depth) else {
        work.failed = 1;
        return 1;
    };
    // SAFETY: this CPU's element.
    let now = unsafe { (&raw mut (*work.cpu).now).cast::<u64>() };
    let slots = bounded(&run.slots, RUN_SLOTS);
    // SAFETY: `now` has room for the longest run.
    if !unsafe { read_bytes(now.cast(), slots * SLOT_BYTES, address(run, work.cpu_offset)) } {
        work.failed = 1;
        return 1;
    }
    let mut pair = Pair {
        frame: work.frame,
        event: work.event,
        now,
        then: then.cast(),
        slots,
        first_slot: run.first_slot,
        table: if run.table < MAX_TABLES as u32 {
            1 << run.table
        } else {
            0
        },
    };
    let groups = slots.div_ceil(GROUP as u32);
    // SAFETY: the callback has the signature that the helper wants, and `pair` outlives the call.
    unsafe { bpf_loop(groups, compare_group as *mut c_void, (&raw mut pair).cast(), 0) };
    0
}

/// The index is a full register, so that the verifier knows its bound after the test.
unsafe extern "C" fn compare_group(group: u64, pair: *mut c_void) -> i64 {
    // SAFETY: what `compare_one` passed.
    let pair = unsafe { &mut *pair.cast::<Pair>() };
    if group >= u64::from(RUN_SLOTS) / GROUP {
        return 1;
    }
    let at = (group * GROUP * 2) as usize;
    let mut differs = 0;
    // SAFETY: `at` and what follows lie within the longest run, for which both have room.
    let (now, then) = unsafe { (pair.now.add(at), pair.then.add(at)) };
    // Packets or bytes, whichever comes first: a rule that matches adds to both.
    for slot in 0..GROUP as usize {
        // SAFETY: as above.
        unsafe { differs |= now.add(2 * slot).read() ^ then.add(2 * slot).read() };
    }
    if differs == 0 {
        return 0;
    }
    for slot in 0..GROUP as usize {
        let number = (group * GROUP) as u32 + slot as u32;
        if number >= pair.slots {
            break;
        }
        // SAFETY: as above.
        let since = |word: usize| unsafe { now.add(word).read().wrapping_sub(then.add(word).read()) };
        let first = since(2 * slot);
        if first == 0 {
            continue;
        }
        // SAFETY: this CPU's element.
        unsafe { (*pair.frame).moved_tables |= pair.table as u32 };
        frame::push(
            pair.event,
            Step {
                kind: step::COUNTER,
                value: pair.first_slot + number,
                words: [first, since(2 * slot + 1), 0],
            },
        );
    }
    0
}
