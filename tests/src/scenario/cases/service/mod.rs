//! observer as an administrator runs it: installed, enabled and started by a systemd that has started the machine; read in the
//! journal; stopped. Only where systemd is the first program.

mod package;
mod sandbox;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::check;
use super::super::run::{Lab, Place};
use super::killed;
use crate::cluster::{Cluster, rules};
use crate::exec;
use crate::matching::matches;
use crate::results::Outcome;
use crate::rights::{self, Watched};
use crate::traffic::{self, Udp};

pub(super) use package::{run_deb as from_a_package, run_rpm as from_a_package_of_rpm};

const UNIT: &str = "observer/systemd/observer.service";
/// Where the unit says that observer is, and where an administrator puts the unit.
const PROGRAM: &str = "/usr/local/sbin/observer";
const INSTALLED: &str = "/etc/systemd/system/observer.service";
/// How often the journal is read.
const TICK: Duration = Duration::from_millis(300);

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    if fs::read_to_string("/proc/1/comm").unwrap_or_default().trim() != "systemd" {
        return Ok(Outcome::Skipped("systemd has not started this machine".into()));
    }
    install(program)?;
    systemctl(&["enable", "observer"])?;
    let mut failures = enabled()?;
    let before = held()?;

    // Before any namespace has a name, as on a machine that is just starting: what is mounted later must come to be seen.
    systemctl(&["start", "observer"])?;
    wait_for(lab, "it to start", |lines| of_kind(lines, "start") > 0)?;
    let pid = show("MainPID")?.parse().context("MainPID")?;
    failures.extend(rights::failures(pid, Watched::Packets, lab.patience)?);
    failures.extend(sandbox::failures(pid)?);
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let sent = drop_some(lab, &cluster)?;
    failures.extend(rights::failures(pid, Watched::Packets, lab.patience)?);
    if held()?.is_subset(&before) {
        failures.push("observer showed no BPF object while it ran: nothing was tested".to_owned());
    }

    systemctl(&["stop", "observer"])?;
    let lines = wait_for(lab, "its summary", |lines| of_kind(lines, "summary") > 0)?;
    failures.extend(ended()?);
    failures.extend(told(lab, &cluster, &lines, &sent)?);
    failures.extend(killed::changed(lab, &before, held)?);
    Ok(Outcome::of(failures))
}

/// Packets that a rule, a policy, and a rule of nft without a counter drop: each until it is named exactly and in full. For the last the probes come
/// on when the first of them has died; the tables are new, too. Returns how many were sent to each port.
fn drop_some(lab: &Lab, cluster: &Cluster) -> Result<[(u16, u64); 3]> {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p udp -m udp --dport 7 -j ACCEPT\n\
                -A FORWARD -p udp -m udp --dport 8 -m comment --comment \"no port 8\" -j DROP\nCOMMIT\n";
    cluster.restore("router", text, true)?;
    let native = "table inet lab { chain in { type filter hook input priority 0; udp dport 7 drop; }; }";
    exec::run(Some(cluster.node("server")?), "nft", &["-f", "-"], native)?;
    let mut sent = [(8, 0), (9, 0), (7, 0)];
    for (port, count) in &mut sent {
        *count = send_until_named(lab, cluster, *port)?;
    }
    Ok(sent)
}

fn send_until_named(lab: &Lab, cluster: &Cluster, port: u16) -> Result<u64> {
    let begun = Instant::now();
    for count in 1.. {
        let udp: Udp = serde_json::from_value(
            json!({"from": "client", "to": "10.77.2.2", "port": port, "count": 1, "outcome": ["silence"]}),
        )?;
        traffic::send(cluster.node("client")?, &udp)?;
        let told = wait_for(lab, "its drops", |lines| {
            of_port(lines, port).count() as u64 >= count
        })?;
        if of_port(&told, port).any(|line| is_named(line, port) && is_whole(line)) {
            return Ok(count);
        }
        if begun.elapsed() > lab.patience {
            let last = of_port(&told, port).last();
            bail!("no drop at port {port} was told exactly and with its text; the last is {last:?}");
        }
    }
    Ok(0)
}

fn of_port(lines: &[Value], port: u16) -> impl Iterator<Item = &Value> {
    lines
        .iter()
        .filter(move |line| line["kind"] == "drop" && line["packet"]["dport"] == port)
}

/// Whether the rule or policy is told that drops what goes to a port. The text may come later than the name.
fn is_named(line: &Value, port: u16) -> bool {
    let pattern = match port {
        7 => json!({"chain": "in", "rule": {"text": {"absent_or": {"contains": "udp dport 7 drop"}}}}),
        8 => json!({"chain": "FORWARD", "rule": {"number": 2, "comment": "no port 8"}}),
        _ => json!({"chain": "FORWARD", "cause": "policy"}),
    };
    matches(&json!({ "drop": pattern }), line)
}

/// As it is named once everything is read.
fn is_whole(line: &Value) -> bool {
    let drop = &line["drop"];
    drop["confidence"] == "exact" && (drop["cause"] == "policy" || drop["rule"]["text"].is_string())
}

