//! `observer watch | head -1`: the reader goes away, observer ends without a word.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::run::{Lab, Place};
use crate::cluster::Cluster;
use crate::exec;
use crate::observer::code;
use crate::results::Outcome;

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let filter = cluster.names().fill("{{server}}/{{bits}}")?;
    cluster.restore(
        "router",
        &cluster
            .names()
            .fill("*filter\n-A FORWARD -d {{server}} -j DROP\nCOMMIT\n")?,
        true,
    )?;
    let mut command = Command::new(program);
    command.args(["watch", "-o", "json", "--dst", &filter]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    exec::confine(&mut command, None);
    let mut child = command.spawn().context("cannot run observer")?;
    let mut first = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut first)?;
    }

    let begun = Instant::now();
    let to = cluster.names().fill("{{server}}:9")?;
    while child.try_wait()?.is_none() && begun.elapsed() < lab.patience {
        cluster.node("client")?.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(b"x", to.as_str())?;
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = child.try_wait()?.is_some();
    let _ = child.kill();
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut failures = Vec::new();
    if !first.contains("\"start\"") {
        failures.push(format!("the first line is not the start line: {first}"));
    }
    if !ended {
        failures.push("observer went on although nobody reads its output".to_owned());
    } else if ![0, 128 + libc::SIGPIPE].contains(&code(output.status)) {
        failures.push(format!("observer's exit code is {}", code(output.status)));
    }
    if !stderr.is_empty() {
        failures.push(format!("observer was not quiet: {}", stderr.escape_debug()));
    }
    Ok(Outcome::of(failures))
}
