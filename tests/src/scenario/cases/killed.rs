//! `kill -9` in the middle of its work: no program, map, link, namespace or rule is left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::super::run::{Lab, Place};
use crate::cage::Cage;
use crate::cluster::{Cluster, rules};
use crate::exec;
use crate::netns::NAMES_DIR;
use crate::observer::{Invocation, Observer};
use crate::results::Outcome;

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let text = cluster
        .names()
        .fill("*filter\n-A FORWARD -d {{server}} -j DROP\nCOMMIT\n")?;
    cluster.restore("router", &text, true)?;
    let before = belongings(&cluster)?;

    let args = ["watch", "-o", "json", "--dst", "10.0.0.0/8"].map(str::to_owned);
    let how = Invocation {
        program,
        args: &args,
        cage: &Cage::default(),
        directory: place.work,
    };
    let mut observer = Observer::start(&how)?;
    observer.wait_for_start(&place.work.join("stdout"), lab.patience * 3)?;
    let during = belongings(&cluster)?;
    observer.signal(Signal::SIGKILL)?;
    observer.wait(lab.patience)?;

    // The kernel frees BPF objects after a grace period.
    let begun = Instant::now();
    let mut after = belongings(&cluster)?;
    while !after.is_subset(&before) && begun.elapsed() < lab.patience {
        std::thread::sleep(Duration::from_millis(200));
        after = belongings(&cluster)?;
    }
    let left: Vec<&String> = after.difference(&before).collect();
    let gone: Vec<&String> = before
        .difference(&after)
        .filter(|one| !one.starts_with("bpf"))
        .collect();
    let mut failures = Vec::new();
    if during == before {
        failures.push("observer showed no BPF object while it ran: nothing was tested".to_owned());
    }
    if !left.is_empty() {
        failures.push(format!("left behind: {left:?}"));
    }
    if !gone.is_empty() {
        failures.push(format!("taken away: {gone:?}"));
    }
    Ok(if failures.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(failures)
    })
}

/// What observer could leave behind, one string each.
fn belongings(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for kind in ["prog", "map", "link"] {
        let list: Vec<serde_json::Value> =
            serde_json::from_str(&exec::run(None, "bpftool", &["-j", kind, "list"], "")?).unwrap_or_default();
        found.extend(
            list.iter()
                .map(|one| format!("bpf {kind} {} {}", one["id"], one["name"])),
        );
    }
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
