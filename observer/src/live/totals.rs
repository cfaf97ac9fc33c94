//! Totals that reconcile: every drop that the kernel side saw is in exactly one of them.

use observer_common::{COUNTS, Count};

use crate::report::record::{Confidence, Summary};

/// What became of the records that reached this program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records taken, bookkeeping apart.
    pub taken: u64,
    exact: u64,
    inferred: u64,
    unknown: u64,
    /// Taken, but no loss after all.
    pub not_loss: u64,
}

impl Totals {
    /// A drop was told.
    pub fn told(&mut self, confidence: Confidence) {
        match confidence {
            Confidence::Exact => self.exact += 1,
            Confidence::Inferred => self.inferred += 1,
            Confidence::Unknown => self.unknown += 1,
        }
    }

    /// The summary, with the kernel side's counts; `missed`: how often its program could not run.
    pub fn summary(&self, counts: &[u64; COUNTS as usize], missed: u64, duration_ns: u64) -> Summary {
        let count = |which: Count| counts[which as usize];
        let filtered =
            count(Count::Filtered) + count(Count::Bookkeeping) + count(Count::NotLoss) + self.not_loss;
        let untaken = count(Count::Sent).saturating_sub(self.taken);
        let lost = count(Count::Lost) + untaken + missed;
        let told = self.exact + self.inferred + self.unknown;
        Summary {
            // What the kernel side saw, and what it could not look at.
            kernel_drops: (count(Count::Seen) + missed).max(told + filtered + lost),
            exact: self.exact,
            inferred: self.inferred,
            unknown: self.unknown,
            filtered,
            lost,
            not_loss: self.not_loss + count(Count::NotLoss),
            duration_ns,
            by_cause: Vec::new(),
        }
    }
}
