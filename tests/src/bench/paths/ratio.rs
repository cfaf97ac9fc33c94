//! Rates with a watcher over rates without, and their medians.

use std::collections::BTreeMap;

use super::super::table::Table;
use crate::cluster::Backend;

/// What was measured of each watcher, in each round.
#[derive(Default)]
pub(super) struct Ratios {
    /// Packets a second with nobody watching.
    pub(super) without: Vec<f64>,
    by_name: BTreeMap<String, Measured>,
}

#[derive(Default)]
struct Measured {
    target: &'static str,
    ratios: Vec<f64>,
    packets: u64,
    /// What observer lost; `None` of others.
    lost: Option<u64>,
    gave_up: usize,
    trouble: Option<String>,
}

/// One visit of a watcher.
pub(super) struct Visit {
    pub(super) ratio: f64,
    pub(super) packets: u64,
    pub(super) lost: Option<u64>,
    /// It ended by itself, as `xtables-monitor` does when its socket's buffer is full.
    pub(super) gave_up: bool,
}

impl Ratios {
    pub(super) fn add(&mut self, name: &str, target: &'static str, visit: &Visit) {
        let of = self.by_name.entry(name.to_owned()).or_default();
        of.target = target;
        of.ratios.push(visit.ratio);
        of.gave_up += usize::from(visit.gave_up);
        of.packets += visit.packets;
        if let Some(lost) = visit.lost {
            *of.lost.get_or_insert(0) += lost;
        }
    }

    /// A watcher that could not watch, and why.
    pub(super) fn failed(&mut self, name: &str, why: String) {
        self.by_name.entry(name.to_owned()).or_default().trouble = Some(why);
    }

    pub(super) fn tell(mut self, table: &mut Table, backend: Backend) {
        let figure = format!("{:.0} packets a second", median(&mut self.without));
        table.add(
            &format!("iptables-{}: nobody watches", backend.word()),
            figure,
            "",
        );
        for (name, of) in &mut self.by_name {
            table.add(name, of.figure(), of.target);
        }
    }
}

impl Measured {
    fn figure(&mut self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("could not run: {trouble}");
        }
        let middle = median(&mut self.ratios);
        let (least, most) = (self.ratios.first(), self.ratios.last());
        let mut text = format!(
            "{middle:.3} ({:.3} to {:.3}), {} rounds",
            least.unwrap_or(&0.0),
            most.unwrap_or(&0.0),
            self.ratios.len()
        );
        if let Some(lost) = self.lost {
            text += &format!(", {lost} records lost in {} packets", self.packets);
        }
        if self.gave_up > 0 {
            text += &format!("; it ended by itself in {} of them", self.gave_up);
        }
        text
    }
}

/// Sorts; zero of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values {
        [] => 0.0,
        _ if values.len().is_multiple_of(2) => (values[half - 1] + values[half]) / 2.0,
        _ => values[half],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&mut []).abs() < 1e-9);
    }
}
