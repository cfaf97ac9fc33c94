//! What may be spent on looking things up in a second of drops: time, or rules that are asked.

use std::ops::{Add, Sub};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// So much in each second, by the clock of the drops.
#[derive(Debug)]
pub struct PerSecond<T> {
    most: T,
    spent: T,
    second: u64,
}

impl<T: Copy + Default + PartialOrd + Add<Output = T> + Sub<Output = T>> PerSecond<T> {
    /// A budget of which nothing is spent.
    pub fn new(most: T) -> Self {
        Self {
            most,
            spent: T::default(),
            second: 0,
        }
    }

    /// What is left for a drop at `time_ns`. A drop of an earlier second, which a slower processor tells of, begins no new one.
    pub fn left(&mut self, time_ns: u64) -> T {
        let second = time_ns / NANOS_PER_SECOND;
        if second > self.second {
            (self.second, self.spent) = (second, T::default());
        }
        if self.spent < self.most {
            self.most - self.spent
        } else {
            T::default()
        }
    }

    /// Whether anything is left.
    pub fn has_left(&mut self, time_ns: u64) -> bool {
        self.left(time_ns) > T::default()
    }

    /// Takes what a look-up cost, which may be more than was left: how much it is turns out in the end.
    pub fn spend(&mut self, amount: T) {
        // More than is left is all of it: sums stay within their type.
        self.spent = if self.spent < self.most && amount < self.most - self.spent {
            self.spent + amount
        } else {
            self.most
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_spent_is_gone_until_the_next_second() {
        let mut budget = PerSecond::new(100_usize);
        assert_eq!(budget.left(5), 100);
        budget.spend(30);
        assert_eq!(budget.left(NANOS_PER_SECOND - 1), 70);
        budget.spend(90);
        assert_eq!((budget.left(6), budget.has_left(6)), (0, false));
        assert_eq!(budget.left(NANOS_PER_SECOND), 100, "a new second");
    }

    #[test]
    fn a_drop_that_is_told_late_gives_nothing_back() {
        let mut budget = PerSecond::new(Duration::from_millis(20));
        assert!(budget.has_left(3 * NANOS_PER_SECOND));
        budget.spend(Duration::from_millis(25));
        for time_ns in [2 * NANOS_PER_SECOND, 3 * NANOS_PER_SECOND, 0] {
            assert!(!budget.has_left(time_ns), "{time_ns}");
        }
        assert!(budget.has_left(4 * NANOS_PER_SECOND));
    }

    #[test]
    fn whatever_is_spent_sums_stay_within_their_type() {
        let mut budget = PerSecond::new(usize::MAX - 1);
        budget.spend(5);
        let mut rules = PerSecond::new(10_usize);
        for _ in 0..3 {
            rules.spend(usize::MAX);
        }
        assert_eq!((rules.left(0), budget.left(0)), (0, usize::MAX - 6));
        let mut time = PerSecond::new(Duration::from_millis(1));
        time.spend(Duration::MAX);
        time.spend(Duration::MAX);
        assert!(!time.has_left(0));
    }

    #[test]
    fn a_budget_of_nothing_is_spent() {
        assert!(!PerSecond::new(0_usize).has_left(0));
    }
}
