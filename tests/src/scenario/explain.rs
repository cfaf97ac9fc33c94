//! `observer explain` in a node, when the packets of a phase have been sent: what it says must be what the kernel has done.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::culprit::{Scene, book, merge, pattern};
use super::phase::Snapshot;
use super::spec::Phase;
use super::step::Stage;
use crate::exec;
use crate::matching::{matches, mismatches};
use crate::observer::read_lines;

/// A question to observer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The node whose rules are asked.
    pub node: String,
    /// What follows `explain -o json`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Instead of a packet in `args`: the first line of the trace about `killer`, which must be said to be dropped by the
    /// same rule still, unless `answer` says otherwise.
    #[serde(default)]
    pub recorded: bool,
    /// Which of the phase's rules drops the packet, on each way that it may go: `native 1`, `culprit 2`.
    pub killer: Option<String>,
    /// More that the answer must match.
    #[serde(default)]
    pub answer: Value,
    /// What the killer's `drop` looks like, and its lines in the trace.
    #[serde(skip)]
    pub(super) drop: Value,
    #[serde(skip)]
    pub(super) line: Value,
}

/// What observer answered.
pub(super) struct Answered {
    explain: Explain,
    answer: Value,
}

impl Explain {
    /// Whether it can fail.
    pub fn asks(&self) -> bool {
        self.killer.is_some() || self.answer.is_object()
    }

    /// Which list its killer is in, and the index there.
    fn killer(&self) -> Result<Option<(&str, usize)>> {
        let Some(killer) = &self.killer else {
            return Ok(None);
        };
        let (list, number) = killer.split_once(' ').unwrap_or((killer, "1"));
        let index = number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1));
        match (list, index) {
            ("native" | "culprit", Some(index)) => Ok(Some((list, index))),
            _ => bail!("`{killer}` is no killer; write `native 1` or `culprit 1`"),
        }
    }

    /// Finds out what its killer is called, if that is a rule of native nftables.
    pub(super) fn introduce(&mut self, scene: &Scene, stage: &Stage, phase: &Phase) -> Result<()> {
        let Some(("native", index)) = self.killer()? else {
            return Ok(());
        };
        let native = phase
            .native
            .get(index)
            .with_context(|| format!("there are no {} [[native]]", index + 1))?;
        let netns = stage.cluster.node(&native.node)?;
        self.drop = native.place(netns)?;
        self.line = native.expect(scene, netns)?.line;
        Ok(())
    }

    /// Asks.
    pub(super) fn ask(
        &self,
        scene: &Scene,
        stage: &Stage,
        (phase, counted): (&Phase, &Snapshot),
        program: &Path,
    ) -> Result<Answered> {
        let mut explain = self.clone();
        if let Some(("culprit", index)) = self.killer()? {
            let culprit = phase
                .culprit
                .get(index)
                .with_context(|| format!("there are no {} [[culprit]]", index + 1))?;
            explain.line = pattern(scene, culprit, &counted.rules[&book(culprit)])?;
            let of = if culprit.counted { "counter" } else { "drop" };
            explain.drop = explain.line[of].clone();
        }
        let mut args: Vec<String> = ["explain", "-o", "json"].map(str::to_owned).to_vec();
        args.extend(self.args.iter().cloned());
        if self.recorded {
            let lines = read_lines(stage.trace)?;
            let Some(index) = lines.iter().position(|line| matches(&explain.line, line)) else {
                bail!(
                    "no line of the trace is about what is to be explained: {}",
                    explain.line
                )
            };
            let trace = stage.trace.to_string_lossy().into_owned();
            args.extend([
                "--from-trace".into(),
                trace,
                "--line".into(),
                (index + 1).to_string(),
            ]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let netns = stage.cluster.node(&self.node)?;
        let program = program.to_string_lossy();
        let printed = exec::run(Some(netns), &program, &args, "")?;
        let answer = serde_json::from_str(&printed)
            .with_context(|| format!("`observer {}` printed {printed}", args.join(" ")))?;
        Ok(Answered { explain, answer })
    }
}

impl Answered {
    /// What is wrong with it.
    pub(super) fn judge(&self) -> Vec<String> {
        let mut wanted = json!({"schema": "observer.explain/v1"});
        if self.explain.killer.is_some() {
            wanted["verdict"] = json!("drop");
        }
        if self.explain.recorded {
            wanted["recorded"] = json!({"now": "same"});
        }
        merge(&mut wanted, &self.explain.answer);
        let mut wrong = mismatches(&wanted, &self.answer);
        if self.explain.killer.is_some() {
            let mut drop = self.explain.drop.clone();
            // It has not seen the packet.
            merge(
                &mut drop,
                &json!({"confidence": "inferred", "evidence": ["replay"]}),
            );
            for way in self.answer["ways"].as_array().into_iter().flatten() {
                wrong.extend(mismatches(&json!({ "drop": drop }), way));
            }
        }
        let told = |what: String| format!("explain in {}: {what}: {}", self.explain.node, self.answer);
        wrong.into_iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(file: &str, answer: Value) -> Answered {
        let mut explain: Explain = toml::from_str(file).expect("an explanation");
        explain.drop = json!({"chain": "forward", "rule": {"number": 2}, "confidence": "exact"});
        Answered { explain, answer }
    }

    #[test]
    fn every_way_must_end_at_the_killer() {
        let drop = |number: u64| {
            let rule = json!({ "number": number });
            json!({"drop": {"chain": "forward", "rule": rule, "confidence": "inferred", "evidence": ["replay"]}})
        };
        let answer = |ways: &[u64]| {
            let ways: Vec<_> = ways.iter().map(|number| drop(*number)).collect();
            json!({"schema": "observer.explain/v1", "verdict": "drop", "ways": ways})
        };
        let file = "node = 'router'\nkiller = 'native 1'";
        assert_eq!(answered(file, answer(&[2, 2])).judge(), Vec::<String>::new());
        assert_eq!(answered(file, answer(&[2, 3])).judge().len(), 1);
        let passes =
            json!({"schema": "observer.explain/v1", "verdict": "pass", "ways": [{"verdict": "pass"}]});
        assert_eq!(answered(file, passes.clone()).judge().len(), 2);
        let lives = "node = 'router'\nanswer.verdict = 'pass'";
        assert_eq!(answered(lives, passes).judge(), Vec::<String>::new());
        let recorded = "node = 'router'\nkiller = 'native 1'\nrecorded = true";
        assert_eq!(
            answered(recorded, answer(&[2])).judge().len(),
            1,
            "nothing is recorded"
        );
    }

    #[test]
    fn a_killer_has_a_list_and_a_number() {
        let of = |killer: &str| {
            let explain: Explain =
                toml::from_str(&format!("node = 'a'\nkiller = '{killer}'")).expect("an explanation");
            explain
                .killer()
                .map(|found| found.map(|(list, index)| (list.to_owned(), index)))
        };
        assert_eq!(
            of("culprit 2").expect("a killer"),
            Some(("culprit".to_owned(), 1))
        );
        assert_eq!(of("native").expect("a killer"), Some(("native".to_owned(), 0)));
        assert!(of("native 0").is_err() && of("rule 1").is_err());
    }
}
