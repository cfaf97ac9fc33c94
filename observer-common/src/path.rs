//! What the kernel programs write of a packet that passes a hook.

use crate::Conn;

/// How many steps of one traversal are kept.
pub const MAX_STEPS: usize = 64;
/// Bytes of the packet from its network header on, as it entered the hook.
pub const BEFORE_BYTES: usize = 128;
/// Bytes of it as it left the hook, and of the headers around it in a tunnel.
pub const AFTER_BYTES: usize = 64;
/// Counters that one run holds at most: one page.
pub const RUN_SLOTS: u32 = 256;
/// Bytes of one counter.
pub const SLOT_BYTES: u32 = 16;
/// Bytes of one element of the memory for snapshots.
pub const CHUNK_BYTES: u32 = 32 * 1024;
/// How many traversals may be open on one CPU, one within the other.
pub const MAX_DEPTH: u32 = 6;
/// How many of them can have a snapshot of counters.
pub const SNAPSHOT_DEPTH: u32 = 3;

/// Facts about a [`HookEvent`], as bits of its `flags`.
pub mod hook_flag {
    /// `conn` is filled, with the packet's connection as it left.
    pub const CONN: u32 = 1;
    /// The counters of the hook's tables were compared.
    pub const COUNTERS: u32 = 1 << 1;
    /// The counters of its nat table, too.
    pub const NAT: u32 = 1 << 2;
    /// The ruleset is not the one that user space has read.
    pub const STALE: u32 = 1 << 3;
    /// Another traversal ran on this CPU and the steps cannot be told apart, or the packet changed its CPU.
    pub const MIXED: u32 = 1 << 4;
    /// There were more steps than fit.
    pub const CUT: u32 = 1 << 5;
    /// The packet was freed within the hook.
    pub const FREED: u32 = 1 << 6;
    /// `before` is the packet within a tunnel, `outer` what is around it.
    pub const TUNNEL: u32 = 1 << 7;
    /// `after` is filled.
    pub const AFTER: u32 = 1 << 8;
    /// Some counters could not be read, or there was no room for them.
    pub const UNSEEN: u32 = 1 << 9;
    /// nf_tables' trace hook was watched throughout.
    pub const TRACED: u32 = 1 << 10;
    /// Only the trace hook saw it: no entry, no exit (a bridge's PREROUTING).
    pub const FRAMELESS: u32 = 1 << 11;
    /// It was in this hook already: a later part of its functions (`i > 0`).
    pub const RESUMED: u32 = 1 << 12;
    /// Instead of the trace hook, the functions that write nf_tables' verdicts were watched throughout.
    pub const VERDICTS: u32 = 1 << 13;
}

/// Kinds of a [`Step`].
pub mod step {
    /// A counter moved: `value` its slot, `words` packets and bytes.
    pub const COUNTER: u32 = 0;
    /// nf_tables: a base chain's policy decided.
    pub const POLICY: u32 = 1;
    /// nf_tables: the end of a chain, or a rule that returns.
    pub const RETURN: u32 = 2;
    /// nf_tables: a rule matched.
    pub const RULE: u32 = 3;
    /// A function of the hook that asks no rules did not let the packet pass: `value` what it returned, `words[0]` an
    /// address at its beginning.
    pub const FUNCTION: u32 = 4;
    /// nf_tables, without the trace hook: an expression wrote a verdict. `words`: the expression, the base chain, the
    /// chain to go to.
    pub const VERDICT: u32 = 5;
    /// nf_tables, without the trace hook: `nft_do_chain` was entered. `words[1]`: the base chain.
    pub const BEGIN: u32 = 6;
    /// nf_tables, without the trace hook: `nft_do_chain` was left. `value`: what it returned; `words[1]`: the base chain.
    pub const END: u32 = 7;
}

/// Something that a packet met in a hook.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// A constant of [`step`].
    pub kind: u32,
    /// For a counter its slot; for nf_tables the verdict's code, as `i32`.
    pub value: u32,
    /// For nf_tables: the rule's handle, the base chain's address, the address of the chain to go to.
    pub words: [u64; 3],
}

