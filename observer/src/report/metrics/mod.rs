//! `--metrics ADDR`: drops counted by cause, and the run's totals, as OpenMetrics. Nothing here waits for who asks, and whatever
//! is sent, memory is bounded.

mod http;
mod labels;
mod server;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Report;
use super::record::{Event, Line, Lost, Start, Summary, Time};
pub(super) use labels::Labels;

pub use server::{MetricsServer, answered};

/// So many causes are told apart, of drops and of counters each; what comes after them is `other`.
const MAX_SERIES: usize = 1000;
/// So many places of loss are told apart.
const MAX_PLACES: usize = 16;

/// What a run has come to so far, beside its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// As the summary would be now. What is on its way counts as lost.
    pub summary: Summary,
    /// Nanoseconds that the program at `kfree_skb` ran, estimated from some of its runs.
    pub drop_time_ns: u64,
    /// Nanoseconds that the programs on the way of live packets ran while they were measured.
    pub path_time_ns: u64,
}

/// Counts lines. Whoever asks is answered from the [`Registry`] that was made with it.
pub struct Metrics {
    drops: Series,
    counted: Series,
    /// Packets of causes beyond the bound.
    beyond: Counter,
    lost: Family<Vec<(&'static str, String)>, Counter>,
    places: HashMap<String, String>,
    disagreements: Counter,
    kernel_drops: Counter,
    filtered: Counter,
    not_loss: Counter,
    folded: Counter,
    probe_seconds: Family<Vec<(&'static str, &'static str)>, Counter<f64, AtomicU64>>,
    probes: Gauge,
    started: Gauge<f64, AtomicU64>,
    start: Family<Vec<(&'static str, String)>, Gauge>,
}

/// A family of a bounded number of series.
#[derive(Default)]
struct Series {
    family: Family<Labels, Counter>,
    known: HashMap<Labels, Counter>,
}

impl Series {
    /// Adds packets to their series; false if that is the one of everything beyond the bound.
    fn add(&mut self, labels: Labels, packets: u64) -> bool {
        if let Some(counter) = self.known.get(&labels) {
            counter.inc_by(packets);
            return true;
        }
        let is_room = self.known.len() < MAX_SERIES;
        let labels = if is_room { labels } else { labels.others() };
        let counter = self.family.get_or_create_owned(&labels);
        counter.inc_by(packets);
        if is_room {
            self.known.insert(labels, counter);
        }
        is_room
    }
}

impl Metrics {
    /// The metrics, all zero, and what makes a page of them.
    pub fn new() -> (Self, Registry) {
        let metrics = Self {
            drops: Series::default(),
            counted: Series::default(),
            beyond: Counter::default(),
            lost: Family::default(),
            places: HashMap::new(),
            disagreements: Counter::default(),
            kernel_drops: Counter::default(),
            filtered: Counter::default(),
            not_loss: Counter::default(),
            folded: Counter::default(),
            probe_seconds: Family::default(),
            probes: Gauge::default(),
            started: Gauge::default(),
            start: Family::default(),
        };
        let registry = metrics.registry();
        (metrics, registry)
    }

    fn registry(&self) -> Registry {
        let mut all = Registry::with_prefix("observer");
        all.register(
            "drops",
            "Packets that were dropped and told one by one",
            self.drops.family.clone(),
        );
        all.register(
            "counted",
            "Packets that counters of rules and policies tell of, where no packet can be seen",
            self.counted.family.clone(),
        );
        all.register(
            "beyond_series",
            "Packets of causes that are not told apart, since there were too many",
            self.beyond.clone(),
        );
        all.register("lost", "Drops that were not told one by one", self.lost.clone());
        all.register(
            "folded",
            "Of the lost ones: counted by flow in a flood",
            self.folded.clone(),
        );
        all.register(
            "disagreements",
            "Drops of which a replay came to something else than the kernel did",
            self.disagreements.clone(),
        );
        all.register(
            "kernel_drops",
            "Packets that the kernel freed as dropped, as the probe counted them",
            self.kernel_drops.clone(),
        );
        all.register(
            "filtered",
            "Of these: outside the filter, or no loss",
            self.filtered.clone(),
        );
        all.register("not_loss", "Of the filtered ones: no loss", self.not_loss.clone());
        all.register_with_unit(
            "probe",
            "Time that the programs in the kernel ran, on all processors, as far as it was measured",
            Unit::Seconds,
            self.probe_seconds.clone(),
        );
        all.register("probes", "Probes that are attached", self.probes.clone());
        all.register_with_unit(
            "start_time",
            "When watching began, since 1970",
            Unit::Seconds,
            self.started.clone(),
        );
        all.register(
            "watch",
            "What is watched, and on which kernel; always 1",
            self.start.clone(),
        );
        all.register(
            "build",
            "This program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        all
    }

    fn start(&mut self, start: &Start, time: Time) {
        self.started.set(time.0 as f64 / 1e9);
        self.probes.set(start.probes.len() as i64);
        let labels = vec![
            ("kernel", labels::bounded(&start.kernel)),
            ("filter", labels::bounded(&start.filter.text)),
        ];
        self.start.clear();
        self.start.get_or_create(&labels).set(1);
    }

    fn lost(&mut self, lost: &Lost) {
        let place = match self.places.get(&lost.place) {
            Some(place) => place.clone(),
            None if self.places.len() < MAX_PLACES => {
                let place = labels::bounded(&lost.place);
                self.places.insert(lost.place.clone(), place.clone());
                place
            }
            None => labels::OTHER.to_owned(),
        };
        self.lost
            .get_or_create(&vec![("where", place)])
            .inc_by(lost.count);
    }

    fn totals(&mut self, summary: &Summary) {
        raise(&self.kernel_drops, summary.kernel_drops);
        raise(&self.filtered, summary.filtered);
        raise(&self.not_loss, summary.not_loss);
        raise(&self.folded, summary.folded.unwrap_or(0));
    }
}

/// A total that is known as a whole: a counter never falls.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

impl Report for Metrics {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        match &line.event {
            Event::Start(start) => self.start(start, line.time),
            Event::Drop(drop) => {
                self.disagreements.inc_by(drop.drop.disagreement.is_some().into());
                if !self.drops.add(Labels::of_drop(drop), 1) {
                    self.beyond.inc();
                }
            }
            Event::Counter(counter) => {
                if let Some(labels) = Labels::of_counter(counter)
                    && !self.counted.add(labels, counter.packets)
                {
                    self.beyond.inc_by(counter.packets);
                }
            }
            Event::Probes(probes) => {
                // Where counters are read a change of pace is told by such a line, too, and no probe is there before or after.
                self.probes.set(probes.probes.len() as i64);
            }
            Event::Lost(lost) => self.lost(lost),
            Event::Summary(summary) => self.totals(summary),
            Event::Path(_) | Event::Filter(_) => {}
        }
        Ok(())
    }

    fn tick(&mut self, _now: Time) -> io::Result<()> {
        Ok(())
    }

    fn running(&mut self, running: &Running) {
        self.totals(&running.summary);
        for (probes, ns) in [("drops", running.drop_time_ns), ("path", running.path_time_ns)] {
            let seconds = ns as f64 / 1e9;
            let counter = self.probe_seconds.get_or_create(&vec![("probes", probes)]);
            counter.inc_by((seconds - counter.get()).max(0.0));
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The page that is shown.
fn page(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, registry);
    text
}
