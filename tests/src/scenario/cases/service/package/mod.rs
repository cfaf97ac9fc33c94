//! The packages: installed by dpkg or rpm, run by hand and as a service that nobody had enabled, upgraded, removed and purged, after
//! which nothing of them is left. Only where systemd is the first program, on files that are kept in memory.

mod deb;
mod layer;
mod rpm;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::super::run::{Lab, Place};
use super::{INSTALLED, PROGRAM as BY_HAND, TICK, is_named, is_whole, of_kind, of_port, show, systemctl};
use crate::cluster::Cluster;
use crate::exec;
use crate::results::Outcome;
use crate::traffic::{self, Udp};
use layer::Layer;

const PROGRAM: &str = "/usr/sbin/observer";
/// What every package brings besides, but for the completion for zsh.
const BROUGHT: [&str; 3] = [
    "/usr/share/man/man8/observer.8.gz",
    "/usr/share/bash-completion/completions/observer",
    "/usr/share/fish/vendor_completions.d/observer.fish",
];

/// What installs one kind of package.
trait Installer {
    /// How the file of a package ends.
    fn kind(&self) -> &'static str;
    /// Where its distributions have completions for zsh.
    fn zsh(&self) -> &'static str;
    fn install(&self, package: &Path) -> Result<()>;
    /// Installs it over the one that is there.
    fn upgrade(&self, package: &Path) -> Result<()>;
    /// What it finds of the package's files to be otherwise than they were.
    fn verify(&self) -> Result<String>;
    fn remove(&self) -> Result<()>;
    /// Forgets what is still known of a removed package.
    fn purge(&self) -> Result<()>;
    fn is_known(&self) -> Result<bool>;
}

pub(in super::super) fn run_deb(lab: &Lab, place: &Place) -> Result<Outcome> {
    run(lab, place, &deb::Dpkg)
}

pub(in super::super) fn run_rpm(lab: &Lab, place: &Place) -> Result<Outcome> {
    run(lab, place, &rpm::Rpm)
}

fn run(lab: &Lab, place: &Place, installer: &dyn Installer) -> Result<Outcome> {
    let kind = installer.kind();
    let is_of_kind = |file: &&PathBuf| file.extension().is_some_and(|end| end == kind);
    let (Some(_), Some(package)) = (&lab.observer, lab.packages.iter().find(is_of_kind)) else {
        return Ok(Outcome::Skipped(format!("no package was given, no .{kind}")));
    };
    if fs::read_to_string("/proc/1/comm").unwrap_or_default().trim() != "systemd" {
        return Ok(Outcome::Skipped("systemd has not started this machine".into()));
    }
    without_what_was_installed_by_hand()?;
    let layer = Layer::over_usr(kind)?;
    let before = layer.written()?;

    installer.install(package)?;
    let mut failures = installed(installer)?;
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    cluster.restore("router", "*filter\n-A FORWARD -p udp -m udp --dport 7 -j ACCEPT\n-A FORWARD -p udp -m udp --dport 8 -m comment --comment \"no port 8\" -j DROP\nCOMMIT\n", true)?;
    systemctl(&["enable", "--now", "observer"])?;
    let first = show("InvocationID")?;
    failures.extend(runs(lab, &first)?);
    failures.extend(told(lab, &cluster, &first)?);

    installer.upgrade(package)?;
    let second = show("InvocationID")?;
    failures.extend(upgraded(lab, &first, &second)?);

    installer.remove()?;
    failures.extend(removed(lab, &second)?);
    installer.purge()?;
    failures.extend(left(installer, &layer, &before)?);
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

/// It is whole, answers, and is neither enabled nor started.
fn installed(installer: &dyn Installer) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let verified = installer.verify()?;
    if !verified.trim().is_empty() {
        failures.push(format!(
            "installed, other files are found than were given: {}",
            verified.trim().escape_debug()
        ));
    }
    for (word, expected) in [("--version", env!("CARGO_PKG_VERSION")), ("check", "lockdown")] {
        let answer = exec::output(None, PROGRAM, &[word], "")?;
        let said = String::from_utf8_lossy(&answer.stdout);
        if !answer.status.success() || !said.contains(expected) {
            failures.push(format!(
                "`observer {word}` of the package: {}",
                said.escape_debug()
            ));
        }
    }
    let page = exec::output(None, "gzip", &["-t", BROUGHT[0]], "")?;
    if !page.status.success() {
        failures.push("the manual page is not there".to_owned());
    }
    for file in BROUGHT.into_iter().chain([installer.zsh()]) {
        if fs::metadata(file).map_or(0, |file| file.len()) == 0 {
            failures.push(format!("once installed, {file} is not there or empty"));
        }
    }
    failures.extend(states(
        "once installed",
        &[
            ("LoadState", "loaded"),
            ("UnitFileState", "disabled"),
            ("ActiveState", "inactive"),
        ],
    )?);
    Ok(failures)
}

