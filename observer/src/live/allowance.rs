//! How much time may go into listing rules: a share of one processor, whatever happens to the rules. A program that replaces a large
//! ruleset every second would otherwise have it listed every second, and by the time it is listed it is another.

use std::time::Duration;

/// One part in so many of the time that passes.
const SHARE: u64 = 20;
/// What may be spent at once, if it was not spent before.
const MOST: Duration = Duration::from_secs(5);
/// As much, on rules that were listed before and have been replaced since.
const MOST_AGAIN: Duration = Duration::from_secs(1);

/// Time that may be spent.
#[derive(Debug)]
pub struct Allowance {
    /// What may be spent at once.
    most_ns: i64,
    /// Below zero after a listing that took longer than was left: how long it takes turns out in the end.
    left_ns: i64,
    /// When that was, by `CLOCK_MONOTONIC`.
    at_ns: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Allowance {
    /// For what has been listed before.
    pub fn again() -> Self {
        Self::of(MOST_AGAIN)
    }

    fn of(most: Duration) -> Self {
        let most_ns = i64::try_from(most.as_nanos()).unwrap_or(i64::MAX);
        Self {
            most_ns,
            left_ns: most_ns,
            at_ns: 0,
        }
    }

    /// Whether something may be listed now.
    pub fn has_left(&mut self, now_ns: u64) -> bool {
        let earned = now_ns.saturating_sub(self.at_ns) / SHARE;
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.left_ns = self.left_ns.saturating_add(earned).min(self.most_ns);
        self.at_ns = self.at_ns.max(now_ns);
        self.left_ns > 0
    }

    /// So much was spent.
    pub fn spend(&mut self, nanos: u64) {
        let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
        self.left_ns = self.left_ns.saturating_sub(nanos);
    }

    /// So much was spent, and the rules were others in the end: what was saved up is not for rules that change while they are listed.
    pub fn spend_in_vain(&mut self, nanos: u64) {
        self.left_ns = self.left_ns.min(0);
        self.spend(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// What a listing of this length, wanted all the time, takes of an hour.
    fn share(seconds: u64) -> f64 {
        let mut allowance = Allowance::default();
        let (mut now, mut spent) = (0, 0);
        while now < 3600 * SECOND {
            if allowance.has_left(now) {
                allowance.spend(seconds * SECOND);
                now += seconds * SECOND;
                spent += seconds;
            } else {
                now += SECOND / 10;
            }
        }
        spent as f64 / 3600.0
    }

    #[test]
    fn listing_all_the_time_takes_a_twentieth_however_long_one_takes() {
        for seconds in [1, 3, 40] {
            let share = share(seconds);
            assert!(share > 0.03 && share < 0.07, "{seconds}: {share}");
        }
    }

    #[test]
    fn rules_that_are_others_whenever_they_are_listed_take_no_more_from_the_beginning() {
        let mut allowance = Allowance::again();
        let (mut now, mut spent) = (100 * SECOND, 0);
        while now < 120 * SECOND {
            if allowance.has_left(now) {
                allowance.spend_in_vain(SECOND);
                now += SECOND;
                spent += 1;
            }
            now += SECOND / 10;
        }
        assert_eq!(spent, 1);
    }

    #[test]
    fn rules_that_seldom_change_are_listed_at_once() {
        let mut allowance = Allowance::default();
        for change in 0..1000 {
            assert!(allowance.has_left(change * 60 * SECOND), "{change}");
            allowance.spend(2 * SECOND);
        }
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_earns_nothing() {
        let mut allowance = Allowance::default();
        assert!(allowance.has_left(100 * SECOND));
        allowance.spend(10 * SECOND);
        assert!(!allowance.has_left(100 * SECOND) && !allowance.has_left(1));
        assert!(!allowance.has_left(100 * SECOND));
        assert!(allowance.has_left(201 * SECOND));
    }
}
