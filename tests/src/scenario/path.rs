//! Paths: what a scenario says of a packet's way, held against observer's lines and against the kernel's own trace.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::culprit::Scene;
use super::spec::Count;
use crate::kernel::trace::{Run, Step};
use crate::matching::matches;

/// The way of some packets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathSpec {
    /// What their lines match, of kind `drop` or `path`.
    pub line: Value,
    /// How many lines.
    pub count: Count,
    /// Another record of the same packets that every rule on the way is compared with.
    pub truth: Option<Record>,
    /// Whether the packets pass no other table than those of `way`.
    #[serde(default)]
    pub only: bool,
    /// The stops of their way, in order. Others may lie between them.
    pub way: Vec<Stop>,
}

/// A record that the kernel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// `nftrace` and the TRACE target, in the nodes that the scenario names in `traced`.
    Trace,
}

/// A table, or a hook without one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Node and hook, `router FORWARD`.
    pub at: String,
    /// The device the hook was told it came in by.
    #[serde(rename = "in")]
    pub in_dev: Option<String>,
    /// The device it was to leave by.
    pub out: Option<String>,
    /// The table and its base chain, `filter FORWARD`; with the family, `inet lab forward`, of nf_tables.
    pub table: Option<String>,
    /// The rules, `FORWARD 2 > INNER 1 > FORWARD policy`.
    pub steps: Option<String>,
    /// How it left.
    pub verdict: Option<String>,
    /// What was changed: `dnat 10.0.0.1:80 > 10.0.0.2:8080`, `mark 0x0 > 0x4000`; with `*` at the end where the
    /// kernel draws a port by lot.
    #[serde(default)]
    pub changes: Vec<String>,
    /// What observer must say about it.
    pub note: Option<String>,
    /// The base chain's priority.
    pub priority: Option<i32>,
}

/// What the kernel's trace said, by node.
pub type Traces = BTreeMap<String, Vec<Run>>;

/// Judges the lines of a phase by what is said of paths.
pub(super) fn judge(
    scene: &Scene,
    specs: &[PathSpec],
    traces: &Traces,
    lines: &[Value],
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for spec in specs {
        let found: Vec<&Value> = lines.iter().filter(|line| spec.is_about(line)).collect();
        if !spec.count.allows(found.len() as u64) {
            let (many, wanted) = (found.len(), spec.count);
            failures.push(format!(
                "{many} paths of packets that match {}, expected {wanted}",
                spec.line
            ));
        }
        for line in found {
            let passed = passages(scene, line);
            let wrong = spec.differences(scene, &passed, true)?;
            failures.extend(wrong.into_iter().map(|one| format!("{one}\n  {line}")));
            if spec.truth.is_some() {
                let wrong = against_trace(traces, &passed, line);
                failures.extend(wrong.into_iter().map(|one| format!("{one}\n  {line}")));
            }
        }
    }
    Ok(failures)
}

/// Whether what is said of paths is so by the kernel's trace alone: what that tells, tables and rules, node by node.
pub(super) fn judge_kernel(scene: &Scene, specs: &[PathSpec], traces: &Traces) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for spec in specs.iter().filter(|spec| spec.truth.is_some()) {
        let mut right = 0;
        let mut nearest = None;
        for packet in packets(traces) {
            if !packet
                .iter()
                .any(|(_, run)| matches(&spec.line["packet"], &headers(run)))
            {
                continue;
            }
            let mut wrong = Vec::new();
            for node in traces.keys() {
                let of_node: Vec<Passed> = packet
                    .iter()
                    .filter(|(at, _)| *at == node)
                    .map(|(_, run)| Passed::of_run(node, run))
                    .collect();
                wrong.extend(spec.at_node(node).differences(scene, &of_node, false)?);
            }
            if wrong.is_empty() {
                right += 1;
            } else {
                nearest = Some(wrong.join("; "));
            }
        }
        if !spec.count.allows(right) {
            let nearest = nearest.unwrap_or_else(|| "no such packet was traced".to_owned());
            failures.push(format!(
                "by the kernel's trace {right} packets that match {} go this way, expected {}: {nearest}",
                spec.line, spec.count
            ));
        }
    }
    Ok(failures)
}

/// All that was traced, packet by packet.
fn packets(traces: &Traces) -> Vec<Vec<(&String, &Run)>> {
    let mut found: Vec<Vec<(&String, &Run)>> = Vec::new();
    for (node, run) in traces
        .iter()
        .flat_map(|(node, runs)| runs.iter().map(move |run| (node, run)))
    {
        match found
            .iter_mut()
            .find(|packet| packet[0].1.packet.same_packet(&run.packet))
        {
            Some(packet) => packet.push((node, run)),
            None => found.push(vec![(node, run)]),
        }
    }
    found
}

