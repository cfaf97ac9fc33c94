//! Books: what the kernel counted, what observer told, what it says that it lost, and its own sums.

use std::collections::BTreeMap;

use serde_json::Value;

use super::judge::{Tally, place};
use super::truth::Place;

/// What observer has written so far, in numbers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lost: u64,
    told: BTreeMap<String, u64>,
    summary: Option<Value>,
}

impl Ledger {
    /// Takes lines in.
    pub(super) fn note(&mut self, lines: &[Value]) {
        for line in lines {
            match line["kind"].as_str() {
                Some("lost") if line["where"] != "path-ring-buffer" => {
                    self.lost += line["count"].as_u64().unwrap_or(0);
                }
                Some("drop") => {
                    let confidence = line["drop"]["confidence"].as_str().unwrap_or("none");
                    *self.told.entry(confidence.to_owned()).or_default() += 1;
                }
                Some("summary") => self.summary = Some(line.clone()),
                _ => {}
            }
        }
    }

    /// So far, or by the summary.
    pub(super) fn lost(&self) -> u64 {
        let summary = self.summary.as_ref().and_then(|summary| summary["lost"].as_u64());
        summary.unwrap_or(0).max(self.lost)
    }

    pub(super) fn has_lost(&self) -> bool {
        self.lost() > 0
    }

    /// Holds what each place counted against the lines that name it: none may be named more often than it counted, and all
    /// that counted was told or said to be lost.
    pub(super) fn compare(
        &self,
        counted: &BTreeMap<Place, u64>,
        lines: &[Value],
        tally: &mut Tally,
    ) -> Vec<String> {
        let mut named: BTreeMap<Place, u64> = BTreeMap::new();
        let mut of_netfilter = 0;
        for line in lines.iter().filter(|line| line["drop"]["layer"] == "netfilter") {
            of_netfilter += 1;
            let note = || line["drop"]["note"].as_str().unwrap_or("no note").to_owned();
            match (line["drop"]["confidence"].as_str(), place(line)) {
                (Some("exact"), Some(place)) => {
                    tally.exact += 1;
                    *named.entry(place).or_default() += 1;
                }
                (Some("inferred"), Some(place)) => {
                    tally.inferred += 1;
                    tally.why.entry(format!("inferred: {}", note())).or_default().0 += 1;
                    *named.entry(place).or_default() += 1;
                }
                _ if line["drop"]["cause"] == "hook" => {
                    tally.no_rule += 1;
                    of_netfilter -= 1;
                }
                _ => {
                    tally.unknown += 1;
                    tally.why.entry(format!("unknown: {}", note())).or_default().0 += 1;
                }
            }
        }
        let died: u64 = counted.values().sum();
        tally.died += died;
        let mut wrong: Vec<String> = named
            .iter()
            .filter(|(place, told)| counted.get(place).copied().unwrap_or(0) < **told)
            .map(|(place, told)| {
                let counted = counted.get(place).copied().unwrap_or(0);
                format!("{place} is named {told} times, and counted {counted}")
            })
            .collect();
        if of_netfilter > died || of_netfilter + self.lost < died {
            wrong.push(format!(
                "rules and policies counted {died} deaths, observer tells of {of_netfilter}, and has lost {} so far",
                self.lost
            ));
        }
        tally.missing += died.saturating_sub(of_netfilter);
        wrong
    }

    /// Whether observer's own sums agree with each other and with its lines.
    pub(super) fn reconcile(&self) -> Vec<String> {
        let Some(summary) = &self.summary else {
            return vec!["there is no summary".to_owned()];
        };
        let number = |name: &str| summary[name].as_u64().unwrap_or(0);
        let parts = ["exact", "inferred", "unknown", "filtered", "lost"];
        let mut wrong = Vec::new();
        if number("kernel_drops") != parts.iter().map(|part| number(part)).sum::<u64>() {
            wrong.push(format!("the summary does not add up: {summary}"));
        }
        for confidence in &parts[..3] {
            let told = self.told.get(*confidence).copied().unwrap_or(0);
            if told != number(confidence) {
                wrong.push(format!(
                    "{told} lines are {confidence}, and the summary says {summary}"
                ));
            }
        }
        // The summary has also those that the program could not see, a drop inside a drop, for which there is no line.
        if number("lost") < self.lost {
            wrong.push(format!(
                "lines tell of {} lost, the summary: {summary}",
                self.lost
            ));
        }
        wrong
    }
}
