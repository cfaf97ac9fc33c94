//! A kube-proxy that rewrites 20,000 rules every second, while packets are dropped by one of them: what observer uses, and whether
//! it names a rule that was not in force.
//!
//! Each generation has its dropping rule at another number and its own number in that rule's comment, so that a line tells which
//! ruleset it was resolved against, and its time whether that one could be in force.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::process::{self, Used};
use super::table::{Table, ms};
use super::watching::Watching;
use super::{cost, program};
use crate::cluster::{Backend, Cluster, Data, Family, Setup, rules};
use crate::netns::Netns;
use crate::run_dir::RunDir;
use crate::{exec, timestamp};

/// Of each Service there are three: the Service, its chain, its endpoint.
const SERVICES: u32 = 6_600;
/// Rules that drop what nobody sends.
const DROPS: usize = 100;
/// The dropping rule's number goes round.
const NUMBERS: usize = 97;
/// From one rewriting to the next, if the tool takes no longer.
const PERIOD: Duration = Duration::from_secs(1);
const GENERATIONS: usize = 20;
/// Between two packets.
const PAUSE: Duration = Duration::from_millis(10);
/// What two clocks of one machine may differ by.
const CLOCKS: Duration = Duration::from_millis(2);

/// Measures and prints a table; only the kinds with `only` in their name.
pub fn run(data: &Data, observer: &Path, run: &RunDir, only: &str) -> Result<()> {
    let _alone = run.alone()?;
    let mut table = Table::default();
    for backend in [Backend::Legacy, Backend::Nft, Backend::Native] {
        if !backend.word().contains(only) {
            continue;
        }
        let setup = Setup {
            backend,
            family: Family::Ip,
            prefix: format!("rewrite-{}-{}-", backend.word(), std::process::id()),
        };
        let cluster = Cluster::up(data, "router", &setup, run)?;
        let rewrite = Rewrite {
            backend,
            to: cluster.names().fill("{{server}}:9")?.parse()?,
            cluster,
        };
        rewrite.measure(observer, &mut table)?;
    }
    println!("{table}");
    Ok(())
}

/// A cluster whose router has its rules rewritten.
struct Rewrite {
    backend: Backend,
    to: SocketAddr,
    cluster: Cluster,
}

/// When a rewriting began and ended, since 1970: somewhere between, its rules came into force.
struct Change {
    began: Duration,
    ended: Duration,
}

/// How drops were told.
#[derive(Default)]
struct Told {
    by_confidence: BTreeMap<String, usize>,
    wrong: Vec<String>,
    /// Named, with the rule's text beside it.
    with_text: usize,
}

