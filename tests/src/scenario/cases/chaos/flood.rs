//! A flood that a policy and two rules kill: beyond what can be told one by one the kernel side only counts. Each packet is told,
//! counted as folded, or counted as lost; what is told has the right name, whatever was not looked at before it; memory stays as it
//! was, the node answers all the while; and afterwards all is told, and exactly, as before.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::super::check;
use super::super::super::run::{Lab, Place};
use super::arena::no_observer;
use crate::cluster::Cluster;
use crate::cluster::rules::{self, Counters};
use crate::kernel::probes;
use crate::matching::matches;
use crate::observer::{self, Observer, read_lines};
use crate::results::Outcome;
use crate::traffic::{self, Ping};

const RULES: &str = "*filter\n:FORWARD DROP [0:0]\n:INNER - [0:0]\n-A FORWARD -p udp -m udp --dport 8 -j DROP\n\
    -A FORWARD -p udp -m udp --dport 9 -j INNER\n-A INNER -j DROP\nCOMMIT\n";
/// By port: chain and number of what drops it; no number is the policy. Their packets have the same length.
const ENDS: [(u16, &str, Option<usize>); 3] = [
    (7, "FORWARD", None),
    (8, "FORWARD", Some(1)),
    (9, "INNER", Some(1)),
];
/// The flood ends with the one or the other.
const MOST_PACKETS: u64 = 100_000;
/// As many in a virtual machine, which is slow.
const FEWER_PACKETS: u64 = 20_000;
const MOST_TIME: Duration = Duration::from_secs(10);
/// Afterwards, to each port.
const FEW: u32 = 10;
/// What it may grow by.
const MOST_KIB: u64 = 16 * 1024;
/// How long the node may leave an echo unanswered: far more than a node takes that has not stopped to work.
const ECHO_PATIENCE_MS: u64 = 10_000;
/// So many are asked for in a flood at the least.
const FEWEST_ECHOES: u64 = 3;
/// How often the lab looks: it reads all lines then.
const TICK: Duration = Duration::from_millis(500);
/// So many of them are held against the schema, the last ones.
const CHECKED: usize = 2000;
/// More than the time in which observer notices that the flood is over.
const EBB: Duration = Duration::from_secs(2);

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(no_observer());
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let filter = cluster.names().fill("{{server-net}}")?;
    let args = ["watch", "-o", "json", "--dst", &filter].map(str::to_owned);
    let trace = place.work.join("stdout");
    let mut observer = Observer::watch(program, &args, place.work, &trace, lab.patience * 3)?;

    let before = observer::resident_kib(observer.pid())?;
    let is_over = AtomicBool::new(false);
    let (flooded, echoes) = thread::scope(|scope| {
        let echoes = scope.spawn(|| echoes(&cluster, &is_over));
        let flooded = flood(&cluster, || observer::resident_kib(observer.pid()));
        is_over.store(true, Ordering::Relaxed);
        (flooded, echoes.join())
    });
    let (sent, most) = flooded?;
    let echoes = echoes.map_err(|_| anyhow::anyhow!("who asked the node for echoes has panicked"))?;
    let wait_for = |packets: u64| -> Result<()> {
        let begun = Instant::now();
        while accounted(&read_lines(&trace)?) < packets && begun.elapsed() < lab.patience {
            std::thread::sleep(TICK);
        }
        std::thread::sleep(EBB);
        Ok(())
    };
    wait_for(sent)?;
    let in_flood = read_lines(&trace)?.len();
    let few = send(&cluster, (0..FEW * 3).map(|number| number as usize % 3))?;
    wait_for(sent + few)?;

    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(lab.patience * 2)?);
    let lines = read_lines(&trace)?;
    let setup = cluster.setup();
    let counters = rules::counters(cluster.node("router")?, setup.backend, setup.family)?;
    let mut failures = check::totals(&lines, lines.last().unwrap_or(&Value::Null));
    failures.extend(
        lines
            .iter()
            .rev()
            .take(CHECKED)
            .filter_map(|line| check::against_schema(line, lab.schema.as_ref()))
            .take(3),
    );
    if code != 0 {
        failures.push(format!(
            "observer ended with {code}: {}",
            observer.stderr().trim()
        ));
    }
    failures.extend(judge(&lines, &counters, sent + few)?);
    match echoes {
        Ok(count) if count < FEWEST_ECHOES => failures.push(format!(
            "the node was asked for {count} echoes in the flood: too few to say anything"
        )),
        Ok(_) => {}
        Err(error) => failures.push(format!("in the flood the node did not answer: {error:#}")),
    }
    let after = lines.get(in_flood..).unwrap_or_default();
    let sure = after
        .iter()
        .filter(|line| is_named(line) && line["drop"]["confidence"] == "exact");
    if sure.count() as u64 != few {
        failures.push(format!(
            "of {few} drops after the flood not all are exact: {}",
            shown(after)
        ));
    }
    if most > before + MOST_KIB {
        failures.push(format!("it grew from {before} to {most} KiB in the flood"));
    }
    Ok(Outcome::of(failures))
}