/// One traversal of one hook. In the ring buffer it is cut behind its last step.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HookEvent {
    /// [`crate::EventKind::Hook`].
    pub kind: u32,
    /// The CPU that it left on.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC`, when it entered.
    pub time_ns: u64,
    /// Address of the `sk_buff`.
    pub skb: u64,
    /// Address of its `struct net`.
    pub net: u64,
    /// `skb->_nfct` as it entered.
    pub nfct: u64,
    /// Address of the `struct nf_hook_entries` that ran.
    pub entries: u64,
    /// `net->ns.inum`
    pub netns_inode: u32,
    /// Generation of what user space has read of this namespace, 0 if nothing.
    pub generation: u32,
    /// Bits of [`hook_flag`].
    pub flags: u32,
    /// What `nf_hook_slow` returned: 1 accepted, 0 queued or stolen, less than 0 dropped.
    pub returned: i32,
    /// `state->hook`
    pub hook: u8,
    /// `state->pf`, `NFPROTO_*`
    pub pf: u8,
    /// A [`crate::Matched`].
    pub matched: u8,
    /// Index of the first function that ran, saturating.
    pub first: u8,
    /// `skb->protocol`, network byte order.
    pub protocol: u16,
    /// Zero.
    pub pad: u16,
    /// `state->in->ifindex`, 0 if none.
    pub in_ifindex: u32,
    /// `state->out->ifindex`, 0 if none.
    pub out_ifindex: u32,
    /// `state->in->name`
    pub in_name: [u8; 16],
    /// `state->out->name`
    pub out_name: [u8; 16],
    /// `skb->mark` as it entered.
    pub mark_before: u32,
    /// `skb->mark` as it left.
    pub mark_after: u32,
    /// nf_tables' generation as it left, 0 if not known.
    pub nft_seq: u32,
    /// Length from the network header on, in bytes, as it entered.
    pub len_bytes: u32,
    /// Used length of `before`.
    pub before_bytes: u32,
    /// Used length of `steps`.
    pub step_count: u32,
    /// The connection as it left.
    pub conn: Conn,
    /// The packet as it entered.
    pub before: [u8; BEFORE_BYTES],
    /// The packet as it left, with [`hook_flag::AFTER`]; the headers around it, with [`hook_flag::TUNNEL`]: never both.
    pub other: [u8; AFTER_BYTES],
    /// What it met.
    pub steps: [Step; MAX_STEPS],
}

impl HookEvent {
    /// Length of the record without steps.
    pub const LEN_FIXED: usize = core::mem::offset_of!(HookEvent, steps);
}

/// Counters that lie side by side: read at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Per-CPU pointer (or plain address) of the first.
    pub address: u64,
    /// Number of the first slot; the others follow.
    pub first_slot: u32,
    /// How many counters, at most [`RUN_SLOTS`].
    pub slots: u32,
    /// In which element of the snapshot memory it is kept.
    pub chunk: u32,
    /// Where in it, in bytes.
    pub offset: u32,
    /// Bits of [`crate::candidate`].
    pub flags: u32,
    /// The table that all of them are of, by its place in [`crate::NetState::tables`]; [`crate::NO_TABLE`] for nf_tables.
    pub table: u32,
}

/// The runs of one hook of one namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookRuns {
    /// Index of the first run.
    pub first: u32,
    /// How many runs the tables but nat have.
    pub count: u32,
    /// How many the nat table has; they follow.
    pub nat_count: u32,
    /// 1 if not all counters found room.
    pub cut: u32,
    /// Which of the namespace's x_tables tables are asked there, by their place in [`crate::NetState::tables`].
    pub tables: u32,
    /// Which of them are nat tables.
    pub nat_tables: u32,
    /// 1 if nf_tables has base chains there.
    pub has_nft: u32,
}

const _: () = assert!(size_of::<Step>() == 32);
const _: () = assert!(size_of::<Run>() == 32);
/// Arrays of bytes that are read and written in words.
const ALIGNED: [usize; 4] = [
    core::mem::offset_of!(HookEvent, in_name),
    core::mem::offset_of!(HookEvent, out_name),
    core::mem::offset_of!(HookEvent, before),
    core::mem::offset_of!(HookEvent, other),
];
const _: () = assert!(crate::are_multiples(&ALIGNED, 8));
const _: () = assert!(HookEvent::LEN_FIXED.is_multiple_of(8));
const _: () = assert!(size_of::<HookEvent>() == HookEvent::LEN_FIXED + 32 * MAX_STEPS);

#[cfg(feature = "user")]
// SAFETY: plain integers, no padding.
unsafe impl aya::Pod for Run {}
