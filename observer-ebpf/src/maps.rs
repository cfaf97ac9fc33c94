//! Every map of the programs, in one place.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use observer_common::{
    Allowance, Baseline, BytesEvent, CHUNK_BYTES, COUNTS, Count, DropEvent, FOLDS, Filter, Fold, Group,
    MAX_DEPTH, MAX_ORDERS, MAX_REASONS, MAX_SLOTS, NetState, NftOffsets, Order, Run, WINDOW_BYTES,
};

use crate::cost::{Began, MEASURED};
use crate::filter::{VIEWS, View};
use crate::flood::Looks;
use crate::path::{FlowKey, Frame, Passing, PathCpu, Set};
use crate::remembered::Stacks;
use crate::stack::Frames;

/// `BPF_F_MMAPABLE`, include/uapi/linux/bpf.h
const MMAPABLE: u32 = 1 << 10;
/// Records for user space. Its size is set at start.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// How many bytes of each packet that is reported a capture takes; 0: there is none. Set before the programs are loaded.
#[unsafe(no_mangle)]
pub static SNAPLEN: u32 = 0;

/// Where they are copied, by CPU. With a capture it has an element for each.
#[map]
pub static BYTES: Array<BytesEvent> = Array::with_max_entries(1, 0);

/// What to choose, and where netfilter's functions lie: of what dies, and of what passes hooks.
#[map]
pub static FILTER: Array<Filter> = Array::with_max_entries(2, 0);

/// Records of hooks that were passed. Its size is set at start.
#[map]
pub static PATHS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// What this CPU is watching.
#[map]
pub static PATH_CPU: PerCpuArray<PathCpu> = PerCpuArray::with_max_entries(1, 0);

/// The frames that are open on this CPU, and one for hooks without frames.
#[map]
pub static FRAMES: PerCpuArray<Frame> = PerCpuArray::with_max_entries(MAX_DEPTH + 1, 0);

/// Counters to compare while a packet is in a hook. Its size is set at start.
#[map]
pub static RUNS: Array<Run> = Array::with_max_entries(1, 0);

/// Copies of them. Its size is set at start.
#[map]
pub static CHUNKS: PerCpuArray<[u8; CHUNK_BYTES as usize]> = PerCpuArray::with_max_entries(1, 0);

/// How many elements of [`CHUNKS`] each depth has. Set before the programs are loaded.
#[unsafe(no_mangle)]
pub static CHUNKS_A_DEPTH: u32 = 0;

/// Packets that had no connection yet, and whether the filter matched in the end: see `path::classify`.
#[map]
pub static FLOWS: LruHashMap<FlowKey, u64> = LruHashMap::with_max_entries(16_384, 0);

/// How many connections [`CONNS`] remembers, a power of two.
pub const CONNS_LEN: u32 = 16_384;

/// Connections that the nat table has been asked about, where their tuples lead: see `path::nat`.
#[map]
pub static CONNS: Array<u64> = Array::with_max_entries(CONNS_LEN, 0);

/// How many pairs of flows [`GLANCES`] remembers, a power of two.
pub const GLANCE_SETS: u32 = 1024;

/// Flows that the filter was found not to match.
#[map]
pub static GLANCES: PerCpuArray<Set> = PerCpuArray::with_max_entries(GLANCE_SETS, 0);

/// How many packets [`PASSING`] remembers, a power of two: more than a device hands over at once.
pub const PASSING_LEN: u32 = 256;

/// Packets on their way that the filter was found not to match.
#[map]
pub static PASSING: PerCpuArray<Passing> = PerCpuArray::with_max_entries(PASSING_LEN, 0);

/// When each of the programs on the way of packets began to run, while they are measured.
#[map]
pub static BEGAN: PerCpuArray<Began> = PerCpuArray::with_max_entries(MEASURED, 0);

/// Where nf_tables' structures have their fields, once the module is there.
#[map]
pub static NFT: Array<NftOffsets> = Array::with_max_entries(1, 0);

