//! The package for Debian: installed by dpkg, run by hand and as a service that nobody had enabled, removed and purged, after which
//! nothing of it is left. Only where systemd is the first program, on files that are kept in memory.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::super::run::{Lab, Place};
use super::{INSTALLED, PROGRAM as BY_HAND, TICK, is_named, is_whole, of_kind, of_port, show, systemctl};
use crate::cluster::Cluster;
use crate::exec;
use crate::results::Outcome;
use crate::traffic::{self, Udp};

const PROGRAM: &str = "/usr/sbin/observer";
/// Where what is written to these directories goes: of the first two the virtual machine says so (`cargo xtask vm --systemd`).
const WRITTEN: [(&str, &str); 3] = [
    ("/etc", "/run/above/etc"),
    ("/var", "/run/above/var"),
    ("/usr", "/run/above-usr/upper"),
];

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let (Some(_), Some(package)) = (&lab.observer, &lab.package) else {
        return Ok(Outcome::Skipped("no package was given".into()));
    };
    if fs::read_to_string("/proc/1/comm").unwrap_or_default().trim() != "systemd" {
        return Ok(Outcome::Skipped("systemd has not started this machine".into()));
    }
    without_what_was_installed_by_hand()?;
    let _usr = Overlay::over_usr()?;
    let before = files()?;

    // Manual pages of the whole machine would be looked through: minutes, emulated.
    dpkg(&["--no-triggers", "--install", &package.to_string_lossy()])?;
    let mut failures = installed()?;
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    cluster.restore("router", "*filter\n-A FORWARD -p udp -m udp --dport 7 -j ACCEPT\n-A FORWARD -p udp -m udp --dport 8 -m comment --comment \"no port 8\" -j DROP\nCOMMIT\n", true)?;
    systemctl(&["enable", "--now", "observer"])?;
    let start = show("InvocationID")?;
    failures.extend(told(lab, &cluster, &start)?);

    dpkg(&["--no-triggers", "--remove", "observer"])?;
    wait_for(lab, &start, "its summary", |lines| of_kind(lines, "summary") > 0)?;
    if Path::new(PROGRAM).exists() {
        failures.push(format!("{PROGRAM} is there after the package was removed"));
    }
    dpkg(&["--no-triggers", "--purge", "observer"])?;
    failures.extend(left(&before)?);
    Ok(Outcome::of(failures))
}

/// The scenario before this one installed it so, and left it to the end of the machine.
fn without_what_was_installed_by_hand() -> Result<()> {
    if Path::new(INSTALLED).exists() {
        systemctl(&["disable", "--now", "observer"])?;
        for file in [INSTALLED, BY_HAND] {
            fs::remove_file(file).with_context(|| format!("cannot remove {file}"))?;
        }
        systemctl(&["daemon-reload"])?;
    }
    Ok(())
}

/// `/usr`, which the machine shares with another, with a layer in memory above it.
struct Overlay;

impl Overlay {
    fn over_usr() -> Result<Self> {
        let (upper, work) = ("/run/above-usr/upper", "/run/above-usr/work");
        for dir in [upper, work] {
            fs::create_dir_all(dir)?;
        }
        let options = format!("xino=off,lowerdir=/usr,upperdir={upper},workdir={work}");
        exec::run(
            None,
            "mount",
            &["-t", "overlay", "-o", &options, "usr", "/usr"],
            "",
        )?;
        // The other machine may be a container, whose packages must start and stop nothing; this one is none.
        exec::run(None, "rm", &["--force", "/usr/sbin/policy-rc.d"], "")?;
        Ok(Self)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Programs that were started meanwhile are of it.
        let _ = exec::run(None, "umount", &["--lazy", "/usr"], "");
    }
}

fn dpkg(words: &[&str]) -> Result<()> {
    exec::run(None, "dpkg", words, "").map(drop)
}

/// What has been written anywhere, directories apart.
fn files() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (dir, upper) in WRITTEN {
        let list = exec::run(None, "find", &[upper, "!", "-type", "d"], "")?;
        let lines = list.lines().filter_map(|line| line.strip_prefix(upper));
        found.extend(lines.map(|line| format!("{dir}{line}")));
    }
    found.sort();
    Ok(found)
}

