//! A pod that is watched by its name before it is there, is made, goes, and is made anew with another address, as a StatefulSet does it:
//! drops are told of the address that it has, each that the kernel counted, and none of one that it has not yet or no more.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::run::{Lab, Place};
use super::names::object;
use crate::cluster::Cluster;
use crate::cluster::rules::counters;
use crate::names::Api;
use crate::observer::{self, Observer, read_lines};
use crate::results::Outcome;

/// Its first address and its second.
const FIRST: &str = "203.0.113.7";
const SECOND: &str = "203.0.113.8";
const RULES: &str = "*filter\n-I OUTPUT -p udp -m udp --dport 9 -d 203.0.113.7/32 -j DROP\n\
    -I OUTPUT -p udp -m udp --dport 9 -d 203.0.113.8/32 -j DROP\nCOMMIT\n";
const NAME: &str = "nginx-test/anew-0";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "seed", &place.setup(), &lab.run)?;
    cluster.restore("master", RULES, false)?;
    let api = Api::start()?;
    for (plural, file) in [("services", "service"), ("nodes", "node"), ("pods", "pod")] {
        api.set(plural, object(lab, file)?);
    }
    let config = place.work.join("kubeconfig");
    fs::write(&config, api.kubeconfig())?;
    let config = config.to_string_lossy();
    let args = [
        "watch", "-o", "json", "--pod", NAME, "--wait", "--port", "9", "--cri", "off", "--kube", &config,
    ];
    let args: Vec<String> = args
        .into_iter()
        .chain(["--kube-scope", "cluster"])
        .map(str::to_owned)
        .collect();
    let trace = place.work.join("stdout");
    let mut observer = Observer::watch(program, &args, place.work, &trace, lab.patience * 3)?;
    let mut watch = Watch {
        lab,
        place,
        cluster: &cluster,
        trace: &trace,
        failures: Vec::new(),
    };

    watch.is_told_of(&format!("pod {NAME} and port 9"), 0)?;
    let nothing = watch.counted()?;
    watch.send(&[(FIRST, 2), (SECOND, 2)])?;
    let before = watch.counted()?;
    api.set("pods", pod(lab, "one", FIRST)?);
    watch.is_told_of(&format!("host {FIRST} and port 9"), 1)?;
    watch.send(&[(FIRST, 3), (SECOND, 2)])?;
    let first = watch.counted()?;
    watch.tells(FIRST, first[0] - before[0])?;

    api.remove("pods", pod(lab, "one", FIRST)?);
    watch.is_told_of(&format!("pod {NAME} and port 9"), 2)?;
    watch.send(&[(FIRST, 2), (SECOND, 2)])?;
    let between = watch.counted()?;
    api.set("pods", pod(lab, "two", SECOND)?);
    watch.is_told_of(&format!("host {SECOND} and port 9"), 3)?;
    watch.send(&[(FIRST, 2), (SECOND, 4)])?;
    let second = watch.counted()?;
    watch.tells(SECOND, second[1] - between[1])?;
    watch.tells(FIRST, first[0] - before[0])?;

    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(lab.patience * 2)?);
    if code != 0 {
        watch.fails(format!("observer ended with {code}: {}", observer.stderr()));
    }
    let died = second.iter().sum::<u64>() - nothing.iter().sum::<u64>();
    watch.judge(observer.stderr().trim(), died)?;
    Ok(Outcome::of(watch.failures))
}

fn pod(lab: &Lab, uid: &str, address: &str) -> Result<Value> {
    let mut pod = object(lab, "pod")?;
    pod["metadata"]["name"] = json!("anew-0");
    pod["metadata"]["uid"] = json!(uid);
    pod["status"]["podIP"] = json!(address);
    pod["status"]["podIPs"] = json!([{"ip": address}]);
    Ok(pod)
}

struct Watch<'a> {
    lab: &'a Lab,
    place: &'a Place<'a>,
    cluster: &'a Cluster,
    trace: &'a Path,
    failures: Vec<String>,
}

