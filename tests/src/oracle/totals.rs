//! Books: what the kernel counted, what observer told, what it says that it lost, and its own sums.

use std::collections::BTreeMap;

use serde_json::Value;

use super::judge::{MOST_CANDIDATES, Tally, is_it, place};
use super::truth::{Place, Totals};

impl Totals {
    /// Whether a line names what may have dropped some of what it counted, or knows of nothing else that can have been it.
    pub(super) fn is_translated_by(&self, line: &Value) -> bool {
        if let Some(place) = place(line) {
            return self.may.contains_key(&place);
        }
        let candidates = line["drop"]["candidates"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let is_one = |candidate: &Value| self.may.keys().any(|place| is_it(place, candidate));
        !candidates.is_empty() && candidates.len() < MOST_CANDIDATES && candidates.iter().all(is_one)
    }

    fn counted(&self, place: &Place) -> u64 {
        let counted = self.drops.get(place).or_else(|| self.may.get(place));
        counted.copied().unwrap_or(0)
    }
}

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
    /// that counted was told or said to be lost. Of what a translation could not be set up for only the former is known.
    pub(super) fn compare(&self, counted: &Totals, lines: &[Value], tally: &mut Tally) -> Vec<String> {
        let mut named: BTreeMap<Place, u64> = BTreeMap::new();
        let mut of_netfilter = 0;
        for line in lines.iter().filter(|line| line["drop"]["layer"] == "netfilter") {
            if counted.is_translated_by(line) {
                tally.died += 1;
            } else {
                of_netfilter += 1;
            }
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
        let died: u64 = counted.drops.values().sum();
        tally.died += died;
        let mut wrong: Vec<String> = named
            .iter()
            .filter(|(place, told)| counted.counted(place) < **told)
            .map(|(place, told)| {
                let counted = counted.counted(place);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(table: &str, chain: &str, confidence: &str) -> Value {
        json!({"kind": "drop", "drop": {"layer": "netfilter", "cause": "rule", "family": "ip6", "table": table,
               "chain": chain, "rule": {"number": 2}, "confidence": confidence}})
    }

    fn place(table: &str, chain: &str) -> Place {
        Place {
            family: "ip6".into(),
            table: table.into(),
            chain: chain.into(),
            rule: Some(2),
        }
    }

    /// What the oracle found of itself: of two translations either can have been it, and a death too many was seen in that.
    #[test]
    fn one_of_several_translations_is_no_death_that_a_rule_counted() {
        let totals = Totals {
            drops: [(place("filter", "FORWARD"), 1)].into(),
            may: [(place("nat", "PREROUTING"), 1), (place("nat", "U1"), 1)].into(),
        };
        let wrong = |lines: &[Value]| Ledger::default().compare(&totals, lines, &mut Tally::default());
        let one_of = |chains: &[&str]| {
            let candidates: Vec<Value> = chains
                .iter()
                .map(|chain| {
                    let table = if *chain == "FORWARD" { "filter" } else { "nat" };
                    json!({"table": table, "chain": chain, "rule": 2})
                })
                .collect();
            json!({"kind": "drop", "drop": {"layer": "netfilter", "confidence": "unknown", "candidates": candidates}})
        };
        let rule = line("filter", "FORWARD", "exact");
        assert!(wrong(&[rule.clone(), one_of(&["PREROUTING", "U1"])]).is_empty());
        assert_eq!(
            wrong(&[rule.clone(), one_of(&["PREROUTING", "FORWARD"])]).len(),
            1
        );
        assert_eq!(wrong(&[rule.clone(), one_of(&[])]).len(), 1);
        assert_eq!(
            wrong(&[one_of(&["PREROUTING", "U1"])]).len(),
            1,
            "a death is missing"
        );
    }

    #[test]
    fn what_a_translation_dropped_does_not_stand_for_what_a_rule_did() {
        let totals = Totals {
            drops: [(place("filter", "FORWARD"), 2)].into(),
            may: [(place("nat", "PREROUTING"), 1)].into(),
        };
        let wrong = |lines: &[Value]| Ledger::default().compare(&totals, lines, &mut Tally::default());
        let (rule, translation) = (
            line("filter", "FORWARD", "exact"),
            line("nat", "PREROUTING", "inferred"),
        );
        let all = [rule.clone(), rule.clone(), translation.clone()];
        assert!(wrong(&all).is_empty());
        assert!(wrong(&all[..2]).is_empty(), "it need not have dropped any");
        assert_eq!(wrong(&all[1..]).len(), 1, "a death is missing");
        let beyond = [rule.clone(), rule.clone(), translation.clone(), translation];
        assert_eq!(wrong(&beyond).len(), 1, "it did not count so many");
        assert!(!wrong(&[rule.clone(), rule.clone(), rule]).is_empty());
    }
}
