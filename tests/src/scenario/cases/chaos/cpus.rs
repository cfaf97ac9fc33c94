//! A processor that goes and comes back, in a virtual machine: rules count on each by itself.

use std::net::UdpSocket;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::super::super::run::{Lab, Place};
use super::arena::{Arena, is_in_a_vm, no_observer};
use crate::results::Outcome;

/// How often it goes.
const ROUNDS: usize = 3;
/// Packets on each processor in each round.
pub(super) const PACKETS: usize = 5;
/// The switch of the one that can go; the first cannot.
pub(super) const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    if !is_in_a_vm()? || !std::path::Path::new(SWITCH).exists() {
        return Ok(Outcome::Skipped(
            "processors are taken away in virtual machines only".into(),
        ));
    }
    // It starts while there is one only.
    turn(false)?;
    let arena = Arena::up(lab, place, &[]);
    turn(true)?;
    let Some(arena) = arena? else {
        return Ok(no_observer());
    };
    for _ in 0..ROUNDS {
        send_on(&arena, 0)?;
        send_on(&arena, 1)?;
        turn(false)?;
        send_on(&arena, 0)?;
        turn(true)?;
    }
    send_on(&arena, 1)?;
    let wanted = (ROUNDS * 3 + 1) * PACKETS;
    arena.wait_until(|told| told >= wanted)?;
    let mut end = arena.end()?;
    let exact = |line: &&serde_json::Value| line["kind"] == "drop" && line["drop"]["confidence"] == "exact";
    let exact = end.lines.iter().filter(exact).count();
    end.expect(exact >= wanted, || {
        format!("{exact} of {wanted} drops were exact")
    });
    Ok(end.outcome())
}

fn turn(on: bool) -> Result<()> {
    std::fs::write(SWITCH, if on { "1" } else { "0" }).context("cannot take a processor away")
}

/// Veth hands a packet on to the processor that sends it: there it is dropped, too.
pub(super) fn send_on(arena: &Arena, cpu: usize) -> Result<()> {
    let to = arena.cluster.names().fill("{{server}}:9")?;
    arena.cluster.node("client")?.run(|| {
        let mut cpus = CpuSet::new();
        cpus.set(cpu).context("no such processor")?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on a processor")?;
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        for _ in 0..PACKETS {
            socket.send_to(b"x", to.as_str()).context("cannot send")?;
        }
        Ok(())
    })
}