/// A traced packet's headers as a trace line has them.
fn headers(run: &Run) -> Value {
    let packet = &run.packet;
    let proto = match packet.proto {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        58 => "icmpv6",
        _ => "other",
    };
    let mut headers = json!({"proto": proto, "src": packet.src, "dst": packet.dst});
    if proto == "tcp" || proto == "udp" {
        headers["sport"] = json!(packet.sport);
        headers["dport"] = json!(packet.dport);
    }
    if proto == "tcp" {
        headers["tcp_flags"] = json!(packet.flag_names());
    }
    headers
}

/// A passage, as observer or the kernel tells of it.
#[derive(Debug, Default, PartialEq)]
struct Passed {
    node: String,
    hook: Option<String>,
    /// Backend, family, table and base chain.
    table: Option<[String; 4]>,
    steps: Vec<Step>,
    times: Vec<u64>,
    verdict: Option<String>,
    /// The whole element of observer's path.
    whole: Value,
}

impl Passed {
    fn of_run(node: &str, run: &Run) -> Self {
        Self {
            node: node.to_owned(),
            hook: run.hook.clone(),
            table: Some([run.backend, &run.family, &run.table, &run.chain].map(str::to_owned)),
            steps: run.steps.clone(),
            verdict: run.verdict.clone(),
            ..Self::default()
        }
    }

    fn steps(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        steps.join(" > ")
    }
}

impl std::fmt::Display for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.node, self.hook.as_deref().unwrap_or("?"))?;
        if let Some(table) = &self.table {
            write!(f, " {}", table.join(" "))?;
        }
        write!(f, ": {} {}", self.steps(), self.verdict.as_deref().unwrap_or(""))
    }
}

/// The elements of a line's path.
fn passages(scene: &Scene, line: &Value) -> Vec<Passed> {
    let elements = line["path"].as_array().map(Vec::as_slice).unwrap_or_default();
    elements.iter().map(|one| passage(scene, one)).collect()
}

fn passage(scene: &Scene, one: &Value) -> Passed {
    let word = |name: &str| one[name].as_str().map(str::to_owned);
    let inode = one["netns"]["inode"].as_u64();
    let node = scene
        .nodes
        .iter()
        .find(|(_, (number, _))| Some(*number) == inode)
        .map_or_else(|| "?".to_owned(), |(name, _)| name.clone());
    let table = || Some([word("backend")?, word("family")?, word("table")?, word("chain")?]);
    let mut passed = Passed {
        node,
        hook: word("hook"),
        table: table(),
        verdict: word("verdict"),
        whole: one.clone(),
        ..Passed::default()
    };
    for step in one["steps"].as_array().into_iter().flatten() {
        let read = Step {
            chain: step["chain"].as_str().unwrap_or("?").to_owned(),
            rule: step["rule"].as_u64().map(|rule| rule as u32),
            handle: step["handle"].as_u64(),
            policy: step["policy"].is_string(),
        };
        // The end of a chain is no rule; the kernel's traces tell of it or not, as it happens.
        if read.policy || read.rule.is_some() || read.handle.is_some() {
            passed.steps.push(read);
            passed.times.push(step["times"].as_u64().unwrap_or(1));
        }
    }
    passed
}

impl PathSpec {
    /// Whether a line is one that this is about.
    pub(super) fn is_about(&self, line: &Value) -> bool {
        (line["kind"] == "drop" || line["kind"] == "path") && matches(&self.line, line)
    }

    fn at_node(&self, node: &str) -> Self {
        let mut here = self.clone();
        here.way
            .retain(|stop| stop.at.split(' ').next() == Some(node) && stop.table.is_some());
        here
    }

    /// Where passages differ from the way. `whole`: they are observer's and tell all, not only tables and rules.
    fn differences(&self, scene: &Scene, passed: &[Passed], whole: bool) -> Result<Vec<String>> {
        let mut rest = passed.iter();
        let mut differences = Vec::new();
        let mut tables = 0;
        for stop in &self.way {
            tables += usize::from(stop.table.is_some());
            let mut before = rest.clone();
            let mut seen = Vec::new();
            loop {
                let Some(one) = rest.next() else {
                    rest = before.clone();
                    differences.push(format!(
                        "the way has no {stop:?}; it has {}",
                        shown(before.by_ref())
                    ));
                    break;
                };
                let wrong = stop.differences(scene, one, whole)?;
                if wrong.is_none() {
                    break;
                }
                seen.extend(wrong);
            }
        }
        let passed_tables = passed.iter().filter(|one| one.table.is_some()).count();
        if self.only && passed_tables != tables {
            differences.push(format!(
                "{passed_tables} tables were passed, not {tables}: {}",
                shown(passed.iter())
            ));
        }
        Ok(differences)
    }
}

fn shown<'a>(passed: impl Iterator<Item = &'a Passed>) -> String {
    let all: Vec<String> = passed.map(ToString::to_string).collect();
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join("; ")
    }
}

