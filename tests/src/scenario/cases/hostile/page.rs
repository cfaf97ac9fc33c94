//! `observer top` beside names that an enemy chose, in a flood: nothing of them steers the terminal, and when it is told to end the
//! terminal is as it was.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::super::super::features;
use super::super::super::run::{Lab, Place};
use super::names::{BY_IPTABLES, BY_NFT, NAMESPACE, set_up};
use super::screen::complaint;
use crate::cluster::Family;
use crate::netns::Netns;
use crate::observer::code;
use crate::results::Outcome;
use crate::terminal::{Terminal, without_drawing};

/// More than are told one by one.
const FLOOD: u32 = 60_000;
/// What is shown of a name: that is what was tested.
const SHOWN: &str = "\\x1b";

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    if let Some(why) = features::lacking(&["ipset create lab hash:ip".to_owned()], &lab.run)? {
        return Ok(Outcome::Skipped(why));
    }
    let netns = Netns::create(&format!("{}{NAMESPACE}", place.prefix))?;
    let tool = crate::cluster::rules::tool(place.setup().backend, Family::Ip);
    set_up(&netns, &tool)?;
    let args = ["top", "--dst", "10.99.0.0/24"];
    let mut page = Terminal::start(program, &args, (24, 80), "xterm-256color")?;
    let before = page.modes()?;
    page.wait("the page", lab.patience * 3, |it| it.contains("no drops yet"))?;
    netns.run(|| send(BY_NFT, 5))?;
    netns.run(|| send(BY_IPTABLES, FLOOD))?;
    page.wait("both rules", lab.patience, |it| {
        it.matches(" exact ").count() >= 2 && it.contains(SHOWN)
    })?;
    let mut failures = Vec::new();
    page.wait("all of the flood", lab.patience, |it| {
        told(it) == Some(u64::from(FLOOD) + 5)
    })
    .unwrap_or_else(|error| failures.push(format!("{error:#}")));
    // Details of each cause, then the other view, a search for what is not typed but named so, and the help.
    for keys in [
        "\r", "G", "\u{1b}", "j", "\r", "G", "\u{1b}", "\t", "\r", "\u{1b}", "/x1b", "\r", "?",
    ] {
        page.keys(keys)?;
        let _ = page.wait(keys, Duration::from_millis(300), |_| false);
    }
    for (rows, columns) in [(1, 1), (10, 40), (3, 7), (50, 200)] {
        page.resize(rows, columns)?;
        let _ = page.wait("another size", Duration::from_millis(300), |_| false);
    }
    page.signal(Signal::SIGTERM)?;
    let status = code(page.end(lab.patience * 2)?);
    if status != 0 {
        failures.push(format!("it ended with {status}"));
    }
    if page.is_taken() || page.modes()? != before {
        failures.push("the terminal is not as it was".to_owned());
    }
    if !page.screen().contains("packets died in") {
        failures.push(format!("there is no summary on\n{}", page.screen()));
    }
    failures.extend(complaint("the terminal", &without_drawing(page.sent())));
    Ok(Outcome::of(failures))
}

/// Drops that the page has counted: those told one by one, and those of the flood.
fn told(screen: &str) -> Option<u64> {
    screen.lines().nth(1)?.split(' ').next()?.parse().ok()
}

fn send(port: u16, packets: u32) -> Result<()> {
    let socket = UdpSocket::bind("10.99.0.1:0")?;
    for _ in 0..packets {
        // The rule makes it an error.
        let _ = socket.send_to(b"x", ("10.99.0.2", port));
    }
    Ok(())
}
