//! What user space tells the kernel programs of the rulesets in force.

use crate::HookRuns;

/// How many x_tables tables of one namespace are watched: five for each of IPv4 and IPv6.
pub const MAX_TABLES: usize = 10;
/// How many hook lists a namespace has for IPv4 and IPv6 together.
pub const MAX_HOOKS: usize = 10;
/// How many namespaces have baselines at once.
pub const MAX_SLOTS: u32 = 4096;

/// A table of x_tables: where it is and what was last read of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegacyTable {
    /// Address of the pointer `xt_table.private`; 0: unused.
    pub private_at: u64,
    /// Its `private` when user space read it.
    pub private: u64,
    /// `private->jumpstack`.
    pub jumpstack: u64,
}

/// What is known of one network namespace, in its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetState {
    /// Address of its `struct net`; 0: the slot is free.
    pub net: u64,
    /// `net->ns.inum`: another namespace at the same address has another.
    pub inode: u32,
    /// Counts the readings; 0 while user space writes the rest, and once the ruleset's counters were freed.
    pub generation: u32,
    /// The slot: its element of the maps `NETS` and `READY`.
    pub slot: u32,
    /// First of its groups of counters.
    pub first: u32,
    /// How many groups it has.
    pub count: u32,
    /// Value at `nft_seq` when user space read it.
    pub nft_seq_value: u32,
    /// Address of the nf_tables generation counter, 0 if unknown.
    pub nft_seq: u64,
    /// `net->nf.hooks_ipv4[0..5]` and `hooks_ipv6[0..5]`.
    pub hooks: [u64; MAX_HOOKS],
    /// Its x_tables tables.
    pub tables: [LegacyTable; MAX_TABLES],
    /// What to compare while a packet is in a hook, in the order of `hooks`.
    pub runs: [HookRuns; MAX_HOOKS],
}

/// How many words of memory are looked at in one go: room for 16 counters that lie side by side.
pub const GROUP_WORDS: usize = 32;

/// Counters of rules and policies that can end a packet (candidates), near to each other in memory: those of one table of
/// x_tables, or of nf_tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Per-CPU pointer of its [`GROUP_WORDS`] words, a multiple of their length: so none of them lies in another page. Of a
    /// group that is [`candidate::ALONE`]: where the two `u64` of its only counter are.
    pub address: u64,
    /// A bit for each word with which a candidate begins.
    pub begins: u32,
    /// Number of its first candidate among the namespace's. The others follow in the order of the words.
    pub number: u32,
    /// Index of their table in [`NetState::tables`]; [`NO_TABLE`] for nf_tables.
    pub table: u32,
    /// Bits of [`candidate`].
    pub flags: u32,
}

/// No x_tables table.
pub const NO_TABLE: u32 = u32::MAX;

/// Bits of [`Group::flags`] and [`crate::Run::flags`].
pub mod candidate {
    /// Bytes come first, then packets (nf_tables); otherwise the other way round (x_tables).
    pub const BYTES_FIRST: u32 = 1;
    /// The address is a plain one, the same on every CPU.
    pub const NOT_PER_CPU: u32 = 1 << 1;
    /// One counter, of which nothing is known of what lies beside it.
    pub const ALONE: u32 = 1 << 2;
}

/// The last look at a group on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// As they lie in memory.
    pub words: [u64; GROUP_WORDS],
}

#[cfg(feature = "user")]
// SAFETY: plain integers, no padding.
unsafe impl aya::Pod for NetState {}
#[cfg(feature = "user")]
// SAFETY: plain integers, no padding.
unsafe impl aya::Pod for Group {}
#[cfg(feature = "user")]
// SAFETY: plain integers, no padding.
unsafe impl aya::Pod for Baseline {}