impl Rewrite {
    fn measure(&self, observer: &Path, table: &mut Table) -> Result<()> {
        let what = match self.backend {
            Backend::Native => "nft".to_owned(),
            of_iptables => rules::tool(of_iptables, Family::Ip),
        };
        let mut changes = vec![self.replace(0)?];
        let filter = self.cluster.names().fill("{{server}}/{{bits}}")?;
        let watching = Watching::start(observer, &filter)?;
        let _statistics = cost::Statistics::enable()?;
        let names = program::names()?;
        let programs = cost::programs(watching.pid(), &names)?;
        let used = process::used(watching.pid())?;
        let begun = Instant::now();
        let over = AtomicBool::new(false);
        let sent = scope(|scope| -> Result<u64> {
            let sender = scope.spawn(|| self.send_until(&over));
            let changed = (1..=GENERATIONS).try_for_each(|generation| {
                let next = Instant::now() + PERIOD;
                changes.push(self.replace(generation)?);
                sleep(next.saturating_duration_since(Instant::now()));
                anyhow::Ok(())
            });
            over.store(true, Ordering::Relaxed);
            let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))??;
            changed.map(|()| sent)
        })?;
        let took = begun.elapsed();
        let used_then = process::used(watching.pid())?;
        let programs_then = cost::programs(watching.pid(), &names)?;
        let kernel = cost::all_since(&programs_then, &programs);
        let lines = watching.end_with_lines()?;
        let told = self.judge(&changes, &lines)?;
        let share = |time: Duration| 100.0 * time.as_secs_f64() / took.as_secs_f64();
        let ticks = |of: fn(&Used) -> u64| process::ticks(of(&used_then) - of(&used));
        let (own, tools) = (ticks(|used| used.ticks), ticks(|used| used.of_children));
        let slowest = changes
            .iter()
            .map(|change| change.ended.saturating_sub(change.began))
            .max();
        table.add(
            &format!("{what}: 20,000 rules rewritten {GENERATIONS} times"),
            format!(
                "in {:.1} s, the slowest took {}",
                took.as_secs_f64(),
                ms(slowest.unwrap_or_default())
            ),
            "",
        );
        table.add(
            &format!("{what}: observer's share of a core"),
            format!(
                "{:.1} % ({:.1} % itself, {:.1} % the tools that it runs); {:.1} % its programs",
                share(own + tools),
                share(own),
                share(tools),
                share(kernel)
            ),
            "< 20 %",
        );
        let confidences = told
            .by_confidence
            .iter()
            .map(|(word, count)| format!("{word} {count}"));
        table.add(
            &format!("{what}: {sent} packets"),
            format!(
                "{}; {} with the rule's text",
                confidences.collect::<Vec<_>>().join(", "),
                told.with_text
            ),
            "",
        );
        told.wrong
            .iter()
            .take(5)
            .for_each(|wrong| eprintln!("bench: mislabelled: {wrong}"));
        table.add(
            &format!("{what}: mislabelled drops"),
            told.wrong.len().to_string(),
            "0",
        );
        Ok(())
    }

    fn router(&self) -> Result<&Netns> {
        self.cluster.node("router")
    }

    fn replace(&self, generation: usize) -> Result<Change> {
        let text = match self.backend {
            Backend::Native => native(generation)?,
            _ => of_iptables(generation)?,
        };
        let began = now()?;
        match self.backend {
            Backend::Native => _ = exec::run(Some(self.router()?), "nft", &["-f", "-"], &text)?,
            backend => rules::restore(self.router()?, backend, Family::Ip, &text, true)?,
        }
        Ok(Change { began, ended: now()? })
    }

    fn send_until(&self, over: &AtomicBool) -> Result<u64> {
        self.cluster.node("client")?.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                // A packet that met no rule comes back as an error, which is no reason to stop.
                sent += u64::from(socket.send_to(b"x", self.to).is_ok());
                sleep(PAUSE);
            }
            Ok(sent)
        })
    }

    /// Holds each drop's rule against those that may have been in force.
    fn judge(&self, changes: &[Change], lines: &[Value]) -> Result<Told> {
        let mut told = Told::default();
        for line in lines {
            let drop = &line["drop"];
            if line["kind"] != "drop" || line["packet"]["dport"] != 9 {
                continue;
            }
            let confidence = drop["confidence"].as_str().unwrap_or("none").to_owned();
            let is_named = confidence != "unknown" && drop["layer"] == "netfilter";
            *told.by_confidence.entry(confidence).or_default() += 1;
            if !is_named {
                continue;
            }
            let time = line["time"].as_str().and_then(timestamp::since_epoch);
            let time = time.context("a line without its time")?;
            let number = drop["rule"]["number"].as_u64();
            let comment = drop["rule"]["comment"].as_str().unwrap_or_default();
            told.with_text += usize::from(drop["rule"]["text"].is_string());
            let named = comment
                .strip_prefix("generation ")
                .and_then(|word| word.parse::<usize>().ok());
            let could = |generation: usize| {
                let from = changes
                    .get(generation)
                    .map(|change| change.began.saturating_sub(CLOCKS));
                let until = changes.get(generation + 1).map(|change| change.ended + CLOCKS);
                from.is_some_and(|from| from <= time) && until.is_none_or(|until| time <= until)
            };
            let fits = |generation: usize| number == Some(number_of(generation) as u64) && could(generation);
            let is_right = match named {
                Some(generation) => fits(generation),
                // Without its comment the number alone must have been right.
                None => (0..changes.len()).any(fits),
            };
            if !is_right {
                told.wrong.push(format!(
                    "{}: said to be of {}; in force by the clock: {}",
                    line,
                    named.map_or_else(|| "no generation".to_owned(), |generation| generation.to_string()),
                    in_force(changes, time)
                ));
            }
        }
        Ok(told)
    }
}