/// Whether what was told, folded and lost comes to what the kernel counted, and no line has another name.
fn judge(lines: &[Value], counters: &Counters, sent: u64) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let mut counted = 0;
    for (port, chain, rule) in ENDS {
        let place = rules::Place {
            table: "filter".into(),
            chain: chain.into(),
            rule,
        };
        let of_kernel = counters.get(&place).map(|counted| counted.packets);
        let of_kernel = of_kernel.with_context(|| format!("{place} is gone"))?;
        let told = lines.iter().filter(|line| is_drop_of(line, port)).count() as u64;
        if told > of_kernel {
            failures.push(format!(
                "{told} drops of {place} were told of, it counted {of_kernel}"
            ));
        }
        counted += of_kernel;
    }
    let accounted = accounted(lines);
    let summary = lines.last().unwrap_or(&Value::Null);
    let told = lines.iter().filter(|line| is_drop(line)).count() as u64;
    let (lost, folded) = (number(summary, "lost"), number(summary, "folded"));
    if counted != sent || accounted > counted || told + lost < counted {
        failures.push(format!(
            "{sent} were sent, the kernel counted {counted}, {told} were told of, {folded} folded, {} lost",
            lost.saturating_sub(folded)
        ));
    }
    let in_lines = lines.iter().filter(|line| line["where"] == "flood");
    let in_lines: u64 = in_lines.map(|line| number(line, "count")).sum();
    if folded == 0 || in_lines != folded {
        failures.push(format!(
            "the summary has {folded} folded drops, the lines {in_lines}"
        ));
    }
    let wrong = lines
        .iter()
        .find(|line| is_drop(line) && !is_named(line) && line["drop"]["confidence"] != "unknown");
    failures.extend(wrong.map(|line| format!("a drop has another's name: {line}")));
    let exact = lines
        .iter()
        .filter(|line| is_drop(line) && line["drop"]["confidence"] == "exact");
    if exact.count() as u64 <= u64::from(FEW * 3) {
        failures.push("none was exact in the flood: nothing was tested".to_owned());
    }
    Ok(failures)
}

/// Asks the node for echoes from the other side, one after the other, until the flood is over: how many it answered.
///
/// # Errors
/// It left one without an answer.
fn echoes(cluster: &Cluster, is_over: &AtomicBool) -> Result<u64> {
    let to = cluster.names().fill("{{router-far}}")?;
    let ping: Ping = serde_json::from_value(json!({
        "from": "server", "to": to, "timeout_ms": ECHO_PATIENCE_MS, "outcome": ["answered"]
    }))?;
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        traffic::send(cluster.node("server")?, &ping)?;
        count += 1;
    }
    Ok(count)
}

/// Sends to the ports in an order that nobody can guess; how many, and the most memory that was seen meanwhile.
fn flood(cluster: &Cluster, memory: impl Fn() -> Result<u64>) -> Result<(u64, u64)> {
    let (mut sent, mut most) = (0, memory()?);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let most_packets = if probes::path() {
        FEWER_PACKETS
    } else {
        MOST_PACKETS
    };
    let begun = Instant::now();
    while sent < most_packets && begun.elapsed() < MOST_TIME {
        sent += send(
            cluster,
            (0..5000).map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random % 3) as usize
            }),
        )?;
        most = most.max(memory()?);
    }
    Ok((sent, most))
}

/// Sends one datagram each to these of the ports.
fn send(cluster: &Cluster, which: impl Iterator<Item = usize> + Send) -> Result<u64> {
    let to = cluster.names().fill("{{server}}")?;
    cluster.node("client")?.run(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).context("cannot bind a UDP socket")?;
        let to = ENDS.map(|(port, _, _)| format!("{to}:{port}").parse());
        let to: Vec<std::net::SocketAddr> = to.into_iter().collect::<Result<_, _>>()?;
        let mut sent = 0;
        for which in which {
            socket.send_to(b"x", to[which]).context("cannot send")?;
            sent += 1;
        }
        Ok(sent)
    })
}

/// Drops that were told of, or that a line has as lost or folded.
fn accounted(lines: &[Value]) -> u64 {
    let lost = lines
        .iter()
        .filter(|line| line["kind"] == "lost" && line["where"] != "path-ring-buffer");
    let lost: u64 = lost.map(|line| number(line, "count")).sum();
    lost + lines.iter().filter(|line| is_drop(line)).count() as u64
}

fn is_drop(line: &Value) -> bool {
    ENDS.iter().any(|(port, _, _)| is_drop_of(line, *port))
}

fn is_drop_of(line: &Value, port: u16) -> bool {
    line["kind"] == "drop" && line["packet"]["dport"] == port
}

/// Whether it has the name of what drops packets to its port.
fn is_named(line: &Value) -> bool {
    ENDS.iter().any(|(port, chain, rule)| {
        let right = match rule {
            Some(number) => json!({"cause": "rule", "chain": chain, "rule": {"number": number}}),
            None => json!({"cause": "policy", "chain": chain}),
        };
        is_drop_of(line, *port) && matches(&right, &line["drop"])
    })
}

fn number(line: &Value, name: &str) -> u64 {
    line[name].as_u64().unwrap_or(0)
}

/// The first that is not exact, or how many there are.
fn shown(lines: &[Value]) -> String {
    let other = lines
        .iter()
        .find(|line| line["kind"] != "summary" && line["drop"]["confidence"] != "exact");
    other.map_or_else(|| format!("{} lines", lines.len()), ToString::to_string)
}
