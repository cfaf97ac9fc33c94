//! How much of a processor the eBPF programs take, and when that is too much.
//!
//! The programs on the way of live packets measure themselves when they are asked to, which costs each run two readings of the
//! clock: so they are asked for a short window of every second. What the kernel spends on getting to a program (a
//! breakpoint, a trampoline) is not in it.

use std::time::{Duration, Instant};

/// How long a window lasts.
pub const WINDOW: Duration = Duration::from_millis(100);
/// From the start of one window to the start of the next.
pub const PERIOD: Duration = Duration::from_secs(1);
/// How many windows are remembered, …
const REMEMBERED: usize = 4;
/// … and how many of them must be over the limit: one burst is none of anybody's business, three seconds are.
const TOO_MANY: usize = 3;

/// Run time of all programs on all CPUs, in thousandths of one CPU's time; a busy machine with several CPUs may show
/// more than 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permille(pub u32);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Have the programs measure themselves, then give a reading at once: the window begins with it.
    StartWindow,
    /// Stop measuring; the programs had this share.
    EndWindow(Permille),
    /// Stop measuring; the programs had this share, and more than they may for seconds. Said again only when it stays so
    /// for as long once more.
    Over(Permille),
}

/// Decides when to measure and whether it is too much. Knows no clock and makes no system calls.
#[derive(Debug)]
pub struct Budget {
    limit: Option<u32>,
    state: State,
    /// Whether each of the last windows was over, the newest in the lowest bit.
    over: u8,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing is measured until then; `None`: from the first reading on.
    Resting { until: Option<Instant> },
    /// The window was asked for and has not begun.
    Starting,
    /// The window's first reading.
    Measuring { since: Instant, run_time_ns: u64 },
}

impl Budget {
    /// A limit in thousandths of one CPU; `u32::MAX` is none, and nothing is measured then.
    pub fn new(permille: u32) -> Self {
        Self {
            limit: (permille != u32::MAX).then_some(permille),
            state: State::Resting { until: None },
            over: 0,
        }
    }

    /// When the next reading is wanted, at the latest; `None`: never, or (before the first) at any time.
    pub fn due(&self) -> Option<Instant> {
        self.limit?;
        match self.state {
            State::Resting { until } => until,
            State::Starting => None,
            State::Measuring { since, .. } => Some(since + WINDOW),
        }
    }

    /// Takes a reading: the run time of all watched programs since they were loaded. A reading that comes before it is
    /// due changes nothing; one that comes late makes the window longer.
    pub fn read(&mut self, now: Instant, run_time_ns: u64) -> Option<Action> {
        let limit = self.limit?;
        match self.state {
            State::Resting { until } if until.is_some_and(|until| now < until) => None,
            State::Resting { .. } => {
                self.state = State::Starting;
                Some(Action::StartWindow)
            }
            State::Starting => {
                self.state = State::Measuring {
                    since: now,
                    run_time_ns,
                };
                None
            }
            State::Measuring { since, .. } if now < since + WINDOW => None,
            State::Measuring {
                since,
                run_time_ns: before,
            } => {
                self.state = State::Resting {
                    until: Some(since + PERIOD),
                };
                let share = share(run_time_ns.saturating_sub(before), now - since);
                Some(self.judge(share, limit))
            }
        }
    }

    /// Forgets what was measured: other programs are watched now. The caller stops measuring.
    pub fn restart(&mut self, now: Instant) {
        self.over = 0;
        self.state = State::Resting {
            until: Some(now + PERIOD),
        };
    }

    fn judge(&mut self, share: Permille, limit: u32) -> Action {
        const ALL: u8 = (1 << REMEMBERED) - 1;
        self.over = (self.over << 1 | u8::from(share.0 > limit)) & ALL;
        if (self.over.count_ones() as usize) < TOO_MANY {
            return Action::EndWindow(share);
        }
        self.over = 0;
        Action::Over(share)
    }
}

