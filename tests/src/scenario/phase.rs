//! A phase: counters before, steps, counters after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::culprit::{Book, Scene, book, packets, whereabouts};
use super::explain::Answered;
use super::path::Traces;
use super::spec::{Phase, Probes};
use super::step::{Stage, Step};
use crate::cluster::Cluster;
use crate::cluster::rules::{Counters, counters};
use crate::kernel::stats;
use crate::matching::matches;
use crate::observer::read_lines;

/// How long the lab waits, after all that is expected has come, for what must not come.
const SETTLE: Duration = Duration::from_millis(50);
/// Rules that were changed while observer watches are known to it after so long (docs/limitations.md, "moments of change").
const READING: Duration = Duration::from_millis(500);

/// The kernel's counters at one moment.
pub(super) struct Snapshot {
    pub(super) rules: BTreeMap<Book, Counters>,
    pub(super) truths: Vec<u64>,
}

/// What happened in a phase.
pub(super) struct Record {
    pub(super) phase: Phase,
    pub(super) before: Snapshot,
    pub(super) after: Snapshot,
    /// What the kernel's trace said while the steps were taken.
    pub(super) traces: Traces,
    /// What observer answered to each question.
    pub(super) answered: Vec<Answered>,
    /// The line count when the phase began, its set-up included.
    pub(super) begin: usize,
    /// The line count when its counters were read.
    pub(super) first_line: usize,
}

/// Goes through a phase.
pub(super) fn go(stage: &mut Stage, phase: &Phase) -> Result<Record> {
    let begin = read_lines(stage.trace)?.len();
    for step in &phase.setup {
        step.perform(stage)?;
    }
    if stage.observed && phase.setup.iter().any(Step::changes_rules) {
        std::thread::sleep(READING);
    }
    let phase = &here(stage, phase)?;
    let first_line = read_lines(stage.trace)?.len();
    stage.watch.lap("set-up");
    stage.traces()?;
    let before = snapshot(&stage.cluster, phase)?;
    stage.watch.lap("count");
    for step in &phase.step {
        step.perform(stage)?;
    }
    stage.watch.lap("steps");
    let begun = Instant::now();
    while stage.observed && !all_there(stage, phase, first_line)? && begun.elapsed() < stage.patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.watch.lap("lines");
    std::thread::sleep(SETTLE);
    stage.watch.lap("settle");
    let mut after = snapshot(&stage.cluster, phase)?;
    while !truths_hold(phase, &before, &after) && begun.elapsed() < stage.patience {
        std::thread::sleep(Duration::from_millis(100));
        after = snapshot(&stage.cluster, phase)?;
    }
    let traces = stage.traces()?;
    let answered = explained(stage, phase, &after)?;
    stage.watch.lap("count");
    Ok(Record {
        phase: phase.clone(),
        before,
        after,
        traces,
        answered,
        begin,
        first_line,
    })
}

/// Asks observer, if there is one.
fn explained(stage: &Stage, phase: &Phase, counted: &Snapshot) -> Result<Vec<Answered>> {
    let Some(program) = stage.program else {
        return Ok(Vec::new());
    };
    let scene = Scene::of(&stage.cluster)?;
    let questions = phase.explain.iter();
    let answered = questions
        .map(|one| one.ask(&scene, stage, (phase, counted), program))
        .collect::<Result<_>>()?;
    stage.watch.lap("explain");
    Ok(answered)
}

/// What of a phase concerns this kernel, with the rules of native nftables as they stand.
fn here(stage: &Stage, phase: &Phase) -> Result<Phase> {
    let mut phase = phase.clone();
    let concerns = |when: &Option<Probes>| when.is_none_or(Probes::is_here);
    phase.culprit.retain(|one| concerns(&one.when));
    phase.expect.retain(|one| concerns(&one.when));
    phase.forbid.retain(|one| concerns(&one.when));
    // Without an observer the kernel's trace alone is looked at, and that tells of paths everywhere.
    if stage.observed {
        phase.path.retain(|_| Probes::Path.is_here());
    }
    let scene = Scene::of(&stage.cluster)?;
    let natives = phase.clone();
    for explain in &mut phase.explain {
        explain.introduce(&scene, stage, &natives)?;
    }
    for native in std::mem::take(&mut phase.native) {
        let netns = stage.cluster.node(&native.node)?;
        phase.expect.push(native.expect(&scene, netns)?);
    }
    Ok(phase)
}

fn snapshot(cluster: &Cluster, phase: &Phase) -> Result<Snapshot> {
    let setup = cluster.setup();
    let mut rules = BTreeMap::new();
    let books: BTreeSet<Book> = phase.culprit.iter().map(book).collect();
    for (node, backend) in books {
        let backend_or_run = backend.unwrap_or(setup.backend);
        let counted = counters(cluster.node(&node)?, backend_or_run, setup.family)?;
        rules.insert((node, backend), counted);
    }
    let read = |node: &str, counter: &str| stats::read(cluster.node(node)?, counter);
    let truths = phase
        .truth
        .iter()
        .map(|truth| read(&truth.node, &truth.counter))
        .collect::<Result<_>>()?;
    Ok(Snapshot { rules, truths })
}

fn truths_hold(phase: &Phase, before: &Snapshot, after: &Snapshot) -> bool {
    let deltas = after
        .truths
        .iter()
        .zip(&before.truths)
        .map(|(after, before)| after.saturating_sub(*before));
    phase
        .truth
        .iter()
        .zip(deltas)
        .all(|(truth, delta)| truth.packets.allows(delta))
}

fn all_there(stage: &Stage, phase: &Phase, first_line: usize) -> Result<bool> {
    let lines = read_lines(stage.trace)?;
    let lines = lines.get(first_line..).unwrap_or_default();
    let scene = Scene::of(&stage.cluster)?;
    let enough = |pattern: &Value, least: u64| {
        lines.iter().filter(|line| matches(pattern, line)).count() as u64 >= least
    };
    for culprit in phase.culprit.iter().filter(|culprit| culprit.reported) {
        let pattern = whereabouts(&scene, culprit)?;
        let told = lines.iter().filter(|line| matches(&pattern, line)).map(packets);
        if told.sum::<u64>() < culprit.packets.least() {
            return Ok(false);
        }
    }
    for path in &phase.path {
        let found = lines.iter().filter(|line| path.is_about(line)).count() as u64;
        if found < path.count.least() {
            return Ok(false);
        }
    }
    Ok(phase
        .expect
        .iter()
        .all(|expect| enough(&expect.line, expect.count.least())))
}