/// It is whole, answers, and is neither enabled nor started.
fn installed() -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let verified = exec::run(None, "dpkg", &["--verify", "observer"], "")?;
    if !verified.trim().is_empty() {
        failures.push(format!(
            "dpkg finds other files than it was given: {}",
            verified.trim()
        ));
    }
    let checked = exec::output(None, PROGRAM, &["check"], "")?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    if !checked.status.success() || !said.contains("lockdown") {
        failures.push(format!(
            "`observer check` of the package: {}",
            said.escape_debug()
        ));
    }
    let page = exec::output(None, "gzip", &["-t", "/usr/share/man/man8/observer.8.gz"], "")?;
    if !page.status.success() {
        failures.push("the manual page is not there".to_owned());
    }
    for (property, expected) in [
        ("LoadState", "loaded"),
        ("UnitFileState", "disabled"),
        ("ActiveState", "inactive"),
    ] {
        let is = show(property)?;
        if is != expected {
            failures.push(format!("once installed, {property} is {is}, not {expected}"));
        }
    }
    Ok(failures)
}

/// A drop, named exactly and with its text, by the program that the package brought.
fn told(lab: &Lab, cluster: &Cluster, start: &str) -> Result<Vec<String>> {
    wait_for(lab, start, "it to start", |lines| of_kind(lines, "start") > 0)?;
    let pid = show("MainPID")?;
    let runs = fs::read_link(format!("/proc/{pid}/exe")).context("observer is gone")?;
    if runs != Path::new(PROGRAM) {
        return Ok(vec![format!("{} runs, not {PROGRAM}", runs.display())]);
    }
    let begun = Instant::now();
    for count in 1.. {
        let udp: Udp = serde_json::from_value(
            json!({"from": "client", "to": "10.77.2.2", "port": 8, "count": 1, "outcome": ["silence"]}),
        )?;
        traffic::send(cluster.node("client")?, &udp)?;
        let lines = wait_for(lab, start, "its drops", |lines| {
            of_port(lines, 8).count() >= count
        })?;
        if of_port(&lines, 8).any(|line| is_named(line, 8) && is_whole(line)) {
            return Ok(Vec::new());
        }
        if begun.elapsed() > lab.patience {
            let last = of_port(&lines, 8).last();
            return Ok(vec![format!(
                "no drop was told exactly and with its text; the last is {last:?}"
            )]);
        }
    }
    Ok(Vec::new())
}

/// What is there that was not before, but for dpkg's own books, and what it is called in them.
fn left(before: &[String]) -> Result<Vec<String>> {
    let mut failures: Vec<String> = files()?
        .into_iter()
        .filter(|file| !before.contains(file) && (file.starts_with("/usr/") || file.contains("observer")))
        .map(|file| format!("{file} is left after the package was purged"))
        .collect();
    let known = exec::output(None, "dpkg-query", &["--show", "observer"], "")?;
    if known.status.success() {
        failures.push("dpkg still knows the package".to_owned());
    }
    let state = show("LoadState")?;
    if state != "not-found" {
        failures.push(format!(
            "after the package was purged, systemd's LoadState is {state}"
        ));
    }
    Ok(failures)
}

/// What the journal has of this start of the service, and of no other.
fn wait_for(lab: &Lab, start: &str, what: &str, is_there: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    let of_this_start = format!("_SYSTEMD_INVOCATION_ID={start}");
    let words = ["--output=cat", "--all", "--no-pager", "--quiet", &of_this_start];
    let begun = Instant::now();
    loop {
        let text = exec::run(None, "journalctl", &words, "")?;
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if is_there(&lines) {
            return Ok(lines);
        }
        if begun.elapsed() > lab.patience * 3 {
            bail!(
                "the journal has not {what} in {} s: {}",
                begun.elapsed().as_secs(),
                text.escape_debug()
            );
        }
        std::thread::sleep(TICK);
    }
}
