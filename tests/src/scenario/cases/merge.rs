//! Two nodes watched apart, each by an observer that sees nothing of the other: merged, their traces tell the packet's whole way.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::run::{Lab, Place};
use crate::cage::Cage;
use crate::cluster::Cluster;
use crate::kernel::probes;
use crate::observer::{self, Invocation, Observer, read_lines};
use crate::results::Outcome;
use crate::traffic::{self, Http};

/// The hosts' names are the nodes', as they would be.
const WITH_NAME: &str = "hostname \"$1\" && shift && exec \"$@\"";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    if !probes::path() {
        return Ok(Outcome::Skipped("paths cannot be observed here".into()));
    }
    let cluster = Cluster::up(&lab.data, "seed", &place.setup(), &lab.run)?;
    // One endpoint only: the pod on node02.
    cluster.restore("master", "*nat\n-D KUBE-SVC-PIU4JA5FNNNHNOAJ 2\nCOMMIT\n", false)?;
    let mut watchers = Vec::new();
    for node in ["master", "node02"] {
        watchers.push(watch(lab, place, &cluster, program, node)?);
    }
    let http: Http = serde_json::from_value(
        json!({"from": "master", "to": cluster.names().fill("{{cluster-ip}}")?, "timeout_ms": 800, "outcome": ["silence"]}),
    )?;
    traffic::send(cluster.node("master")?, &http)?;
    let mut traces = Vec::new();
    for mut watcher in watchers {
        watcher.signal(Signal::SIGINT)?;
        let code = observer::code(watcher.wait(lab.patience * 2)?);
        if code != 0 {
            bail!("observer ended with {code}: {}", watcher.stderr());
        }
        // Kept with `--keep`.
        let trace = place.work.join(format!("trace-{}", traces.len() + 1));
        std::fs::copy(watcher.stdout_path(), &trace)?;
        traces.push(trace.display().to_string());
    }

    let output = Command::new(program)
        // A busy guest takes its time between the two nodes.
        .args(["merge", "-o", "json", "--window", "5s"])
        .args(&traces)
        .output()
        .context("cannot run observer merge")?;
    let merged = place.work.join("merged");
    std::fs::write(&merged, &output.stdout)?;
    let lines = read_lines(&merged)?;
    let mut failures = Vec::new();
    judge(&lines, &mut failures);
    if let Some(schema) = &lab.schema {
        failures.extend(lines.iter().filter_map(|line| schema.complaint(line)));
    }
    if !failures.is_empty() {
        failures.push(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    report(program, &traces, &lines, &mut failures)?;
    Ok(Outcome::of(failures))
}

fn watch(lab: &Lab, place: &Place, cluster: &Cluster, program: &Path, node: &str) -> Result<Observer> {
    let directory = place.work.join(node);
    std::fs::create_dir_all(&directory)?;
    let netns = cluster.names().netns(node);
    let program = program.display().to_string();
    let pods = cluster.names().fill("{{pod-net}}")?;
    let args = [
        "-u", "sh", "-c", WITH_NAME, "sh", node, &program, "watch", "-o", "json", "--all", "--dst", &pods,
        "--netns", &netns,
    ]
    .map(str::to_owned);
    let how = Invocation {
        program: Path::new("unshare"),
        args: &args,
        cage: &Cage::default(),
        directory: &directory,
    };
    let mut observer = Observer::start(&how)?;
    observer.wait_for_start(&directory.join("stdout"), lab.patience * 3)?;
    Ok(observer)
}

fn judge(lines: &[Value], failures: &mut Vec<String>) {
    let drops: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "drop" && line["packet"]["dport"] == 80)
        .collect();
    if drops.is_empty() {
        failures.push("no drop of a request for the pod".to_owned());
    }
    for drop in drops {
        let way: Vec<String> = drop["path"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|stop| format!("{} {}", text(&stop["node"]), text(&stop["hook"])))
            .collect();
        let mut stops = way.clone();
        stops.dedup();
        let wanted = [
            "master OUTPUT",
            "master POSTROUTING",
            "node02 PREROUTING",
            "node02 FORWARD",
        ];
        let mut rest = stops.iter();
        if !wanted.iter().all(|stop| rest.any(|one| one == stop)) {
            failures.push(format!("the way is {way:?}"));
        }
        let changes = drop["path"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|stop| stop["changes"].as_array().into_iter().flatten());
        if !changes.into_iter().any(|change| change["kind"] == "dnat") {
            failures.push(format!(
                "it was translated on master, which the way does not tell: {drop}"
            ));
        }
        if drop["node"] != "node02" || drop["drop"]["policy"] != "DROP" {
            failures.push(format!("it died of node02's policy, which is not told: {drop}"));
        }
    }
    let alive = lines.iter().any(|line| {
        line["kind"] == "path" && line["packet"]["dport"] == 80 && line["packet"]["proto"] == "tcp"
    });
    if alive {
        failures.push("a packet that died on node02 is told as one that lives".to_owned());
    }
}

/// What the report adds up is what the traces have.
fn report(program: &Path, traces: &[String], lines: &[Value], failures: &mut Vec<String>) -> Result<()> {
    let output = Command::new(program)
        .args(["report", "-o", "json"])
        .args(traces)
        .output()
        .context("cannot run observer report")?;
    let report: Value = serde_json::from_slice(&output.stdout).context("the report is no JSON")?;
    let drops = lines.iter().filter(|line| line["kind"] == "drop").count();
    if report["drops"] != drops || report["nodes"] != json!(["master", "node02"]) {
        failures.push(format!("{drops} drops, and the report is {report}"));
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
