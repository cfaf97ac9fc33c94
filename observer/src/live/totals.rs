//! Totals that reconcile: every drop that the kernel side saw is in exactly one of them.

use observer_common::{COUNTS, Count};

use crate::report::record::{Confidence, DropInfo, Summary};

/// What became of the records that reached this program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    exact: u64,
    inferred: u64,
    unknown: u64,
    /// A replay came to something else than the kernel did.
    disagreements: u64,
    /// Taken, but not what the expression asks for.
    pub not_asked: u64,
    /// Taken, but no loss after all.
    pub not_loss: u64,
}

impl Totals {
    /// A drop was told.
    pub fn told(&mut self, drop: &DropInfo) {
        self.disagreements += u64::from(drop.disagreement.is_some());
        match drop.confidence {
            Confidence::Exact => self.exact += 1,
            Confidence::Inferred => self.inferred += 1,
            Confidence::Unknown => self.unknown += 1,
        }
    }

    /// The summary, with the kernel side's counts; `missed`: how often its program could not run.
    ///
    /// What the kernel side saw and nobody told or set aside is lost: in a full ring buffer, on the way, or unseen.
    pub fn summary(&self, counts: &[u64; COUNTS as usize], missed: u64, duration_ns: u64) -> Summary {
        let count = |which: Count| counts[which as usize];
        let no_loss = self.not_loss + count(Count::NotLoss);
        let filtered = count(Count::Filtered) + count(Count::Bookkeeping) + self.not_asked + no_loss;
        let accounted = self.exact + self.inferred + self.unknown + filtered;
        let kernel_drops = (count(Count::Seen) + missed).max(accounted);
        Summary {
            kernel_drops,
            exact: self.exact,
            inferred: self.inferred,
            unknown: self.unknown,
            filtered,
            lost: kernel_drops - accounted,
            not_loss: no_loss,
            folded: (count(Count::Folded) > 0).then_some(count(Count::Folded)),
            counted: None,
            disagreements: (self.disagreements > 0).then_some(self.disagreements),
            duration_ns,
            by_cause: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::Disagreement;

    #[test]
    fn what_the_kernel_saw_is_told_set_aside_or_lost() {
        let mut totals = Totals {
            not_asked: 1,
            not_loss: 2,
            ..Totals::default()
        };
        totals.told(&DropInfo {
            confidence: Confidence::Exact,
            disagreement: Some(Disagreement::default()),
            ..DropInfo::default()
        });
        totals.told(&DropInfo::default());
        // Seen, no loss, filtered, sent, lost, bookkeeping: 3 of the 5 sent never arrived or were no loss.
        let summary = totals.summary(&[23, 4, 7, 5, 3, 1, 0, 0, 0, 0, 3, 0, 0, 0], 2, 9);
        assert!(summary.reconciles());
        assert_eq!(
            (summary.kernel_drops, summary.filtered, summary.not_loss),
            (25, 15, 6)
        );
        assert_eq!(summary.disagreements, Some(1));
        assert_eq!(
            (summary.lost, summary.folded),
            (8, Some(3)),
            "three in the ring buffer, three of a flood, two that were missed, one that was sent and never taken"
        );
    }
}
