//! Floods: how many drops are told, each by itself; the others the kernel side only counts.
//!
//! The kernel side has an allowance of records. It is filled up here as time goes by, at a rate at which this program and its
//! program in the kernel together take no more than a quarter of a processor. Where nothing is read here (the reader of the
//! output is slow, the process is stopped) nothing is added, and the kernel side counts.

use std::time::{Duration, Instant};

use observer_common::{Allowance, Count};

use super::clock;
use super::folds::{Told, line};
use super::open::Live;

/// From one filling to the next.
const TICK: Duration = Duration::from_millis(100);
/// From one look at what it costs to the next.
const JUDGED: Duration = Duration::from_millis(500);
/// From one line about a flood to the next.
const TOLD: Duration = Duration::from_secs(1);
/// Of the records that the ring buffer has room for so many are for flows that have not been told of: one of so many.
const RESERVED: i64 = 8;
/// So many records of each flow, of that, between two lines about the flood.
const EACH: u64 = 4;
/// Records a second: at first, the least and the most.
const RATE: Rates = Rates {
    first: 10_000.0,
    least: 500.0,
    most: 100_000.0,
};
/// Share of a processor, in thousandths: below the first there may be more records, above the second there must be fewer.
const SHARE: (f64, f64) = (150.0, 250.0);

struct Rates {
    first: f64,
    least: f64,
    most: f64,
}

/// What is known of the flood, if there is one.
#[derive(Debug)]
pub struct Flood {
    /// How many records the ring buffer has room for.
    most: i64,
    /// Records a second.
    rate: f64,
    epoch: u64,
    filled: Instant,
    /// Nothing was taken from the allowance since.
    is_full: bool,
    /// Records that came.
    taken: u64,
    judged: Judged,
    /// Whether there was too little, since that was last asked.
    is_short: bool,
    /// Drops that were only counted, when that was last looked at.
    folded: u64,
    /// Whether there were more of them than the time before.
    is_on: bool,
    told: Told,
    told_at: Option<Instant>,
}

/// When the cost was last looked at, and what it was until then.
#[derive(Clone, Copy, Debug)]
struct Judged {
    at: Instant,
    /// Of this program and of its program in the kernel, since they began.
    spent_ns: u64,
}

impl Flood {
    /// There is none; the ring buffer has room for so many records.
    pub fn new(most: u32) -> Self {
        let now = Instant::now();
        Self {
            most: i64::from(most),
            rate: RATE.first,
            epoch: 1,
            filled: now,
            is_full: true,
            taken: 0,
            judged: Judged { at: now, spent_ns: 0 },
            is_short: false,
            folded: 0,
            is_on: false,
            told: Told::default(),
            told_at: None,
        }
    }

    /// The allowance to begin with.
    pub fn begins(&self) -> Allowance {
        Allowance {
            records: self.most,
            reserve: self.most / RESERVED,
            epoch: self.epoch,
            each: EACH,
        }
    }

    /// So many records of drops were taken out of the ring buffer.
    pub fn records_came(&mut self, records: usize) {
        self.taken += records as u64;
        self.is_full = false;
    }

    /// When it is to be looked at.
    pub fn due(&self) -> Option<Instant> {
        (!self.is_full || self.is_on || self.is_untold()).then_some(self.filled + TICK)
    }

    fn is_untold(&self) -> bool {
        self.folded > self.told.count
    }

    /// Whether a line about the flood is due.
    fn is_to_be_told(&self, now: Instant) -> bool {
        self.is_untold() && self.told_at.is_none_or(|at| now >= at + TOLD)
    }

    /// Takes how many drops were only counted so far; true when it was a flood until then, and is none any more.
    fn ebbs(&mut self, folded: u64) -> bool {
        let rises = folded > self.folded;
        self.folded = folded;
        let was_on = std::mem::replace(&mut self.is_on, rises);
        was_on && !rises
    }

    /// What is left, with what has come since the last time. `written`: records so far. Those that still lie in the ring buffer
    /// are taken off, so that it never fills.
    fn fill(&mut self, left: Allowance, written: u64, now: Instant) -> Allowance {
        let span = now.saturating_duration_since(self.filled).min(TICK * 10);
        let more = (self.rate * span.as_secs_f64()) as i64;
        self.filled = now;
        self.is_short |= left.records <= left.reserve;
        let waiting = i64::try_from(written.saturating_sub(self.taken)).unwrap_or(i64::MAX);
        let filled = Allowance {
            records: left
                .records
                .saturating_add(more)
                .min(self.most.saturating_sub(waiting)),
            epoch: self.epoch,
            ..left
        };
        self.is_full = filled.records >= self.most;
        filled
    }

    /// Chooses the rate by what all of it cost since the last time.
    fn judge(&mut self, now: Instant, spent_ns: u64) {
        let span = now.saturating_duration_since(self.judged.at);
        if span < JUDGED {
            return;
        }
        let took = u128::from(spent_ns.saturating_sub(self.judged.spent_ns));
        self.judged = Judged { at: now, spent_ns };
        let share = (took * 1000 / span.as_nanos().max(1)) as f64;
        if !std::mem::take(&mut self.is_short) {
            return;
        }
        let (low, high) = SHARE;
        let factor = if share > high {
            ((low + high) / 2.0 / share).max(0.25)
        } else if share < low {
            1.25
        } else {
            1.0
        };
        self.rate = (self.rate * factor).clamp(RATE.least, RATE.most);
        log::debug!(
            "a flood takes {share} thousandths of a processor: {} records a second",
            self.rate
        );
    }
}