impl Stop {
    /// What about a passage is not as said here.
    fn differences(&self, scene: &Scene, one: &Passed, whole: bool) -> Result<Option<String>> {
        let Some((node, hook)) = self.at.split_once(' ') else {
            bail!("`{}` is no place: write node and hook", self.at)
        };
        let verdict = self.verdict.as_deref().filter(|_| whole || one.verdict.is_some());
        let checks = [
            one.node == node,
            one.hook.as_deref() == Some(hook),
            self.table_words(scene)?
                .is_none_or(|table| one.table.as_ref() == Some(&table)),
            self.steps.as_ref().is_none_or(|steps| *steps == one.steps()),
            verdict.is_none_or(|verdict| one.verdict.as_deref() == Some(verdict)),
            !whole || self.whole_fits(&one.whole),
        ];
        let names = [
            "node",
            "hook",
            "table",
            "steps",
            "verdict",
            "devices, changes, note or priority",
        ];
        let wrong = checks.iter().zip(names).find(|(right, _)| !**right);
        Ok(wrong.map(|(_, name)| name.to_owned()))
    }

    fn table_words(&self, scene: &Scene) -> Result<Option<[String; 4]>> {
        let Some(table) = &self.table else {
            return Ok(None);
        };
        let words: Vec<&str> = table.split(' ').collect();
        let setup = &scene.setup;
        Ok(Some(
            match words.as_slice() {
                [table, chain] => [setup.backend.machinery(), setup.family.word(), table, chain],
                [family, table, chain] => ["nft", family, table, chain],
                _ => bail!("`{table}` is no table: write `filter FORWARD` or `inet lab forward`"),
            }
            .map(str::to_owned),
        ))
    }

    fn whole_fits(&self, whole: &Value) -> bool {
        let is = |name: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| whole[name].as_str() == Some(wanted))
        };
        let changes: Vec<String> = whole["changes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|change| {
                let word = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
                format!("{} {} > {}", word("kind"), word("from"), word("to"))
            })
            .collect();
        let note = whole["note"].as_str().unwrap_or_default();
        is("in", &self.in_dev)
            && is("out", &self.out)
            && self
                .changes
                .iter()
                .all(|change| changes.iter().any(|one| is_change(change, one)))
            && self.note.as_ref().is_none_or(|part| note.contains(part))
            && self
                .priority
                .is_none_or(|priority| whole["priority"] == json!(priority))
    }
}

fn is_change(wanted: &str, change: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => change.starts_with(start),
        None => change == wanted,
    }
}

/// Every rule on the way, in order, as the kernel's trace has it: in each traced node, each backend by itself (that is
/// how the kernel tells of them). What a tunnel's outer packet passed cannot be told apart there and is left out.
fn against_trace(traces: &Traces, passed: &[Passed], line: &Value) -> Vec<String> {
    let mut failures = Vec::new();
    for (node, runs) in traces {
        for backend in ["legacy", "nft"] {
            let told: Vec<Passed> = runs
                .iter()
                .filter(|run| run.backend == backend && run.packet.is_of(line))
                .map(|run| Passed::of_run(node, run))
                .collect();
            let said: Vec<&Passed> = passed
                .iter()
                .filter(|one| one.node == *node && one.whole["outer"].is_null())
                .filter(|one| one.table.as_ref().is_some_and(|table| table[0] == backend))
                .filter(|one| {
                    one.table
                        .as_ref()
                        .is_some_and(|table| table[2] != crate::kernel::trace::LAB_TABLE)
                })
                .collect();
            let same =
                told.len() == said.len() && told.iter().zip(&said).all(|(told, said)| agree(told, said));
            if !same {
                failures.push(format!(
                    "the kernel's trace of {node}, {backend}, has\n    {}\n  and observer\n    {}",
                    shown(told.iter()),
                    shown(said.into_iter())
                ));
            }
        }
    }
    failures
}

/// Whether the kernel's trace and observer say the same of one run through a table.
fn agree(told: &Passed, said: &Passed) -> bool {
    let verdict = told.verdict.is_none() || said.verdict.is_none() || told.verdict == said.verdict;
    let hook = told.hook.is_none() || told.hook == said.hook;
    told.table == said.table && hook && verdict && expanded(told) == expanded(said)
}

/// Steps by what both sides know: the handle of a rule of nf_tables, the number of one of x_tables. A rule that was
/// matched several times stands where it was matched first.
fn expanded(passed: &Passed) -> Vec<(String, u64)> {
    let name = |step: &Step| {
        let rule = match (step.policy, step.handle, step.rule) {
            (true, _, _) => "policy".to_owned(),
            (_, Some(handle), _) => format!("handle {handle}"),
            (_, None, rule) => format!("rule {rule:?}"),
        };
        format!("{} {rule}", step.chain)
    };
    let mut found: Vec<(String, u64)> = Vec::new();
    for (at, step) in passed.steps.iter().enumerate() {
        let (name, times) = (name(step), passed.times.get(at).copied().unwrap_or(1));
        match found.iter_mut().find(|(one, _)| *one == name) {
            Some((_, count)) => *count += times,
            None => found.push((name, times)),
        }
    }
    found
}

#[cfg(test)]
mod tests;
