//! A second signal ends observer at once, also when it cannot drain because nobody reads its output.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::run::{Lab, Place};
use crate::cluster::Cluster;
use crate::exec;
use crate::observer::code;
use crate::results::Outcome;

/// Drops enough to fill the pipe many times over.
const DROPS: usize = 300;
/// The least that a pipe can hold.
const PIPE_BYTES: libc::c_int = 4096;
/// How often the lab looks.
const TICK: Duration = Duration::from_millis(10);

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let fill = |text: &str| cluster.names().fill(text);
    cluster.restore(
        "router",
        &fill("*filter\n-A FORWARD -d {{server}} -j DROP\nCOMMIT\n")?,
        true,
    )?;
    let (ours, theirs) = std::io::pipe().context("cannot make a pipe")?;
    fcntl(&theirs, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).context("cannot make a pipe small")?;
    let mut command = Command::new(program);
    command.args(["watch", "-o", "json", "--dst", &fill("{{server}}/{{bits}}")?]);
    command.stdin(Stdio::null()).stdout(theirs);
    command.stderr(File::create(place.work.join("stderr"))?);
    exec::confine(&mut command, None);
    let mut child = command.spawn().context("cannot run observer")?;
    drop(command);
    let outcome = play(lab, &cluster, &mut child, &ours);
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn play(lab: &Lab, cluster: &Cluster, child: &mut Child, stdout: &std::io::PipeReader) -> Result<Outcome> {
    let mut first = String::new();
    BufReader::with_capacity(1, stdout).read_line(&mut first)?;
    let to = cluster.names().fill("{{server}}:9")?;
    cluster.node("client")?.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        (0..DROPS).try_for_each(|_| socket.send_to(b"x", to.as_str()).map(drop))?;
        Ok(())
    })?;
    wait_until(lab, || Ok(unread(stdout)? > PIPE_BYTES / 2))?;

    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGINT).context("cannot signal observer")?;
    // It may have dealt with the first one by then or not: the second ends it in either case.
    std::thread::sleep(TICK * 10);
    let mut failures = Vec::new();
    if child.try_wait()?.is_some() {
        failures
            .push("observer ended at the first signal with its output unread: nothing was tested".to_owned());
    } else {
        kill(pid, Signal::SIGINT).context("cannot signal observer")?;
        wait_until(lab, || Ok(child.try_wait()?.is_some()))?;
        match child.try_wait()? {
            Some(status) if code(status) == 128 + libc::SIGINT => {}
            Some(status) => failures.push(format!("observer's exit code is {}, expected 130", code(status))),
            None => {
                failures.push("observer went on after a second SIGINT: its output is not read".to_owned())
            }
        }
    }
    Ok(Outcome::of(failures))
}

fn wait_until(lab: &Lab, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? && begun.elapsed() < lab.patience {
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Bytes that lie in the pipe.
fn unread(pipe: &std::io::PipeReader) -> Result<libc::c_int> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the integer lives across the call.
    let code = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    anyhow::ensure!(code == 0, "cannot tell how full a pipe is");
    Ok(bytes)
}