impl Live {
    /// Fills up the allowance, and tells of what was only counted; `is_last`: at once.
    pub(super) fn look_at_flood(&mut self, is_last: bool) {
        let now = Instant::now();
        if !is_last && now < self.flood.filled + TICK {
            return;
        }
        let counts = self.programs.counts();
        self.flood
            .judge(now, clock::process_ns() + counts[Count::DropTime as usize]);
        if self.flood.ebbs(counts[Count::Folded as usize]) {
            self.store.catch_up(&self.programs);
        }
        let is_told = self.flood.is_to_be_told(now) || (is_last && self.flood.is_untold());
        let epoch = self.flood.epoch;
        self.flood.epoch += u64::from(is_told);
        let left = self.programs.allowance();
        let written = counts[Count::Sent as usize] + counts[Count::Bookkeeping as usize];
        let filled = self.flood.fill(left, written, now);
        // From here on the other half of the folds is written, if they are told.
        if let Err(error) = self.programs.set_allowance(&filled) {
            log::warn!("{error:#}");
        }
        if is_told {
            self.flood.told_at = Some(now);
            self.tell_flood(epoch);
        } else if !self.flood.is_untold() {
            self.flood.told.nothing();
        }
    }

    fn tell_flood(&mut self, epoch: u64) {
        let folds = self.programs.folded(epoch);
        let lost = self
            .flood
            .told
            .lost(self.flood.folded, &folds, &mut self.teller, &self.symbols);
        self.lines.push_back(line(lost, &self.teller));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets half a second pass in which so many thousandths of a processor were spent, and there was too little.
    fn judged(flood: &mut Flood, share: u64) {
        let Judged { at, spent_ns } = flood.judged;
        flood.is_short = true;
        flood.judge(at + JUDGED, spent_ns + share * 500_000);
    }

    #[test]
    fn the_rate_falls_until_it_costs_no_more_than_a_quarter_of_a_processor_and_rises_again() {
        let mut flood = Flood::new(4000);
        // 100 µs a record.
        for _ in 0..10 {
            let share = (flood.rate / 10.0) as u64;
            judged(&mut flood, share);
        }
        assert!((1_500.0..=2_500.0).contains(&flood.rate), "{}", flood.rate);
        for _ in 0..20 {
            let share = (flood.rate / 100.0) as u64;
            judged(&mut flood, share);
        }
        assert!((15_000.0..=25_000.0).contains(&flood.rate), "{}", flood.rate);
    }

    #[test]
    fn there_is_a_least_rate_however_slow_the_machine() {
        let mut flood = Flood::new(4000);
        (0..20).for_each(|_| judged(&mut flood, 2_000));
        assert!((flood.rate - RATE.least).abs() < 1.0);
    }

    #[test]
    fn while_the_allowance_lasts_the_rate_stays_whatever_it_costs() {
        let mut flood = Flood::new(4000);
        let Judged { at, .. } = flood.judged;
        flood.judge(at + JUDGED, 500_000_000);
        assert!((flood.rate - RATE.first).abs() < 1.0);
    }

    #[test]
    fn an_allowance_is_filled_up_by_the_time_that_passed_and_never_beyond_its_most() {
        let mut flood = Flood::new(4000);
        let begun = flood.filled;
        let left = Allowance {
            records: -7,
            ..flood.begins()
        };
        let filled = flood.fill(left, 0, begun + TICK);
        assert_eq!((filled.records, filled.reserve), (993, 500));
        assert!(flood.is_short && flood.due().is_some());
        let filled = flood.fill(filled, 0, begun + TICK * 50);
        assert_eq!(filled.records, 4000);
        assert!(flood.due().is_none(), "nothing to wait for");
    }

    #[test]
    fn what_waits_to_be_read_is_taken_off() {
        let mut flood = Flood::new(4000);
        let begun = flood.filled;
        flood.records_came(100);
        let filled = flood.fill(flood.begins(), 1100, begun + TICK);
        assert_eq!(filled.records, 3000);
        let filled = flood.fill(filled, 90_000, begun + TICK * 2);
        assert!(filled.records < 0, "nobody reads");
        flood.records_came(89_900);
        for tick in 3..=13 {
            let left = Allowance { records: 0, ..filled };
            assert!(
                flood.fill(left, 90_000, begun + TICK * tick).records > 900,
                "{tick}"
            );
        }
    }

    #[test]
    fn a_flood_ends_once_and_what_was_counted_is_waited_for() {
        let mut flood = Flood::new(4000);
        assert!(!flood.ebbs(0) && !flood.ebbs(5) && !flood.ebbs(9));
        assert!(flood.due().is_some());
        assert!(flood.ebbs(9), "no more than the time before");
        assert!(!flood.ebbs(9), "once");
        assert!(flood.due().is_some(), "nobody was told yet");
        flood.told.count = 9;
        assert!(flood.due().is_none());
    }
}
