//! How many packets died when, in a fixed number of bars, however long it lasted.

use std::collections::BTreeMap;

use crate::report::record::Time;

/// So many bars at the most.
const MAX_BARS: u64 = 60;
/// The narrowest bar, in nanoseconds.
const NARROWEST_NS: u64 = 1_000_000_000;

/// Bars of one width; the first begins at a multiple of it.
#[derive(Clone, Debug)]
pub struct Timeline {
    width_ns: u64,
    /// By time divided by the width.
    bars: BTreeMap<u64, u64>,
}

/// A bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// When it begins.
    pub from: Time,
    /// Packets from then on, for the width of a bar.
    pub packets: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            width_ns: NARROWEST_NS,
            bars: BTreeMap::new(),
        }
    }
}

impl Timeline {
    pub(super) fn add(&mut self, time: Time, packets: u64) {
        let bar = self.bars.entry(time.0 / self.width_ns).or_default();
        *bar = bar.saturating_add(packets);
        while self.span() > MAX_BARS {
            self.widen();
        }
    }

    /// How many bars there are from the first to the last.
    fn span(&self) -> u64 {
        match (self.bars.first_key_value(), self.bars.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last - first + 1,
            _ => 0,
        }
    }

    fn widen(&mut self) {
        self.width_ns = self.width_ns.saturating_mul(2);
        let mut wider = BTreeMap::new();
        for (bar, packets) in &self.bars {
            let sum: &mut u64 = wider.entry(bar / 2).or_default();
            *sum = sum.saturating_add(*packets);
        }
        self.bars = wider;
    }

    /// The width of each bar, in nanoseconds.
    pub fn width_ns(&self) -> u64 {
        self.width_ns
    }

    /// All bars from the first to the last, the empty ones between them included; 60 at the most.
    pub fn bars(&self) -> Vec<Bar> {
        let (Some((first, _)), Some((last, _))) = (self.bars.first_key_value(), self.bars.last_key_value())
        else {
            return Vec::new();
        };
        (*first..=*last)
            .map(|number| Bar {
                from: Time(number.saturating_mul(self.width_ns)),
                packets: self.bars.get(&number).copied().unwrap_or(0),
            })
            .collect()
    }
}
