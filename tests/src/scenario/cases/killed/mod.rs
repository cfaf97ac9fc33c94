//! `kill -9` in the middle of its work: no program, map, link, namespace or rule is left behind.

mod stages;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;

use super::super::run::{Lab, Place};
use crate::cage::Cage;
use crate::cluster::{Cluster, rules};
use crate::exec;
use crate::kernel::{held, probes};
use crate::netns::NAMES_DIR;
use crate::observer::{Invocation, Observer};
use crate::results::Outcome;
use crate::traffic::{self, Udp};

pub(super) use stages::run as at_every_stage_of_paths;

/// How many times it is killed on its way up, and down.
const STAGES: u32 = 20;
/// How often the lab looks whether all of it is gone.
const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    kill(lab, place, &[])
}

pub(super) fn with_drops(lab: &Lab, place: &Place) -> Result<Outcome> {
    kill(lab, place, &["--probes", "drops"])
}

/// With every probe attached and packets going by.
pub(super) fn with_paths(lab: &Lab, place: &Place) -> Result<Outcome> {
    if !probes::path() {
        return Ok(Outcome::Skipped(
            "this kernel lets no program observe paths".into(),
        ));
    }
    kill(lab, place, &["--probes", "path", "--all"])
}

fn dropping_router(lab: &Lab, place: &Place) -> Result<Cluster> {
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let text = cluster
        .names()
        .fill("*filter\n-A FORWARD -d {{server}} -j DROP\nCOMMIT\n")?;
    cluster.restore("router", &text, true)?;
    Ok(cluster)
}

fn kill(lab: &Lab, place: &Place, more: &[&str]) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = dropping_router(lab, place)?;
    let before = belongings(&cluster, program)?;

    let args = ["watch", "-o", "json", "--dst", "10.0.0.0/8"].iter().chain(more);
    let args: Vec<String> = args.map(|word| (*word).to_owned()).collect();
    let mut observer = Observer::watch(
        program,
        &args,
        place.work,
        &place.work.join("stdout"),
        lab.patience * 3,
    )?;
    let udp: Udp =
        serde_json::from_value(json!({"from": "client", "to": "10.77.2.2", "port": 9, "count": 10}))?;
    traffic::send(cluster.node("client")?, &udp)?;
    let during = belongings(&cluster, program)?;
    observer.signal(Signal::SIGKILL)?;
    observer.wait(lab.patience)?;

    let mut failures = left_behind(lab, &cluster, program, &before)?;
    if during == before {
        failures.push("observer showed no BPF object while it ran: nothing was tested".to_owned());
    }
    Ok(Outcome::of(failures))
}

/// What is there that was not, and what is not that was.
pub(super) fn left_behind(
    lab: &Lab,
    cluster: &Cluster,
    program: &Path,
    before: &BTreeSet<String>,
) -> Result<Vec<String>> {
    changed(lab, before, || belongings(cluster, program))
}

/// The same of whatever is looked at.
pub(super) fn changed(
    lab: &Lab,
    before: &BTreeSet<String>,
    look: impl Fn() -> Result<BTreeSet<String>>,
) -> Result<Vec<String>> {
    // The kernel frees BPF objects after a grace period.
    let begun = Instant::now();
    let mut after = look()?;
    while !after.is_subset(before) && begun.elapsed() < lab.patience {
        std::thread::sleep(TICK);
        after = look()?;
    }
    let left: Vec<&String> = after.difference(before).collect();
    let gone: Vec<&String> = before
        .difference(&after)
        .filter(|one| !held::is_passing(one) && !one.starts_with("bpf"))
        .collect();
    let mut failures = Vec::new();
    if !left.is_empty() {
        failures.push(format!("left behind: {left:?}"));
    }
    if !gone.is_empty() {
        failures.push(format!("taken away: {gone:?}"));
    }
    Ok(failures)
}

/// Killed again and again, a little later each time: while it starts, and while it ends.
pub(super) fn at_every_stage(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = dropping_router(lab, place)?;
    let before = belongings(&cluster, program)?;
    let args = ["watch", "-o", "json", "--dst", "10.0.0.0/8"].map(str::to_owned);
    let how = Invocation {
        program,
        args: &args,
        cage: &Cage::default(),
        directory: place.work,
    };
    let trace = place.work.join("stdout");
    let begun = Instant::now();
    let mut observer = Observer::start(&how)?;
    observer.wait_for_start(&trace, lab.patience * 3)?;
    let start = begun.elapsed();
    let begun = Instant::now();
    observer.signal(Signal::SIGINT)?;
    observer.wait(lab.patience)?;
    let end = begun.elapsed();

    let mut held = 0;
    for stage in 0..STAGES {
        let mut observer = Observer::start(&how)?;
        std::thread::sleep(start * stage / STAGES);
        held += usize::from(belongings(&cluster, program)? != before);
        observer.signal(Signal::SIGKILL)?;
        observer.wait(lab.patience)?;
    }
    for stage in 0..STAGES {
        let mut observer = Observer::start(&how)?;
        observer.wait_for_start(&trace, lab.patience * 3)?;
        observer.signal(Signal::SIGINT)?;
        std::thread::sleep(end * stage / STAGES);
        // It may have ended by then.
        let _ = observer.signal(Signal::SIGKILL);
        observer.wait(lab.patience)?;
    }
    let mut failures = left_behind(lab, &cluster, program, &before)?;
    if held < STAGES as usize / 4 {
        failures.push(format!(
            "it held something of the kernel {held} times of {STAGES}: nothing was tested"
        ));
    }
    Ok(Outcome::of(failures))
}

/// Programs on perf events: kprobes. A kernel without them lists none.
fn perf_events() -> Vec<String> {
    let listed = exec::run(None, "bpftool", &["perf", "list"], "").unwrap_or_default();
    listed.lines().map(str::to_owned).collect()
}

/// Every process that runs the program: one could hold a namespace that has no name.
fn processes(program: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|process| std::fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program))
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What observer could leave behind, one string each.
pub(super) fn belongings(cluster: &Cluster, program: &Path) -> Result<BTreeSet<String>> {
    let mut found = of_the_kernel(program)?;
    for entry in std::fs::read_dir(NAMES_DIR)?.flatten() {
        found.insert(format!("netns {}", entry.file_name().to_string_lossy()));
    }
    let setup = cluster.setup();
    for (place, counted) in rules::counters(cluster.node("router")?, setup.backend, setup.family)? {
        found.insert(format!("rule {place}: {}", counted.text));
    }
    let tables = exec::run(Some(cluster.node("router")?), "nft", &["list", "tables"], "")?;
    found.extend(tables.lines().map(|table| format!("nft {table}")));
    Ok(found)
}

/// Of these what belongs to no namespace: BPF objects, probes, processes.
pub(super) fn of_the_kernel(program: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for kind in ["prog", "map"] {
        let list: Vec<serde_json::Value> =
            serde_json::from_str(&exec::run(None, "bpftool", &["-j", kind, "list"], "")?).unwrap_or_default();
        found.extend(
            list.iter()
                .map(|one| format!("bpf {kind} {} {}", one["id"], one["name"])),
        );
    }
    // bpftool 7.1 does not list those of every kernel.
    found.extend(held::links()?.into_iter().map(|id| format!("bpf link {id}")));
    found.extend(perf_events().into_iter().map(|event| format!("bpf perf {event}")));
    found.extend(processes(program).into_iter().map(|pid| format!("process {pid}")));
    Ok(found)
}
