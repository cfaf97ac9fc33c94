//! How often the counters are read: as often as is of use, and no oftener than the budget allows.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Never more often.
pub(super) const SHORTEST: Duration = Duration::from_millis(250);
/// However long a reading takes.
const LONGEST: Duration = Duration::from_secs(60);
/// What all of it may take of one CPU.
pub(super) const PERCENT: u32 = 10;
/// A reading takes at most one part in so many of one CPU; the rest of the tenth is for looking for namespaces.
const SHARE: u32 = 12;

/// What readings cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    cost: Duration,
    /// What was said of it last.
    told: Duration,
}

impl Pace {
    /// A reading took so much CPU time. The dearest of late counts: it sinks by an eighth with each that is cheaper.
    pub(super) fn took(&mut self, cost: Duration) {
        self.cost = cost.max(self.cost - self.cost / 8);
    }

    /// From the beginning of one reading to the next.
    pub(super) fn interval(&self) -> Duration {
        (self.cost * SHARE).clamp(SHORTEST, LONGEST)
    }

    /// The interval in words, and how it is said first.
    pub(super) fn begin(&mut self) -> Duration {
        self.told = self.interval();
        self.told
    }

    /// The interval, if it has become another since it was said: twice as long, or half.
    pub(super) fn news(&mut self) -> Option<Duration> {
        let now = self.interval();
        if now < self.told * 2 && self.told < now * 2 {
            return None;
        }
        self.told = now;
        Some(now)
    }
}

/// CPU time of this process and of the tools that it has run.
pub(super) fn spent() -> Duration {
    let of = |who| {
        let usage = getrusage(who).ok()?;
        let micros = |time: nix::sys::time::TimeVal| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            seconds * 1_000_000 + u64::try_from(time.tv_usec()).unwrap_or(0)
        };
        Some(Duration::from_micros(
            micros(usage.user_time()) + micros(usage.system_time()),
        ))
    };
    let all = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    all.into_iter().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn cheap_readings_come_four_times_a_second_and_dear_ones_take_a_twelfth() {
        let mut pace = Pace::default();
        assert_eq!(pace.begin(), SHORTEST);
        pace.took(millis(3));
        assert_eq!(pace.interval(), millis(250));
        pace.took(millis(120));
        assert_eq!(pace.interval(), millis(1440));
        pace.took(millis(100_000));
        assert_eq!(pace.interval(), LONGEST);
    }

    #[test]
    fn the_interval_sinks_slowly_and_is_said_when_it_has_changed_much() {
        let mut pace = Pace::default();
        pace.begin();
        pace.took(millis(40));
        assert_eq!(pace.news(), None, "480 ms is not twice 250 ms");
        pace.took(millis(80));
        assert_eq!(pace.news(), Some(millis(960)));
        pace.took(millis(8));
        assert_eq!(pace.interval(), millis(840));
        assert_eq!(pace.news(), None);
        for _ in 0..5 {
            pace.took(millis(8));
        }
        assert!(pace.news().is_some_and(|now| now <= millis(480)));
    }

    #[test]
    fn time_that_is_spent_is_seen() {
        let before = spent();
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < millis(30) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(spent() > before);
    }
}
