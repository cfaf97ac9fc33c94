//! When to look for records without being woken: the kernel side wakes user space only once in [`WAKE_NS`], and what comes in between
//! waits to be found.

use std::time::Duration;

use observer_common::WAKE_NS;
use tokio::time::Instant;

/// How long after something was found it is looked again. The first is enough for a CPU that runs; one that was held up between
/// reading the clock and writing its record may be later.
const LOOKS: [Duration; 4] = [
    Duration::from_nanos(2 * WAKE_NS),
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(1),
];

/// When it is looked next.
#[derive(Debug, Default)]
pub struct Echo {
    /// Since when nothing was found, and how often it has been looked since; `None`: whatever comes wakes.
    quiet: Option<(Instant, usize)>,
}

impl Echo {
    /// It was looked, and something was found, or not.
    pub fn looked(&mut self, found: bool, now: Instant) {
        if found {
            self.quiet = Some((now, 0));
        }
        while self.next().is_some_and(|due| due <= now) {
            self.quiet = self
                .quiet
                .map(|(since, looks)| (since, looks + 1))
                .filter(|(_, looks)| *looks < LOOKS.len());
        }
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Instant> {
        let (since, looks) = self.quiet?;
        Some(since + *LOOKS.get(looks)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_calls_for_a_look_after_the_time_in_which_nobody_is_woken() {
        let start = Instant::now();
        let mut echo = Echo::default();
        echo.looked(false, start);
        assert_eq!(echo.next(), None);
        echo.looked(true, start);
        let first = echo.next().expect("something was found");
        assert!(first > start + Duration::from_nanos(WAKE_NS));
        // Found again: from the beginning.
        echo.looked(true, first);
        assert!(echo.next().expect("something was found") > first + Duration::from_nanos(WAKE_NS));
    }

    #[test]
    fn it_ends_when_nothing_comes() {
        let mut now = Instant::now();
        let mut echo = Echo::default();
        echo.looked(true, now);
        for _ in LOOKS {
            now = echo.next().expect("not yet");
            echo.looked(false, now);
        }
        assert_eq!(echo.next(), None);
    }

    #[test]
    fn looks_that_were_missed_are_made_up_for_by_one() {
        let start = Instant::now();
        let mut echo = Echo::default();
        echo.looked(true, start);
        echo.looked(false, start + Duration::from_millis(500));
        assert_eq!(echo.next(), Some(start + Duration::from_secs(1)));
    }
}
