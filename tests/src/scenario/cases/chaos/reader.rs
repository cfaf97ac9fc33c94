//! The reader of its standard output stops reading, in the middle of a flood, and goes on later: observer waits, does not grow,
//! and in the end has told of each drop, or counted it as lost.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::super::super::check;
use super::super::super::run::{Lab, Place};
use super::arena::{RULES, no_observer};
use crate::cluster::Cluster;
use crate::exec;
use crate::observer::{code, resident_kib};
use crate::results::Outcome;

/// More than the ring buffer, the pipe and all that lies between could hold.
const FLOOD: usize = 60_000;
/// The least that a pipe can hold.
const PIPE_BYTES: libc::c_int = 4096;
/// What it may grow by while nobody reads: twice its ring buffer.
const MOST_KIB: u64 = 16 * 1024;

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(no_observer());
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let (ours, theirs) = std::io::pipe().context("cannot make a pipe")?;
    fcntl(&theirs, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).context("cannot make a pipe small")?;
    let mut command = Command::new(program);
    command.args([
        "watch",
        "-o",
        "json",
        "--dst",
        &cluster.names().fill("{{server-net}}")?,
    ]);
    command.stdin(Stdio::null()).stdout(theirs);
    command.stderr(File::create(place.work.join("stderr"))?);
    exec::confine(&mut command, None);
    let mut child = command.spawn().context("cannot run observer")?;
    drop(command);
    let pid = Pid::from_raw(child.id() as i32);

    let mut reader = BufReader::with_capacity(4096, ours);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let before = resident_kib(child.id())?;
    flood(&cluster)?;
    std::thread::sleep(Duration::from_secs(1));
    let during = resident_kib(child.id())?;
    kill(pid, Signal::SIGINT).context("cannot signal observer")?;
    let mut lines = vec![serde_json::from_str::<Value>(&first)?];
    for line in reader.lines() {
        lines.push(serde_json::from_str(&line?)?);
    }
    let status = child.wait()?;

    let mut failures = check::totals(&lines, lines.last().unwrap_or(&Value::Null));
    if code(status) != 0 {
        failures.push(format!("observer ended with {}", code(status)));
    }
    let told = lines
        .iter()
        .filter(|line| line["kind"] == "drop" && line["packet"]["dport"] == 9)
        .count();
    let lost: u64 = lines
        .iter()
        .filter(|line| line["kind"] == "lost")
        .filter_map(|line| line["count"].as_u64())
        .sum();
    if told > FLOOD || told + (lost as usize) < FLOOD {
        failures.push(format!(
            "of {FLOOD} drops {told} were told of and {lost} counted as lost"
        ));
    }
    if lost == 0 || told == 0 {
        failures.push(format!("{told} told of, {lost} lost: nothing was tested"));
    }
    if during > before + MOST_KIB {
        failures.push(format!("it grew from {before} to {during} KiB while nobody read"));
    }
    Ok(Outcome::of(failures))
}

fn flood(cluster: &Cluster) -> Result<()> {
    let to = cluster.names().fill("{{server}}:9")?;
    cluster.node("client")?.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        (0..FLOOD).try_for_each(|_| socket.send_to(b"x", to.as_str()).map(drop))?;
        Ok(())
    })
}
