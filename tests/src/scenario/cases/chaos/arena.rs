//! What every disturbance happens in: a router that drops by a rule of a chain of its own, an observer, a sender.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::super::check;
use super::super::super::run::{Lab, Place};
use crate::cluster::Cluster;
use crate::cluster::rules::{self, Counters};
use crate::matching::matches;
use crate::observer::{self, Observer, read_lines};
use crate::results::Outcome;
use crate::traffic::{self, Udp};

/// The rules of the router: the second one of `INNER` is what drops.
pub(super) const RULES: &str = "*filter\n:INNER - [0:0]\n-A FORWARD -p udp -j INNER\n\
    -A INNER -p udp -m udp --dport 8 -j DROP\n-A INNER -p udp -m udp --dport 9 -j DROP\nCOMMIT\n";
/// How often the lab looks.
const TICK: Duration = Duration::from_millis(20);

/// A router, and an observer of what it drops.
pub(super) struct Arena<'a> {
    lab: &'a Lab,
    pub(super) cluster: Cluster,
    pub(super) observer: Observer,
    trace: PathBuf,
}

impl<'a> Arena<'a> {
    /// Sets it up; `None` where there is no observer to be tried.
    pub(super) fn up(lab: &'a Lab, place: &Place, more: &[&str]) -> Result<Option<Self>> {
        let Some(program) = &lab.observer else {
            return Ok(None);
        };
        let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
        cluster.restore("router", RULES, true)?;
        let filter = cluster.names().fill("{{server-net}}")?;
        let words = ["watch", "-o", "json", "--dst", &filter];
        let args: Vec<String> = words.iter().chain(more).map(|word| (*word).to_owned()).collect();
        let trace = place.work.join("stdout");
        let observer = Observer::watch(program, &args, place.work, &trace, lab.patience * 3)?;
        Ok(Some(Self {
            lab,
            cluster,
            observer,
            trace,
        }))
    }

    /// Sends datagrams that the rule drops.
    pub(super) fn send(&self, packets: u32) -> Result<()> {
        let to = self.cluster.names().fill("{{server}}")?;
        let udp: Udp =
            serde_json::from_value(json!({"from": "client", "to": to, "port": 9, "count": packets}))?;
        traffic::send(self.cluster.node("client")?, &udp)
    }

    /// Sends, and waits until observer has told of all of them.
    pub(super) fn send_and_wait(&self, packets: u32) -> Result<()> {
        let before = self.told()?;
        self.send(packets)?;
        self.wait_until(|told| told >= before + packets as usize)
    }

    /// How many of the rule's drops observer has told of.
    pub(super) fn told(&self) -> Result<usize> {
        Ok(read_lines(&self.trace)?
            .iter()
            .filter(|line| is_ours(line))
            .count())
    }

    /// Waits until the number of drops that were told satisfies this; what does not come to pass is for the judge to say.
    pub(super) fn wait_until(&self, holds: impl Fn(usize) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !holds(self.told()?) && begun.elapsed() < self.lab.patience {
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// What the kernel has counted for the rule.
    pub(super) fn counted(&self) -> Result<u64> {
        let setup = self.cluster.setup();
        counted(&rules::counters(
            self.cluster.node("router")?,
            setup.backend,
            setup.family,
        )?)
    }

    /// Ends observer, and compares what it told with what the kernel counted.
    pub(super) fn end(mut self) -> Result<End> {
        self.observer.signal(Signal::SIGINT)?;
        let status = self.observer.wait(self.lab.patience * 2)?;
        let lines = read_lines(&self.trace)?;
        let counted = self.counted()?;
        let mut failures = check::totals(&lines, lines.last().unwrap_or(&Value::Null));
        let code = observer::code(status);
        if code != 0 {
            let stderr = self.observer.stderr();
            failures.push(format!("observer ended with {code}: {}", stderr.trim()));
        }
        let told = lines.iter().filter(|line| is_ours(line)).count() as u64;
        let lost = lines
            .iter()
            .filter(|line| line["kind"] == "lost")
            .filter_map(|line| line["count"].as_u64())
            .sum();
        if told + lost < counted || told > counted {
            failures.push(format!(
                "the kernel counted {counted} packets, {told} were told of and {lost} counted as lost"
            ));
        }
        failures.extend(
            lines
                .iter()
                .find(|line| is_misnamed(line))
                .map(|line| format!("a drop of the rule has another name: {line}")),
        );
        if told == 0 {
            failures.push("no drop was told of: nothing was tested".to_owned());
        }
        Ok(End {
            lines,
            told,
            lost,
            failures,
        })
    }
}

/// What came of it.
pub(super) struct End {
    /// All lines.
    pub(super) lines: Vec<Value>,
    /// Drops of the rule.
    pub(super) told: u64,
    /// Drops that observer says it has lost.
    pub(super) lost: u64,
    failures: Vec<String>,
}

impl End {
    /// Something that must hold.
    pub(super) fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(otherwise());
        }
    }

    /// The outcome.
    pub(super) fn outcome(self) -> Outcome {
        Outcome::of(self.failures)
    }
}

/// What to say where there is no observer to be tried.
pub(super) fn no_observer() -> Outcome {
    Outcome::Skipped("it is about observer alone".into())
}

/// Whether the kernel is one that the tests booted, where processors and clocks may be played with.
pub(super) fn is_in_a_vm() -> Result<bool> {
    let line = std::fs::read_to_string("/proc/cmdline").context("cannot read the kernel's command line")?;
    Ok(["virtme", "observer.guest"]
        .iter()
        .any(|word| line.contains(word)))
}

fn is_ours(line: &Value) -> bool {
    line["kind"] == "drop" && line["packet"]["dport"] == 9
}

/// Whether a packet that the rule dropped is said to have died by something else. That observer does not know is no lie.
fn is_misnamed(line: &Value) -> bool {
    let right = json!({"chain": "INNER", "rule": {"number": 2}, "hook": "FORWARD"});
    is_ours(line) && line["drop"]["confidence"] != "unknown" && !matches(&right, &line["drop"])
}

fn counted(counters: &Counters) -> Result<u64> {
    let rule = rules::Place {
        table: "filter".into(),
        chain: "INNER".into(),
        rule: Some(2),
    };
    counters
        .get(&rule)
        .map(|counted| counted.packets)
        .context("the rule is gone")
}