/// Which generations may have been in force, with the milliseconds since each began to be written and until the next was.
fn in_force(changes: &[Change], time: Duration) -> String {
    let signed = |a: Duration, b: Duration| 1000.0 * (a.as_secs_f64() - b.as_secs_f64());
    let one = |generation: usize| {
        let from = signed(time, changes.get(generation)?.began);
        let until = changes
            .get(generation + 1)
            .map_or(f64::MAX, |next| signed(next.ended, time));
        (from >= -50.0 && until >= -50.0)
            .then(|| format!("{generation} ({from:.1} ms after, {until:.1} ms before)"))
    };
    (0..changes.len()).filter_map(one).collect::<Vec<_>>().join(", ")
}

fn now() -> Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")
}

/// The dropping rule's number in `FORWARD`.
fn number_of(generation: usize) -> usize {
    generation * 7 % NUMBERS + 1
}

fn address(network: u8, number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("{network}.{b}.{c}.{d}")
}

/// As kube-proxy's iptables mode has them, and in table filter rules that drop.
fn of_iptables(generation: usize) -> Result<String> {
    let mut text = String::from("*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n");
    for service in 0..SERVICES {
        writeln!(
            text,
            ":KUBE-SVC-{service:08} - [0:0]\n:KUBE-SEP-{service:08} - [0:0]"
        )?;
    }
    text.push_str("-A PREROUTING -j KUBE-SERVICES\n");
    for service in 0..SERVICES {
        writeln!(
            text,
            "-A KUBE-SERVICES -d {}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-{service:08}\n\
             -A KUBE-SVC-{service:08} -j KUBE-SEP-{service:08}\n\
             -A KUBE-SEP-{service:08} -p tcp -m tcp -j DNAT --to-destination {}:8080",
            address(172, service),
            address(11, service)
        )?;
    }
    text.push_str("COMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n");
    for index in 1..=DROPS {
        if index == number_of(generation) {
            writeln!(
                text,
                "-A FORWARD -p udp -m udp --dport 9 -m comment --comment \"generation {generation}\" -j DROP"
            )?;
        }
        writeln!(
            text,
            "-A FORWARD -p udp -m udp --dport {} -j DROP",
            10_000 + index
        )?;
    }
    text.push_str("COMMIT\n");
    Ok(text)
}

/// The same as nft has them, in one commit.
fn native(generation: usize) -> Result<String> {
    let mut text = String::from("add table ip kube\ndelete table ip kube\ntable ip kube {\n");
    for service in 0..SERVICES {
        writeln!(
            text,
            "chain sep-{service} {{ meta l4proto tcp dnat to {}:8080; }}\n\
             chain svc-{service} {{ goto sep-{service}; }}",
            address(11, service)
        )?;
    }
    text.push_str("chain services {\n");
    for service in 0..SERVICES {
        writeln!(
            text,
            "ip daddr {} tcp dport 80 goto svc-{service}",
            address(172, service)
        )?;
    }
    text.push_str("}\nchain nat { type nat hook prerouting priority dstnat; jump services; }\n");
    text.push_str("chain forward { type filter hook forward priority 0;\n");
    for index in 1..=DROPS {
        if index == number_of(generation) {
            writeln!(
                text,
                "udp dport 9 counter drop comment \"generation {generation}\""
            )?;
        }
        writeln!(text, "udp dport {} counter drop", 10_000 + index)?;
    }
    text.push_str("}\n}\n");
    Ok(text)
}
