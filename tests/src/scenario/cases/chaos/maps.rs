//! The kernel has no memory for maps: observer says so, answers by counters instead, and leaves nothing behind.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::super::super::run::{Lab, Place};
use super::super::ended::ended;
use super::super::killed::{belongings, left_behind};
use super::arena::{RULES, no_observer};
use crate::cage::Cage;
use crate::cluster::Cluster;
use crate::observer::{Invocation, Observer, read_lines};
use crate::results::Outcome;
use crate::traffic::{self, Udp};

/// How many packets are dropped.
const PACKETS: u64 = 10;

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(no_observer());
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let before = belongings(&cluster, program)?;
    let cage = Cage {
        no_maps: true,
        ..Cage::default()
    };
    let args = ["watch", "-o", "json", "--dst", "10.0.0.0/8"].map(str::to_owned);
    let how = Invocation {
        program,
        args: &args,
        cage: &cage,
        directory: place.work,
    };
    let trace = place.work.join("stdout");
    let mut observer = Observer::start(&how)?;
    observer.wait_for_start(&trace, lab.patience * 3)?;
    let to = cluster.names().fill("{{server}}")?;
    let udp: Udp = serde_json::from_value(json!({"from": "client", "to": to, "port": 9, "count": PACKETS}))?;
    traffic::send(cluster.node("client")?, &udp)?;
    let begun = Instant::now();
    while counted(&read_lines(&trace)?) < PACKETS && begun.elapsed() < lab.patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (lines, mut failures) = ended(&mut observer, &trace, lab.patience)?;
    let start = lines.first().map(ToString::to_string).unwrap_or_default();
    if !start.contains("Cannot allocate memory") {
        failures.push(format!("it does not say that memory is short: {start}"));
    }
    if counted(&lines) != PACKETS {
        failures.push(format!(
            "of {PACKETS} packets that the rule dropped it told of {}",
            counted(&lines)
        ));
    }
    failures.extend(left_behind(lab, &cluster, program, &before)?);
    Ok(Outcome::of(failures))
}

/// Packets that are said to have been counted by the rule.
fn counted(lines: &[Value]) -> u64 {
    lines
        .iter()
        .filter(|line| {
            line["kind"] == "counter"
                && line["counter"]["chain"] == "INNER"
                && line["counter"]["rule"]["number"] == 2
        })
        .filter_map(|line| line["packets"].as_u64())
        .sum()
}