fn share(run_time_ns: u64, window: Duration) -> Permille {
    let share = u128::from(run_time_ns) * 1000 / window.as_nanos().max(1);
    Permille(u32::try_from(share).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Lets the programs have these shares, one a window, and says what was decided on each.
    fn decisions(limit: u32, shares: &[u32]) -> Vec<Action> {
        let mut budget = Budget::new(limit);
        let mut now = Instant::now();
        let mut run_time_ns = 77;
        let mut decided = Vec::new();
        for share in shares {
            assert_eq!(budget.read(now, run_time_ns), Some(Action::StartWindow));
            assert_eq!(budget.read(now, run_time_ns), None);
            // 100 ms: one thousandth is 100 µs.
            run_time_ns += u64::from(*share) * 100_000;
            decided.extend(budget.read(now + WINDOW, run_time_ns));
            now += PERIOD;
        }
        decided
    }

    fn ended(share: u32) -> Action {
        Action::EndWindow(Permille(share))
    }

    fn over(share: u32) -> Action {
        Action::Over(Permille(share))
    }

    #[test]
    fn a_sustained_overload_is_over_in_the_third_window() {
        assert_eq!(decisions(20, &[50, 50, 50]), [ended(50), ended(50), over(50)]);
    }

    #[test]
    fn one_burst_or_two_are_not() {
        assert_eq!(
            decisions(20, &[900, 1, 1, 900, 1, 1, 900]),
            [900, 1, 1, 900, 1, 1, 900].map(ended)
        );
        assert_eq!(
            decisions(20, &[900, 900, 1, 1, 900]),
            [900, 900, 1, 1, 900].map(ended)
        );
    }

    #[test]
    fn three_of_four_are_even_with_a_rest_between() {
        assert_eq!(
            decisions(20, &[30, 30, 5, 30]),
            [ended(30), ended(30), ended(5), over(30)]
        );
    }

    #[test]
    fn the_limit_itself_is_within_the_limit() {
        assert_eq!(decisions(20, &[20; 5]), [ended(20); 5]);
        assert_eq!(decisions(20, &[21; 3])[2], over(21));
    }

    #[test]
    fn it_is_said_again_only_after_three_more_windows() {
        let decided = decisions(20, &[30; 6]);
        assert_eq!(decided[2], over(30));
        assert_eq!(decided[3..], [ended(30), ended(30), over(30)]);
    }

    #[test]
    fn several_processors_add_up() {
        assert_eq!(decisions(u32::MAX - 1, &[3500]), [ended(3500)]);
    }

    #[test]
    fn no_limit_measures_nothing() {
        let mut budget = Budget::new(u32::MAX);
        let now = Instant::now();
        for second in 0..10 {
            assert_eq!(budget.read(now + PERIOD * second, u64::MAX), None);
        }
        assert_eq!(budget.due(), None);
    }

    #[test]
    fn readings_before_they_are_due_change_nothing() {
        let mut budget = Budget::new(20);
        let now = Instant::now();
        assert_eq!(budget.read(now, 0), Some(Action::StartWindow));
        assert_eq!(budget.read(now + MS, 1000), None, "the window begins here");
        assert_eq!(budget.due(), Some(now + MS + WINDOW));
        assert_eq!(budget.read(now + WINDOW, 50_000_000), None);
        assert_eq!(
            budget.read(now + MS + WINDOW, 10_001_000),
            Some(ended(100)),
            "against the first reading, not the one between"
        );
        assert_eq!(budget.due(), Some(now + MS + PERIOD));
        assert_eq!(budget.read(now + PERIOD, 0), None);
        assert_eq!(budget.read(now + MS + PERIOD, 0), Some(Action::StartWindow));
    }

    #[test]
    fn a_late_reading_is_held_against_the_time_that_passed() {
        let mut budget = Budget::new(20);
        let now = Instant::now();
        budget.read(now, 0);
        budget.read(now, 0);
        assert_eq!(budget.read(now + 500 * MS, 10_000_000), Some(ended(20)));
    }

    #[test]
    fn other_programs_are_measured_afresh() {
        let mut budget = Budget::new(20);
        let mut now = Instant::now();
        for _ in 0..2 {
            budget.read(now, 0);
            budget.read(now, 0);
            budget.read(now + WINDOW, u64::MAX);
            now += PERIOD;
        }
        budget.restart(now);
        assert_eq!(budget.read(now, 0), None);
        now += PERIOD;
        budget.read(now, 9);
        budget.read(now, 9);
        assert!(matches!(
            budget.read(now + WINDOW, u64::MAX),
            Some(Action::EndWindow(_))
        ));
    }

    #[test]
    fn a_run_time_that_shrinks_is_none() {
        let mut budget = Budget::new(20);
        let now = Instant::now();
        budget.read(now, 1000);
        budget.read(now, 1000);
        assert_eq!(budget.read(now + WINDOW, 1), Some(ended(0)));
    }
}