impl Watch<'_> {
    fn fails(&mut self, failure: String) {
        self.failures.push(failure);
    }

    fn send(&self, packets: &[(&str, usize)]) -> Result<()> {
        self.cluster.node("master")?.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
            for (to, count) in packets {
                for _ in 0..*count {
                    // What netfilter drops on its way out is an error of the sender's.
                    let _ = socket.send_to(b"anew", format!("{to}:9"));
                }
            }
            Ok(())
        })
    }

    /// What the kernel has counted of each address.
    fn counted(&self) -> Result<[u64; 2]> {
        let variant = &self.place.variant;
        let counters = counters(self.cluster.node("master")?, variant.backend, variant.family)?;
        let of = |address: &str| {
            let mut rules = counters.values();
            let rule = rules.find(|rule| rule.text.contains(&format!("-d {address}/32")) && rule.drops());
            rule.map(|rule| rule.packets).context("the rule is gone")
        };
        Ok([of(FIRST)?, of(SECOND)?])
    }

    /// Waits until the trace says that this is watched, in the start line (0) or in a later one of its kind.
    fn is_told_of(&self, text: &str, number: usize) -> Result<()> {
        let is_it = |line: &&Value| line["kind"] == "start" || line["kind"] == "filter";
        self.until(&format!("line {number} about the filter: {text}"), |lines| {
            let line = lines.iter().filter(is_it).nth(number);
            line.is_some_and(|line| line["filter"]["text"] == text && line["filter"]["pods"] == json!([NAME]))
        })
    }

    /// Waits until so many drops of the address are told.
    fn tells(&self, address: &str, count: u64) -> Result<()> {
        self.until(&format!("{count} drops to {address}"), |lines| {
            drops(lines, address).count() as u64 == count
        })
    }

    fn until(&self, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let lines = read_lines(self.trace)?;
            if is_so(&lines) {
                return Ok(());
            }
            if begun.elapsed() > self.lab.patience {
                bail!("{what}: not in {} s: {lines:?}", self.lab.patience.as_secs());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Of the whole run; so many packets were dropped by the two rules.
    fn judge(&mut self, stderr: &str, died: u64) -> Result<()> {
        let lines = read_lines(self.trace)?;
        let expected =
            format!("observer: --pod {NAME} has no address yet: it is watched from when it has one");
        if stderr != expected {
            self.fails(format!("observer says {stderr:?}"));
        }
        let texts: Vec<&Value> = lines
            .iter()
            .filter(|line| line["kind"] == "filter")
            .map(|line| &line["text"])
            .collect();
        let expected = [
            format!("pod {NAME} is {FIRST} now"),
            format!("pod {NAME} is {FIRST} no more, and has no address now"),
            format!("pod {NAME} is {SECOND} now"),
        ];
        if texts != expected.iter().collect::<Vec<_>>() {
            self.fails(format!("told was {texts:?}"));
        }
        let paths = [FIRST, SECOND].map(|address| drops(&lines, address).all(|drop| drop["path"].is_array()));
        if paths[0] != paths[1] {
            self.fails(format!("only one of the two has its way told: {paths:?}"));
        }
        let summary = lines.last().context("no summary")?;
        let total = |field: &str| summary[field].as_u64().unwrap_or(0);
        let told: u64 = ["exact", "inferred", "unknown"].map(total).iter().sum();
        if told != 7 || total("kernel_drops") != told + total("filtered") + total("lost") {
            self.fails(format!("the totals are {summary}"));
        }
        // 19 died, and 12 of them were nobody's; other packets of the machine may have died besides.
        if died != 19 || total("filtered") < died - told {
            self.fails(format!("{died} died, and the totals are {summary}"));
        }
        if let Some(schema) = &self.lab.schema {
            for line in &lines {
                self.failures.extend(schema.complaint(line));
            }
        }
        Ok(())
    }
}

fn drops<'a>(lines: &'a [Value], address: &str) -> impl Iterator<Item = &'a Value> {
    let is_one = move |line: &&Value| line["kind"] == "drop" && line["packet"]["dst"] == json!(address);
    lines.iter().filter(is_one)
}