/// 1 for each reason of the core's `enum skb_drop_reason` that is no loss.
#[map]
pub static NOT_LOSS: Array<u8> = Array::with_max_entries(MAX_REASONS, 0);

/// Totals, by [`Count`].
#[map]
static COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTS, 0);

/// The slot of each namespace, by the address of its `struct net`.
#[map]
pub static SLOTS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_SLOTS, 0);

/// What user space has read of each namespace, by its slot: see `nets`.
#[map]
pub static NETS: Array<NetState> = Array::with_max_entries(MAX_SLOTS, 0);

/// Whether a namespace's slot has a baseline on this CPU: the generation it was taken for.
#[map]
pub static READY: PerCpuArray<u32> = PerCpuArray::with_max_entries(MAX_SLOTS, 0);

/// Of each namespace's slot, on this CPU: whether the counters were looked at for each drop. See `behind`.
#[map]
pub static BEHIND: PerCpuArray<u64> = PerCpuArray::with_max_entries(MAX_SLOTS, 0);

/// What the programs may still do.
#[map]
pub static ALLOWANCE: Array<Allowance> = Array::with_max_entries(1, 0);

/// What was spent on drops outside the filter.
#[map]
pub static LOOKS: Array<Looks> = Array::with_max_entries(1, 0);

/// Drops that are only counted, by flow: see `flood`.
#[map]
pub static FOLDED: PerCpuArray<Fold> = PerCpuArray::with_max_entries(2 * FOLDS, 0);

/// The counters to look at. Its size is set at start.
#[map]
pub static GROUPS: Array<Group> = Array::with_max_entries(1, 0);

/// The last look at each of them. Its size is that of [`GROUPS`].
#[map]
pub static BASELINES: PerCpuArray<Baseline> = PerCpuArray::with_max_entries(1, 0);

/// Per-CPU allocations that known rulesets hold, and the namespace that holds them. Its size is set at start.
#[map]
pub static BLOCKS: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// Where `peek`, `gather` and `follow` put what they read.
#[map]
pub static PEEK: Array<[u8; WINDOW_BYTES as usize]> = Array::with_max_entries(1, MMAPABLE);

/// What `gather` is to read.
#[map]
pub static ORDERS: Array<Order> = Array::with_max_entries(MAX_ORDERS, MMAPABLE);

/// What this CPU is working on.
#[repr(C)]
pub struct Scratch {
    /// This CPU's per-CPU offset; 0: not known yet. See `cpu`.
    pub cpu_offset: u64,
    /// Two pointers on their way to becoming numbers. See `cpu`.
    pub pointers: [u64; 2],
    /// How many netfilter drops this CPU has seen.
    pub sequence: u64,
    /// How often the program at `kfree_skb` ran.
    pub runs: u64,
    /// When this CPU last said that a ruleset changes.
    pub said_ns: u64,
    /// When this CPU last woke user space for a drop.
    pub woke_ns: u64,
    /// What the frames of the stack are.
    pub frames: Frames,
    /// A group of counters as they are now.
    pub now: Baseline,
    /// Ways to see the packet that the filter tests.
    pub views: [View; VIEWS],
    /// The record in the making.
    pub event: DropEvent,
}

/// `BPF_RB_NO_WAKEUP`: user space looks from time to time, and when it is woken.
pub const NO_WAKEUP: u64 = 1;

/// One element a CPU.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The stacks that this CPU has met.
#[map]
pub static STACKS: PerCpuArray<Stacks> = PerCpuArray::with_max_entries(1, 0);

/// Adds one to a total.
pub fn count(which: Count) {
    add(which, 1);
}

/// Adds to a total.
#[inline(always)]
pub fn add(which: Count, more: u64) {
    if let Some(total) = COUNT.get_ptr_mut(which as u32) {
        // SAFETY: the element of this CPU, and the program is not entered twice on one CPU.
        unsafe { *total += more };
    }
}
