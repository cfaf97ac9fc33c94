//! One of two processors is taken by a task that nothing else can push aside: observer goes on to answer, and to read rules that
//! changed, of which it needs the counters of that processor, too. In a virtual machine only.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::super::run::{Lab, Place};
use super::arena::{Arena, is_in_a_vm, no_observer};
use super::cpus::{PACKETS, SWITCH, send_on};
use crate::cluster::rules::tool;
use crate::exec;
use crate::results::Outcome;

/// It ends by itself after so many seconds of processor time.
const MOST_SECONDS: u32 = 120;
/// Says 1 on a kernel with PREEMPT_RT.
const REALTIME: &str = "/sys/kernel/realtime";
/// Until changed rules have been read.
const SETTLING: Duration = Duration::from_secs(2);

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    if !is_in_a_vm()? || !std::path::Path::new(SWITCH).exists() {
        return Ok(Outcome::Skipped(
            "a processor is taken in virtual machines only".into(),
        ));
    }
    if std::fs::read_to_string(REALTIME).is_ok_and(|flag| flag.trim() == "1") {
        // Its timers are run by threads that such a task pushes aside: with no observer about, `sleep 2` sleeps until it has ended.
        return Ok(Outcome::Skipped(
            "a real-time kernel stands still itself while a processor is taken".into(),
        ));
    }
    let Some(arena) = Arena::up(lab, place, &[])? else {
        return Ok(no_observer());
    };
    let mut hog = Hog::start()?;
    send_on(&arena, 0)?;
    send_on(&arena, 1)?;
    arena.wait_until(|told| told >= 2 * PACKETS)?;
    // Counters of all other rules are kept.
    let setup = arena.cluster.setup();
    let line = ["-A", "INPUT", "-p", "udp", "--dport", "7", "-j", "DROP"];
    exec::run(
        Some(arena.cluster.node("router")?),
        &tool(setup.backend, setup.family),
        &line,
        "",
    )?;
    std::thread::sleep(SETTLING);
    send_on(&arena, 0)?;
    send_on(&arena, 1)?;
    let wanted = 4 * PACKETS;
    arena.wait_until(|told| told >= wanted)?;
    let told = arena.told()?;
    let is_there = hog.is_there()?;
    drop(hog);
    let mut end = arena.end()?;
    end.expect(is_there, || {
        "the processor was free again: nothing was tested".to_owned()
    });
    end.expect(told >= wanted, || {
        format!("while the processor was taken {told} of {wanted} drops were told")
    });
    let exact = |line: &&serde_json::Value| line["kind"] == "drop" && line["drop"]["confidence"] == "exact";
    let exact = end.lines.iter().filter(exact).count();
    end.expect(exact >= wanted, || {
        format!("{exact} of {wanted} drops were exact")
    });
    Ok(end.outcome())
}

/// A loop at a real-time priority on the second processor: the kernel leaves five hundredths of it to others.
struct Hog(Child);

impl Hog {
    fn start() -> Result<Self> {
        let program = format!("ulimit -t {MOST_SECONDS}; while :; do :; done");
        let mut command = Command::new("chrt");
        command.args(["-f", "50", "taskset", "-c", "1", "sh", "-c", &program]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().context("cannot run chrt")?))
    }

    /// Whether it still runs, and at that priority: `rt_priority` and `policy`, proc_pid_stat(5).
    fn is_there(&mut self) -> Result<bool> {
        if self.0.try_wait()?.is_some() {
            return Ok(false);
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        // From the state on, which is the third.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        Ok(field(39) == "1" && field(40) == "50" && field(41) == libc::SCHED_FIFO.to_string())
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