/// All that a tool says that has nothing to say if everything is well.
fn complaints(program: &str, words: &[&str]) -> Result<String> {
    let answer = exec::output(None, program, words, "")?;
    let mut said = String::from_utf8_lossy(&answer.stdout).into_owned();
    if !answer.status.success() {
        said.push_str(&String::from_utf8_lossy(&answer.stderr));
    }
    Ok(said)
}

/// Which properties of the service are otherwise.
fn states(when: &str, expected: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for (property, expected) in expected {
        let is = show(property)?;
        if is != *expected {
            failures.push(format!("{when}, {property} is {is:?}, not {expected:?}"));
        }
    }
    Ok(failures)
}

/// It has started, and is the program that the package brought.
fn runs(lab: &Lab, start: &str) -> Result<Vec<String>> {
    wait_for(lab, start, "it to start", |lines| of_kind(lines, "start") > 0)?;
    let pid = show("MainPID")?;
    let runs = fs::read_link(format!("/proc/{pid}/exe")).context("observer is gone")?;
    Ok(if runs == Path::new(PROGRAM) {
        vec![]
    } else {
        vec![format!("{} runs, not {PROGRAM}", runs.display())]
    })
}

/// It runs anew, from the new file, and is still started with the machine.
fn upgraded(lab: &Lab, first: &str, second: &str) -> Result<Vec<String>> {
    let mut failures = states(
        "after an upgrade",
        &[("UnitFileState", "enabled"), ("ActiveState", "active")],
    )?;
    if second == first {
        failures.push("an upgrade did not restart the service".to_owned());
    }
    failures.extend(runs(lab, second)?);
    Ok(failures)
}

/// It has ended as it does when it is asked to, and the program is gone.
fn removed(lab: &Lab, start: &str) -> Result<Vec<String>> {
    let mut failures = states("after the package was removed", &[("ActiveState", "inactive")])?;
    wait_for(lab, start, "its summary", |lines| of_kind(lines, "summary") > 0)?;
    if Path::new(PROGRAM).exists() {
        failures.push(format!("{PROGRAM} is there after the package was removed"));
    }
    Ok(failures)
}

/// A drop, named exactly and with its text, by the program that the package brought.
fn told(lab: &Lab, cluster: &Cluster, start: &str) -> Result<Vec<String>> {
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

/// What is there that was not before, but for the installer's own books, and what it is called in them.
fn left(installer: &dyn Installer, layer: &Layer, before: &[String]) -> Result<Vec<String>> {
    let when = "after the package was removed for good";
    let written = layer.written()?.into_iter();
    let mut failures: Vec<String> = written
        .filter(|file| !before.contains(file) && (file.starts_with("/usr/") || file.contains("observer")))
        .map(|file| format!("{file} is left {when}"))
        .collect();
    if installer.is_known()? {
        failures.push(format!("{when}, it is still known"));
    }
    failures.extend(states(when, &[("LoadState", "not-found")])?);
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
