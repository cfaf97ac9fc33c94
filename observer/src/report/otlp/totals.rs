//! The run's totals as metrics of OTLP: sums since its start, so that one that is lost is made good by the next.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::metrics::{Labels, Running};
use super::encode::{scope, text};
use crate::report::record::{Event, Line, Time};

/// How often they are sent.
const EVERY: Duration = Duration::from_secs(15);
/// So many causes are told apart; what comes after them is `other`.
const MAX_SERIES: usize = 1000;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE` (opentelemetry/proto/metrics/v1/metrics.proto).
const CUMULATIVE: u8 = 2;

/// Counts lines by cause.
pub(super) struct Totals {
    resource: Value,
    started: Time,
    sent: Time,
    drops: BTreeMap<String, (Vec<Value>, u64)>,
    sums: BTreeMap<&'static str, u64>,
}

impl Totals {
    pub(super) fn new(resource: Value) -> Self {
        let now = Time::now();
        Self {
            resource,
            started: now,
            sent: now,
            drops: BTreeMap::new(),
            sums: BTreeMap::new(),
        }
    }

    pub(super) fn line(&mut self, line: &Line) {
        match &line.event {
            Event::Drop(drop) => self.add(Labels::of_drop(drop), 1),
            Event::Counter(counter) => {
                if let Some(labels) = Labels::of_counter(counter) {
                    self.add(labels, counter.packets);
                }
            }
            Event::Lost(lost) => {
                let sum = self.sums.entry("observer.lost").or_default();
                *sum = sum.saturating_add(lost.count);
            }
            Event::Summary(summary) => self.running(&Running {
                summary: summary.clone(),
                ..Running::default()
            }),
            Event::Start(_) | Event::Path(_) | Event::Probes(_) | Event::Filter(_) => {}
        }
    }

    fn add(&mut self, labels: Labels, packets: u64) {
        let mut labels = labels;
        let mut key = key_of(&labels);
        if self.drops.len() >= MAX_SERIES && !self.drops.contains_key(&key) {
            labels = labels.others();
            key = key_of(&labels);
        }
        let series = self.drops.entry(key).or_insert_with(|| {
            let attributes = labels
                .pairs()
                .map(|(name, value)| text(&format!("observer.{name}"), value));
            (attributes.collect(), 0)
        });
        series.1 = series.1.saturating_add(packets);
    }

    /// What the kernel side has counted so far.
    pub(super) fn running(&mut self, running: &Running) {
        let summary = &running.summary;
        for (name, total) in [
            ("observer.kernel_drops", summary.kernel_drops),
            ("observer.filtered", summary.filtered),
            ("observer.not_loss", summary.not_loss),
            ("observer.folded", summary.folded.unwrap_or(0)),
        ] {
            let sum = self.sums.entry(name).or_default();
            *sum = total.max(*sum);
        }
    }

    /// The body of a request, if it is time for one.
    pub(super) fn due(&mut self, now: Time) -> Option<Vec<u8>> {
        if u128::from(now.nanos_since(self.sent)) < EVERY.as_nanos() {
            return None;
        }
        self.sent = now;
        Some(self.body(now))
    }

    /// The body of a request.
    pub(super) fn body(&self, now: Time) -> Vec<u8> {
        let point = |attributes: &[Value], count: u64| {
            json!({
                "attributes": attributes,
                "startTimeUnixNano": self.started.0.to_string(),
                "timeUnixNano": now.0.to_string(),
                "asInt": count.to_string(),
            })
        };
        let sum = |name: &str, points: Vec<Value>| {
            json!({
                "name": name,
                "unit": "{packet}",
                "sum": {"dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true},
            })
        };
        let drops = self
            .drops
            .values()
            .map(|(attributes, count)| point(attributes, *count));
        let mut metrics: Vec<Value> = self
            .sums
            .iter()
            .map(|(name, count)| sum(name, vec![point(&[], *count)]))
            .collect();
        if !self.drops.is_empty() {
            metrics.push(sum("observer.drops", drops.collect()));
        }
        json!({"resourceMetrics": [{
            "resource": self.resource,
            "scopeMetrics": [{"scope": scope(), "metrics": metrics}],
        }]})
        .to_string()
        .into_bytes()
    }
}

/// The same for the same labels only: no label has a line feed, which is escaped.
fn key_of(labels: &Labels) -> String {
    labels
        .pairs()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}
