//! Where the time of a scenario goes: printed with `observer-lab run --times`.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Laps of one scenario.
pub struct Stopwatch {
    laps: RefCell<Vec<(&'static str, Duration)>>,
    last: RefCell<Instant>,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            laps: RefCell::new(Vec::new()),
            last: RefCell::new(Instant::now()),
        }
    }

    /// Notes that what has been done since the last lap was `what`.
    pub fn lap(&self, what: &'static str) {
        let took = self.last.replace(Instant::now()).elapsed();
        let mut laps = self.laps.borrow_mut();
        match laps.iter_mut().find(|(name, _)| *name == what) {
            Some((_, sum)) => *sum += took,
            None => laps.push((what, took)),
        }
    }

    /// `cluster 0.52  observer 1.20 …`, in seconds.
    pub fn laps(&self) -> String {
        let laps = self.laps.borrow();
        let words: Vec<String> = laps
            .iter()
            .map(|(what, took)| format!("{what} {:.2}", took.as_secs_f64()))
            .collect();
        words.join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_of_the_same_name_are_one() {
        let watch = Stopwatch::start();
        watch.lap("steps");
        watch.lap("settle");
        watch.lap("steps");
        assert_eq!(watch.laps().matches("steps").count(), 1);
        assert!(watch.laps().starts_with("steps 0.0"));
    }
}
