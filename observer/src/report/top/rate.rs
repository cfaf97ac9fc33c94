//! How fast something has been of late: packets of the last seconds, counted in steps.

use std::time::Duration;

/// Packets are counted in steps of so many milliseconds,
const STEP_MS: u64 = 500;
/// of which so many are remembered.
const STEPS: usize = 10;
/// What a rate is taken over, the present step included.
pub(super) const WINDOW: Duration = Duration::from_millis(STEP_MS * STEPS as u64);

/// Packets of the last seconds. Moments are those since watching began: no clock that is set moves them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    steps: [u64; STEPS],
    /// The number of the newest step, from the beginning.
    newest: u64,
}

impl Rate {
    /// Counts packets.
    pub(super) fn add(&mut self, packets: u64, at: Duration) {
        let step = step(at).max(self.newest);
        let passed = usize::try_from(step - self.newest).map_or(STEPS, |passed| passed.min(STEPS));
        for ahead in 1..=passed {
            self.steps[slot(self.newest + ahead as u64)] = 0;
        }
        // More than the memory of steps may have passed.
        self.newest = step;
        let count = &mut self.steps[slot(step)];
        *count = if passed == STEPS {
            packets
        } else {
            count.saturating_add(packets)
        };
    }

    /// Packets a second.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub(super) fn per_second(&self, at: Duration) -> f64 {
        let now = step(at).max(self.newest);
        let oldest = (now + 1).saturating_sub(STEPS as u64);
        let kept = (self.newest + 1).saturating_sub(STEPS as u64);
        let packets: u64 = (oldest.max(kept)..=self.newest)
            .map(|step| self.steps[slot(step)])
            .fold(0, u64::saturating_add);
        let span = at.saturating_sub(Duration::from_millis(oldest * STEP_MS));
        packets as f64 / span.as_secs_f64().max(1.0)
    }
}

fn step(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).map_or(u64::MAX / STEP_MS, |millis| millis / STEP_MS)
}

fn slot(step: u64) -> usize {
    (step % STEPS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn is(rate: &Rate, at: u64, expected: f64) {
        let found = rate.per_second(ms(at));
        assert!((found - expected).abs() < 0.01, "{found} at {at}");
    }

    #[test]
    fn ten_packets_a_second_are_ten_a_second() {
        let mut rate = Rate::default();
        for tenth in 0..200 {
            rate.add(1, ms(tenth * 100));
        }
        // From 15.0 s on, the packet at 19.9 s included.
        is(&rate, 20_000 - 1, 10.0);
    }

    #[test]
    fn what_is_quiet_falls_to_nothing() {
        let mut rate = Rate::default();
        rate.add(50, ms(10_000));
        is(&rate, 10_000, 50.0 / 4.5);
        is(&rate, 14_999, 50.0 / 4.999);
        is(&rate, 15_000, 0.0);
        is(&rate, 1_000_000, 0.0);
    }

    #[test]
    fn at_the_beginning_it_is_taken_over_what_has_passed_and_at_least_a_second() {
        let mut rate = Rate::default();
        rate.add(3, ms(10));
        is(&rate, 20, 3.0);
        is(&rate, 2_000, 1.5);
    }

    #[test]
    fn a_long_silence_leaves_nothing_of_what_was_before() {
        let mut rate = Rate::default();
        for at in [0, 700, 4_900, 5_100, 60_000, 64_400] {
            rate.add(9, ms(at));
        }
        is(&rate, 64_400, 18.0 / 4.9);
        rate.add(u64::MAX, ms(64_400));
        rate.add(u64::MAX, ms(64_900));
        assert!(rate.per_second(Duration::MAX) < 1.0);
    }
}
