//! Fifty rulesets in quick succession while packets flow: what observer says exactly was true at that moment.
//!
//! Each generation has its dropping rule at another number and its own number in that rule's comment, so a line
//! tells which ruleset it was resolved against, and its time whether that one could be in force.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::super::check;
use super::super::run::{Lab, Place};
use crate::cluster::Cluster;
use crate::observer::{Observer, read_lines};
use crate::results::Outcome;
use crate::timestamp;

/// How many rulesets replace each other.
const GENERATIONS: usize = 50;
/// The dropping rule's number goes round.
const NUMBERS: usize = 7;
/// Between two packets.
const PAUSE: Duration = Duration::from_micros(500);
/// What two clocks of one machine may differ by.
const CLOCKS: Duration = Duration::from_millis(2);
/// How many failures are shown.
const SHOWN: usize = 3;

/// When a restore began and ended, since 1970: somewhere between, its ruleset came into force.
struct Change {
    began: Duration,
    ended: Duration,
}

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let mut changes = vec![replace(&cluster, 0)?];
    let filter = cluster.names().fill("{{server}}/{{bits}}")?;
    let args = ["watch", "-o", "json", "--dst", &filter].map(str::to_owned);
    let trace = place.work.join("stdout");
    let mut observer = Observer::watch(program, &args, place.work, &trace, lab.patience * 3)?;

    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| -> Result<u64> {
        let sender = scope.spawn(|| send_until(&cluster, &over));
        let changed = (1..=GENERATIONS).try_for_each(|generation| {
            changes.push(replace(&cluster, generation)?);
            anyhow::Ok(())
        });
        over.store(true, Ordering::Relaxed);
        let sent = sender
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        changed.map(|()| sent)
    })?;
    observer.signal(Signal::SIGINT)?;
    observer.wait(lab.patience * 2)?;

    let lines = read_lines(&trace)?;
    let mut failures = check::totals(&lines, lines.last().unwrap_or(&Value::Null));
    failures.extend(judge(&cluster, &changes, sent, &lines)?);
    Ok(Outcome::of(failures))
}

fn number(generation: usize) -> usize {
    generation % NUMBERS + 1
}

fn text(cluster: &Cluster, generation: usize) -> Result<String> {
    let text = "-A FORWARD -d {{server}}/{{bits}} -p udp -m udp --dport 9 -m comment --comment";
    Ok(format!(
        "{} \"generation {generation}\" -j DROP",
        cluster.names().fill(text)?
    ))
}

fn replace(cluster: &Cluster, generation: usize) -> Result<Change> {
    let others =
        (1..number(generation)).map(|port| format!("-A FORWARD -p udp -m udp --dport {port} -j DROP\n"));
    let rules = format!(
        "*filter\n:FORWARD ACCEPT [0:0]\n{}{}\nCOMMIT\n",
        others.collect::<String>(),
        text(cluster, generation)?
    );
    let began = now()?;
    cluster.restore("router", &rules, true)?;
    Ok(Change { began, ended: now()? })
}

fn now() -> Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")
}

fn send_until(cluster: &Cluster, over: &AtomicBool) -> Result<u64> {
    let to: SocketAddr = cluster.names().fill("{{server}}:9")?.parse()?;
    cluster.node("client")?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            socket.send_to(b"x", to).context("cannot send")?;
            sent += 1;
            std::thread::sleep(PAUSE);
        }
        Ok(sent)
    })
}

fn judge(cluster: &Cluster, changes: &[Change], sent: u64, lines: &[Value]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let drops: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "drop" && line["packet"]["dport"] == 9)
        .collect();
    let lost: u64 = lines
        .iter()
        .filter(|line| line["kind"] == "lost")
        .filter_map(|line| line["count"].as_u64())
        .sum();
    let told = drops.len() as u64;
    if told + lost < sent || told > sent {
        failures.push(format!(
            "{sent} packets were dropped, {told} reported, {lost} counted as lost"
        ));
    }
    let exact: Vec<&&Value> = drops
        .iter()
        .filter(|line| line["drop"]["confidence"] == "exact")
        .collect();
    if exact.is_empty() {
        failures.push(format!(
            "of {told} drops none was exact: nothing was tested; one of them: {}",
            drops.first().map_or("none".to_owned(), ToString::to_string)
        ));
    }
    let mut wrong = Vec::new();
    for line in exact {
        if let Some(why) = lie(cluster, changes, line)? {
            wrong.push(format!("observer was sure, and wrong: {why}: {line}"));
        }
    }
    let more = wrong.len().saturating_sub(SHOWN);
    failures.extend(wrong.into_iter().take(SHOWN));
    if more > 0 {
        failures.push(format!("… and {more} more"));
    }
    Ok(failures)
}

/// What is wrong with a line that says it is exact, if anything is.
fn lie(cluster: &Cluster, changes: &[Change], line: &Value) -> Result<Option<String>> {
    let rule = &line["drop"]["rule"];
    let comment = rule["comment"].as_str().unwrap_or_default();
    let generation = comment
        .strip_prefix("generation ")
        .and_then(|it| it.parse::<usize>().ok());
    let Some(generation) = generation.filter(|it| *it < changes.len()) else {
        return Ok(Some(format!("no rule has the comment `{comment}`")));
    };
    if rule["number"] != number(generation) {
        return Ok(Some(format!(
            "generation {generation} has its rule at number {}",
            number(generation)
        )));
    }
    // Its text may be gone with its ruleset by the time observer asks for it.
    let text = text(cluster, generation)?;
    if !rule["text"].is_null() && rule["text"] != text.as_str() {
        return Ok(Some(format!("that rule's text is `{text}`")));
    }
    let time = timestamp::since_epoch(line["time"].as_str().unwrap_or_default())
        .with_context(|| format!("no time: {line}"))?;
    let too_early = time + CLOCKS < changes[generation].began;
    let next = changes.get(generation + 1);
    let too_late = next.is_some_and(|next| time > next.ended + CLOCKS);
    Ok((too_early || too_late).then(|| {
        let whether = if too_early { "not yet" } else { "no more" };
        format!("generation {generation} was {whether} in force")
    }))
}
