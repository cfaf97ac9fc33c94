//! Drops, rules and namespaces that come and go, for a while: what observer holds in memory and open files is at the end what it was
//! once it had seen each of them. `OBSERVER_SOAK_SECONDS` makes it longer.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::super::run::{Lab, Place};
use super::arena::{Arena, no_observer};
use crate::cluster::rules::{self, tool};
use crate::netns::Netns;
use crate::observer;
use crate::results::Outcome;

/// In seconds.
const USUAL: u64 = 20;
/// Says how long, in seconds.
const VARIABLE: &str = "OBSERVER_SOAK_SECONDS";
/// How often something is sent.
const ROUND: Duration = Duration::from_millis(200);
/// In each round.
const PACKETS: u32 = 2;
/// So many rounds until rules change, and until a namespace comes and goes.
const RULES_EVERY: u32 = 7;
const NETNS_EVERY: u32 = 11;
/// What it may have grown by in memory: what the allocator keeps is not the same each time.
const MOST_KIB: u64 = 3 * 1024;
const RULE: [&str; 6] = ["INPUT", "-p", "udp", "--dport", "7", "-j"];

/// What it holds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident_kib: u64,
    files: usize,
}

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(arena) = Arena::up(lab, place, &[])? else {
        return Ok(no_observer());
    };
    let seconds = match std::env::var(VARIABLE) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{VARIABLE}={text:?} is no number of seconds"))?,
        Err(_) => USUAL,
    };
    let span = Duration::from_secs(seconds);
    let (begun, mut samples) = (Instant::now(), Vec::new());
    let mut round = 0;
    while begun.elapsed() < span {
        round += 1;
        arena.send(PACKETS)?;
        if round % RULES_EVERY == 0 {
            change(&arena, round / RULES_EVERY % 2 == 1)?;
        }
        if round % NETNS_EVERY == 0 {
            come_and_go(&arena, &format!("{}soak{round}", place.prefix))?;
        }
        samples.push(Sample::of(arena.observer.pid())?);
        std::thread::sleep(ROUND);
    }
    let wanted = (round * PACKETS) as usize;
    arena.wait_until(|told| told >= wanted)?;
    let mut end = arena.end()?;
    // The first quarter sees everything for the first time. A tool that is run has files open for a moment: the least counts.
    let quarter = samples.len() / 4;
    let least = |from: usize, to: usize| Sample::least(&samples[from..to]);
    let (early, late) = (least(quarter, 2 * quarter)?, least(3 * quarter, samples.len())?);
    println!(
        "        soak of {seconds} s: {} KiB and {} files early, {} KiB and {} files late, {wanted} drops",
        early.resident_kib, early.files, late.resident_kib, late.files
    );
    end.expect(late.files <= early.files, || {
        format!("it has {} files open, and had {}", late.files, early.files)
    });
    end.expect(late.resident_kib <= early.resident_kib + MOST_KIB, || {
        format!(
            "it holds {} KiB, and held {}",
            late.resident_kib, early.resident_kib
        )
    });
    Ok(end.outcome())
}

impl Sample {
    fn of(pid: u32) -> Result<Self> {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).context("observer is gone")?;
        Ok(Self {
            resident_kib: observer::resident_kib(pid)?,
            files: files.count(),
        })
    }

    /// The least of each.
    fn least(samples: &[Self]) -> Result<Self> {
        samples
            .iter()
            .copied()
            .reduce(|one, other| Self {
                resident_kib: one.resident_kib.min(other.resident_kib),
                files: one.files.min(other.files),
            })
            .context("too short to see anything")
    }
}

/// A rule comes, or goes again.
fn change(arena: &Arena, comes: bool) -> Result<()> {
    let setup = arena.cluster.setup();
    let how = if comes { "-A" } else { "-D" };
    let words: Vec<&str> = [how].into_iter().chain(RULE).chain(["DROP"]).collect();
    let router = arena.cluster.node("router")?;
    crate::exec::run(Some(router), &tool(setup.backend, setup.family), &words, "")?;
    Ok(())
}

/// A namespace with a rule that drops, and a packet that it drops.
fn come_and_go(arena: &Arena, name: &str) -> Result<()> {
    let netns = Netns::create(name)?;
    let setup = arena.cluster.setup();
    let text = "*filter\n-A OUTPUT -p udp -m udp --dport 7919 -j DROP\nCOMMIT\n";
    rules::restore(&netns, setup.backend, setup.family, text, true)?;
    crate::exec::run(Some(&netns), "ip", &["link", "set", "lo", "up"], "")?;
    netns.run(|| {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        // The rule makes it an error.
        let _ = socket.send_to(b"x", ("127.0.0.1", 7919));
        Ok(())
    })
}