/// What observer could leave behind, without the filters that systemd keeps for units that it knows, running or not.
fn held() -> Result<BTreeSet<String>> {
    let mut found = killed::of_the_kernel(Path::new(PROGRAM))?;
    found.retain(|one| !one.contains("\"sd_"));
    Ok(found)
}

/// As the unit's own first lines say.
fn install(program: &Path) -> Result<()> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(UNIT);
    for (mode, from, to) in [("755", program, PROGRAM), ("644", &unit, INSTALLED)] {
        exec::run(None, "install", &["-m", mode, &from.to_string_lossy(), to], "")?;
    }
    systemctl(&["daemon-reload"])
}

fn systemctl(words: &[&str]) -> Result<()> {
    exec::run(None, "systemctl", words, "").map(drop)
}

/// A property of the service.
fn show(property: &str) -> Result<String> {
    let text = exec::run(
        None,
        "systemctl",
        &["show", "--value", "-p", property, "observer"],
        "",
    )?;
    Ok(text.trim().to_owned())
}

/// Whether it is started with the machine.
fn enabled() -> Result<Vec<String>> {
    let state = show("UnitFileState")?;
    Ok(match state.as_str() {
        "enabled" => vec![],
        other => vec![format!("enabled, the unit is {other:?}")],
    })
}

/// What it wrote so far, as the journal has it. One that is no line of a trace is an error.
fn journal() -> Result<Vec<Value>> {
    let of_observer = [
        "--output=cat",
        "--all",
        "--no-pager",
        "--quiet",
        "_SYSTEMD_UNIT=observer.service",
    ];
    let text = exec::run(None, "journalctl", &of_observer, "")?;
    let line = |line: &str| match serde_json::from_str(line) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => bail!(
            "the journal has a line that is none of a trace: {}",
            line.escape_debug()
        ),
    };
    text.lines().map(line).collect()
}

fn of_kind(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["kind"] == kind).count()
}

/// Waits until the journal has it; returns all lines.
fn wait_for(lab: &Lab, what: &str, is_there: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    let begun = Instant::now();
    loop {
        let lines = journal()?;
        if is_there(&lines) {
            return Ok(lines);
        }
        if begun.elapsed() > lab.patience * 3 {
            let status = exec::output(None, "systemctl", &["status", "--no-pager", "observer"], "")?;
            bail!(
                "the journal has not {what} in {} s: {}",
                begun.elapsed().as_secs(),
                String::from_utf8_lossy(&status.stdout).escape_debug()
            );
        }
        std::thread::sleep(TICK);
    }
}

/// How it ended, by what systemd wrote of it: SD_MESSAGE_UNIT_SUCCESS (systemd/sd-messages.h).
fn ended() -> Result<Vec<String>> {
    let success = "MESSAGE_ID=7ad2d189f7e94e70a38c781354912448";
    let words = ["--output=cat", "--no-pager", "--quiet", "UNIT=observer.service"];
    let all = exec::run(None, "journalctl", &words, "")?;
    let said = exec::run(None, "journalctl", &[&words[..], &[success]].concat(), "")?;
    Ok(match said.lines().count() {
        1 => vec![],
        count => vec![format!(
            "systemd says {count} times that it ended well: {}",
            all.escape_debug()
        )],
    })
}

/// What the journal must have: each packet, by its rule or policy or none, in the namespace's name; and totals that add up.
fn told(lab: &Lab, cluster: &Cluster, lines: &[Value], sent: &[(u16, u64)]) -> Result<Vec<String>> {
    let setup = cluster.setup();
    let counters = rules::counters(cluster.node("router")?, setup.backend, setup.family)?;
    let mut failures = Vec::new();
    for (port, sent) in sent {
        // The rule of nft has no counter.
        let rule = [(8, Some(2)), (9, None)].into_iter().find(|(of, _)| of == port);
        let counted = rule.map_or(*sent, |(_, rule)| {
            let found = counters
                .iter()
                .find(|(place, _)| place.chain == "FORWARD" && place.rule == rule);
            found.map_or(0, |(_, counted)| counted.packets)
        });
        let found = of_port(lines, *port).count() as u64;
        if counted != *sent || found != counted {
            failures.push(format!(
                "{sent} packets were sent to port {port}, the kernel counted {counted}, the journal has {found}"
            ));
        }
        let wrong = of_port(lines, *port)
            .find(|line| line["drop"]["confidence"] != "unknown" && !is_named(line, *port));
        failures.extend(wrong.map(|line| format!("what dropped this has another name: {line}")));
        let nameless = of_port(lines, *port).find(|line| {
            let name = line["netns"]["name"].as_str();
            !name.is_some_and(|name| name.starts_with(&setup.prefix))
        });
        failures.extend(nameless.map(|line| format!("the namespace has no name: {line}")));
    }
    let none = Value::Null;
    let last = lines.last().unwrap_or(&none);
    if last["kind"] != "summary" {
        failures.push(format!("the last line of the journal is no summary: {last}"));
    }
    failures.extend(check::totals(lines, last));
    failures.extend(
        lines
            .iter()
            .filter_map(|line| check::against_schema(line, lab.schema.as_ref())),
    );
    Ok(failures)
}
