//! Two hundred namespaces that live for some milliseconds, each with a rule of its own that drops a packet. The kernel gives
//! the inode numbers of those that are gone to new ones.

use std::net::UdpSocket;

use anyhow::Result;
use serde_json::Value;

use super::super::super::run::{Lab, Place};
use super::arena::{Arena, no_observer};
use crate::cluster::rules;
use crate::netns::Netns;
use crate::results::Outcome;

/// How many come and go.
const NAMESPACES: usize = 200;
/// Where their packets go to.
const PORT: u16 = 7919;
/// Where the first one's comes from; the next one's from the next port.
const FROM: u16 = 20_000;

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(arena) = Arena::up(lab, place, &["--dst", "127.0.0.0/8"])? else {
        return Ok(no_observer());
    };
    let mut inodes = Vec::new();
    for number in 0..NAMESPACES {
        let netns = Netns::create(&format!("{}brief{number}", place.prefix))?;
        inodes.push(netns.inode()?);
        live(&arena, &netns, number)?;
    }
    arena.send_and_wait(10)?;
    let mut end = arena.end()?;
    let theirs: Vec<Value> = end
        .lines
        .iter()
        .filter(|line| line["kind"] == "drop" && line["packet"]["dport"] == PORT)
        .cloned()
        .collect();
    let (told, lost) = (theirs.len(), end.lost as usize);
    end.expect(told <= NAMESPACES && told + lost >= NAMESPACES, || {
        format!("of {NAMESPACES} drops {told} were told of, and {lost} counted as lost")
    });
    let lie = theirs.iter().find_map(|line| lie(line, &inodes));
    end.expect(lie.is_none(), || lie.unwrap_or_default());
    let exact = theirs
        .iter()
        .filter(|line| line["drop"]["confidence"] == "exact")
        .count();
    end.expect(exact * 2 > NAMESPACES, || {
        format!("only {exact} of {NAMESPACES} drops were exact")
    });
    Ok(end.outcome())
}

/// The rule's number and comment say which namespace it belongs to.
fn live(arena: &Arena, netns: &Netns, number: usize) -> Result<()> {
    let others =
        (0..number % 5).map(|port| format!("-A OUTPUT -p udp -m udp --dport {} -j DROP\n", port + 1));
    let text = format!(
        "*filter\n{}-A OUTPUT -p udp -m udp --dport {PORT} -m comment --comment brief-{number} -j DROP\nCOMMIT\n",
        others.collect::<String>()
    );
    let setup = arena.cluster.setup();
    rules::restore(netns, setup.backend, setup.family, &text, true)?;
    crate::exec::run(Some(netns), "ip", &["link", "set", "lo", "up"], "")?;
    netns.run(|| {
        let socket = UdpSocket::bind(("127.0.0.1", FROM + number as u16))?;
        // The rule makes it an error.
        let _ = socket.send_to(b"x", ("127.0.0.1", PORT));
        Ok(())
    })
}

/// What is wrong with a line, if anything is.
fn lie(line: &Value, inodes: &[u64]) -> Option<String> {
    let port = line["packet"]["sport"].as_u64().unwrap_or(0);
    let number = port.checked_sub(u64::from(FROM)).unwrap_or(u64::MAX) as usize;
    let Some(inode) = inodes.get(number) else {
        return Some(format!("a packet that none of them sent: {line}"));
    };
    if line["netns"]["inode"] != *inode {
        return Some(format!("namespace {number} has the inode {inode}: {line}"));
    }
    let drop = &line["drop"];
    if drop["confidence"] == "unknown" {
        return None;
    }
    // Where the namespace was gone before its rules could be read, the hook is all that can be said.
    if drop["cause"] == "hook" {
        let right = drop["hook"] == "OUTPUT" && drop["priority"] == 0 && drop["confidence"] == "inferred";
        return (!right).then(|| format!("namespace {number} drops in OUTPUT at 0, as inferred: {line}"));
    }
    // Its text may be gone with its ruleset by the time observer asks for it.
    let comment = &drop["rule"]["comment"];
    let right_comment = comment.is_null() || *comment == format!("brief-{number}");
    let right = drop["rule"]["number"] == number % 5 + 1 && right_comment;
    (!right).then(|| {
        format!(
            "namespace {number} has its rule at number {}: {line}",
            number % 5 + 1
        )
    })
}
