//! Counters that moved and were not this packet's: they belong to a traversal that this one interrupted, whose own
//! drop comes next on that CPU.

use std::collections::HashMap;

use super::culprit::Move;

/// What is left over on each CPU.
#[derive(Default)]
pub struct Pending {
    left: HashMap<u32, Left>,
}

struct Left {
    /// The netfilter drop that left it over.
    sequence: u64,
    generation: u32,
    moves: Vec<Move>,
}

impl Pending {
    /// Takes what the drop just before `sequence` on this CPU left over. Anything older belongs to nobody any more:
    /// other drops came between that we know nothing of.
    pub fn take(&mut self, cpu: u32, sequence: u64, generation: u32) -> Vec<Move> {
        match self.left.remove(&cpu) {
            Some(left) if left.sequence + 1 == sequence && left.generation == generation => left.moves,
            _ => Vec::new(),
        }
    }

    /// Leaves counters over for the next drop on this CPU.
    pub fn leave(&mut self, cpu: u32, sequence: u64, generation: u32, moves: Vec<Move>) {
        if !moves.is_empty() {
            self.left.insert(
                cpu,
                Left {
                    sequence,
                    generation,
                    moves,
                },
            );
        }
    }
}
