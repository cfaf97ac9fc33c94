//! The frames of one CPU.

use observer_common::{ConnTuple, HookEvent, MAX_DEPTH, MAX_STEPS, Step, hook_flag};

use super::glance::Room;
use super::nat::TupleKey;
use crate::filter::{VIEWS, View};
use crate::maps::{FRAMES, PATH_CPU};

/// Bytes that a run is compared in.
const NOW_WORDS: usize = 512;

/// What a CPU remembers of its packets' ways.
#[repr(C)]
pub struct PathCpu {
    /// How many frames are open.
    pub depth: u32,
    /// The epoch of the filter that this was under.
    pub epoch: u32,
    /// How many of the last packets the filter matched, without one between that it did not; up to [`OURS_ONLY`].
    pub ours: u32,
    /// The slot of `net`.
    pub slot: u32,
    /// Address of the packet that enters.
    pub address: u64,
    /// The namespace that was looked up last, as the address of its `struct net`.
    pub net: u64,
    /// What is seen of it at first glance.
    pub room: Room,
    /// Ways to see the packet that the filter tests.
    pub views: [View; VIEWS],
    /// A run of counters as it is now.
    pub now: [u64; NOW_WORDS],
}

/// After so many packets that the filter matched, the next is not looked for among those that it does not.
pub const OURS_ONLY: u32 = 16;

/// How sure it is that the filter matches.
pub mod tracking {
    /// It does not; the frame is there so that the one around it knows of it.
    pub const NONE: u32 = 0;
    /// It will be seen when conntrack and NAT have done their part.
    pub const PERHAPS: u32 = 1;
    /// It does.
    pub const YES: u32 = 2;
}

/// Addresses and ports of a packet that has no connection yet.
#[repr(C)]
pub struct FlowKey {
    /// IPv4 as `::ffff:a.b.c.d`.
    pub src: [u64; 2],
    /// IPv4 as `::ffff:a.b.c.d`.
    pub dst: [u64; 2],
    /// Network byte order.
    pub src_port: u16,
    /// Network byte order.
    pub dst_port: u16,
    /// `IPPROTO_*`
    pub proto: u32,
    /// `net->ns.inum`
    pub inode: u32,
    /// Zero.
    pub pad: u32,
}

/// What of nf_tables runs in a frame, where the verdicts' writers are watched. A function's exit has no arguments: it is
/// the exit of the call whose stack pointer it has.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Running {
    /// Stack pointer at the entry of `nft_do_chain`, 0 while it does not run.
    pub chain_sp: u64,
    /// Address of the base chain.
    pub base: u64,
    /// Stack pointer at the entry of the last writer.
    pub writer_sp: u64,
    /// Its expression.
    pub expr: u64,
    /// Address of its `struct nft_regs`.
    pub regs: u64,
    /// How many writers were entered and not left.
    pub open: u64,
}

/// A function of the hook that runs in a frame, where it is watched.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Function {
    /// Stack pointer at its entry, 0 while none runs.
    pub sp: u64,
    /// An address at its beginning.
    pub at: u64,
}

/// A traversal of a hook that is not over.
#[repr(C)]
pub struct Frame {
    /// Address of the `sk_buff`; written last.
    pub skb: u64,
    /// Address of the `struct nf_hook_state`.
    pub state: u64,
    /// Stack pointer at the function's entry, where a kprobe saw it.
    pub sp: u64,
    /// A constant of [`tracking`].
    pub tracking: u32,
    /// 1: its record has been written.
    pub closed: u32,
    /// First of the runs that were copied.
    pub first_run: u32,
    /// How many.
    pub run_count: u32,
    /// 1 if they were.
    pub has_snapshot: u32,
    /// 1 if `flow` is filled.
    pub has_flow: u32,
    /// Tables of x_tables with a counter that moved, by their place: those are the ones that user space has read.
    pub moved_tables: u32,
    /// Zero.
    pub pad: u32,
    /// What of nf_tables is running for the packet.
    pub nft: Running,
    /// Which of the hook's functions that are watched is running.
    pub function: Function,
    /// 1 if the nat table has counters.
    pub has_nat: u32,
    /// 1 if the hook asks no rules: whether user space knows its list was seen at the entry.
    pub is_bare: u32,
    /// The connection that the nat table was asked about before.
    pub nat_conn: u64,
    /// What the nat table is asked about.
    pub nat_key: TupleKey,
    /// The tuple that was found for it.
    pub nat_tuple: ConnTuple,
    /// What to remember of this packet when it is known whether the filter matches.
    pub flow: FlowKey,
    /// The record in the making.
    pub event: HookEvent,
}

/// How many frames are open on this CPU.
#[inline(always)]
pub fn depth() -> u32 {
    PATH_CPU.get_ptr_mut(0).map_or(0, depth_of)
}

/// As [`depth`], of this CPU's element.
#[inline(always)]
pub fn depth_of(cpu: *mut PathCpu) -> u32 {
    // SAFETY: this CPU's element; volatile, since an interrupt's programs change it between programs.
    unsafe { core::ptr::read_volatile(&raw const (*cpu).depth) }
}

/// Sets how many frames are open on this CPU.
#[inline(always)]
pub fn set_depth(depth: u32) {
    if let Some(cpu) = PATH_CPU.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*cpu).depth, depth) };
    }
}

/// The frame that lies so deep.
#[inline(always)]
pub fn at(depth: u32) -> Option<*mut Frame> {
    FRAMES.get_ptr_mut(depth)
}

/// The innermost frame, if it is this packet's and its record is still to be written.
#[inline(always)]
pub fn innermost(skb: u64) -> Option<*mut Frame> {
    let depth = depth();
    if depth == 0 || depth > MAX_DEPTH {
        return None;
    }
    let frame = at(depth - 1)?;
    // SAFETY: this CPU's element.
    let (of, closed, tracking) = unsafe { ((*frame).skb, (*frame).closed, (*frame).tracking) };
    (of == skb && closed == 0 && tracking != tracking::NONE).then_some(frame)
}

/// A packet that has something to say is not the innermost frame's: if it is an outer one's, two tasks take turns on this
/// CPU, and what that packet does meanwhile is missing from its record.
#[inline(always)]
pub fn mark_outer(skb: u64) {
    let depth = depth();
    for below in 0..MAX_DEPTH - 1 {
        if below + 1 >= depth {
            return;
        }
        let Some(frame) = at(below) else { return };
        // SAFETY: this CPU's element.
        unsafe {
            if (*frame).skb == skb && (*frame).closed == 0 {
                (*frame).event.flags |= hook_flag::MIXED;
            }
        }
    }
}

/// The frame of a hook that has none of its own, if it is this packet's.
#[inline(always)]
pub fn spare(skb: u64) -> Option<*mut Frame> {
    let frame = at(MAX_DEPTH)?;
    // SAFETY: this CPU's element.
    unsafe { (*frame).skb == skb && (*frame).closed == 0 }.then_some(frame)
}

/// Adds a step.
#[inline(always)]
pub fn push(event: *mut HookEvent, step: Step) {
    // SAFETY: this CPU's element; the index is tested, and read anew so that the verifier sees the test.
    unsafe {
        let index = core::ptr::read_volatile(&raw const (*event).step_count);
        if index >= MAX_STEPS as u32 {
            (*event).flags |= hook_flag::CUT;
            return;
        }
        (*event).steps[index as usize] = step;
        (*event).step_count = index + 1;
    }
}
