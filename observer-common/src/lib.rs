//! Plain data shared by the kernel programs and user space.
//!
//! Everything here is `#[repr(C)]`, has no padding that matters and no pointers to follow: kernel addresses
//! travel as `u64`. The sizes are asserted where they are part of the ring buffer's format.
#![no_std]

mod event;
mod filter;
mod flood;
mod offsets;
mod path;
mod reading;
mod ruleset;

pub use event::*;
pub use filter::*;
pub use flood::*;
pub use offsets::*;
pub use path::*;
pub use reading::*;
pub use ruleset::*;

/// Index into the per-CPU `COUNTS` map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Every call of the `kfree_skb` tracepoint.
    Seen = 0,
    /// Freed for a reason that is no loss (notes section 6), or not an IP packet.
    NotLoss = 1,
    /// A loss that the filter does not match.
    Filtered = 2,
    /// Written to the ring buffer.
    Sent = 3,
    /// Matched, but the ring buffer was full.
    Lost = 4,
    /// Written to the ring buffer only to keep the books of the rule counters straight; not a match.
    Bookkeeping = 5,
    /// A traversal of a hook, written to the ring buffer for paths.
    HookSent = 6,
    /// A traversal that found that ring buffer full.
    HookLost = 7,
    /// The end of a traversal whose beginning was not seen, or the other way round.
    Unmatched = 8,
    /// Nanoseconds that the programs on the way of packets ran, while they were measured.
    RunTime = 9,
    /// Matched, and only counted: a flood.
    Folded = 10,
    /// Nanoseconds that the program at `kfree_skb` ran, from a sixteenth of its runs.
    DropTime = 11,
    /// Stacks that were recognised, and not unwound.
    Recalled = 12,
    /// Stacks that were recognised and unwound all the same, and were not what was remembered.
    Misremembered = 13,
}

/// How many counters [`Count`] has.
pub const COUNTS: u32 = 14;

/// Whether all of `numbers` are multiples of `of`.
const fn are_multiples(numbers: &[usize], of: usize) -> bool {
    let mut index = 0;
    while index < numbers.len() {
        if !numbers[index].is_multiple_of(of) {
            return false;
        }
        index += 1;
    }
    true
}
