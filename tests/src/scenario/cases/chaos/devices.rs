//! Devices that are deleted while packets go through the hooks, and wait for a neighbour's address.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::super::run::{Lab, Place};
use super::arena::{Arena, no_observer};
use crate::exec;
use crate::results::Outcome;

/// How many devices are made and deleted.
const DEVICES: u32 = 40;
/// Between two packets.
const PAUSE: Duration = Duration::from_micros(500);

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(arena) = Arena::up(lab, place, &["--dst", "10.79.0.0/16"])? else {
        return Ok(no_observer());
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let to_rule = scope.spawn(|| send_until(&arena, "{{server}}:9", &over));
        // Its route goes by a device that is deleted again and again: it waits until a neighbour answers, or has no route.
        let to_device = scope.spawn(|| send_until(&arena, "10.79.0.2:10", &over));
        let changed = (0..DEVICES).try_for_each(|_| make_and_delete(&arena));
        over.store(true, Ordering::Relaxed);
        for sender in [to_rule, to_device] {
            sender
                .join()
                .map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        changed
    })?;
    arena.send_and_wait(10)?;
    let mut end = arena.end()?;
    let waiting = |line: &&serde_json::Value| line["kind"] == "drop" && line["packet"]["dport"] == 10;
    let fell = end.lines.iter().filter(waiting).count();
    end.expect(fell > 0, || {
        "no packet died with its device: nothing was tested".to_owned()
    });
    let by_rule = end
        .lines
        .iter()
        .filter(waiting)
        .find(|line| line["drop"]["layer"] == "netfilter")
        .cloned();
    end.expect(by_rule.is_none(), || {
        format!("no rule drops these packets: {}", by_rule.unwrap_or_default())
    });
    Ok(end.outcome())
}

fn make_and_delete(arena: &Arena) -> Result<()> {
    let router = arena.cluster.node("router")?;
    exec::shell(
        Some(router),
        "ip link add brief type veth peer name feirb
         ip addr add 10.79.0.1/24 dev brief
         ip link set brief up
         ip link set feirb up",
    )?;
    std::thread::sleep(Duration::from_millis(30));
    exec::shell(Some(router), "ip link del brief").map(drop)
}

fn send_until(arena: &Arena, to: &str, over: &AtomicBool) -> Result<()> {
    let to = arena.cluster.names().fill(to)?;
    arena.cluster.node("client")?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        while !over.load(Ordering::Relaxed) {
            // That there is no way just now is what this is about.
            let _ = socket.send_to(b"x", to.as_str());
            std::thread::sleep(PAUSE);
        }
        Ok(())
    })
}
