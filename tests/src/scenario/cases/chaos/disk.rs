//! Disks that fill up: under standard output, a trace and a capture. What is there stays whole, the error is one line and the exit
//! code is 2; what goes elsewhere goes on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::super::super::check;
use super::super::super::run::{Lab, Place};
use super::super::super::step::mount_tmpfs;
use super::super::capture;
use super::arena::{RULES, no_observer};
use crate::cluster::Cluster;
use crate::exec;
use crate::observer::{code, read_lines};
use crate::results::Outcome;
use crate::traffic::{self, Udp};

/// More than fits: a line of a trace has some hundred bytes.
const PACKETS: u64 = 400;
/// A disk: some pages.
const DISK_BYTES: u64 = 32 << 10;
const TICK: Duration = Duration::from_millis(50);

/// Which of its outputs have a disk of their own.
struct Disks {
    screen: bool,
    files: bool,
}

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(no_observer());
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let mut failures = files(lab, place, &cluster, program)?;
    failures.extend(screen(lab, place, &cluster, program)?);
    Ok(Outcome::of(failures))
}

/// The files' disks are full: standard output has everything.
fn files(lab: &Lab, place: &Place, cluster: &Cluster, program: &Path) -> Result<Vec<String>> {
    let full = Disks {
        screen: false,
        files: true,
    };
    let Some(mut run) = Run::of(lab, place, cluster, program, &full)? else {
        return Ok(vec!["observer ended before it was told to".to_owned()]);
    };
    send(cluster)?;
    run.wait_until(lab.patience, |run| Ok(told(&read_lines(&run.screen)?) >= PACKETS))?;
    run.signal()?;
    let mut failures = run.end(lab, 2)?;
    let lines = read_lines(&run.screen)?;
    failures.extend(check::totals(&lines, lines.last().unwrap_or(&Value::Null)));
    if told(&lines) != PACKETS {
        failures.push(format!("of {PACKETS} drops standard output has {}", told(&lines)));
    }
    // Whoever reads the trace finds the beginning of what the screen has, line by line.
    let trace = whole(&run.trace)?;
    let kept = read_lines(&run.trace)?;
    let is_beginning = kept.iter().zip(&lines).all(|(kept, line)| kept == line);
    if !is_beginning || kept.len() < 2 || kept.len() >= lines.len() || !trace.ends_with('\n') {
        failures.push(format!(
            "the trace has {} of {} lines, and ends {:?}",
            kept.len(),
            lines.len(),
            tail(&trace)
        ));
    }
    match capture::verdicts(&run.capture) {
        Ok(verdicts) => {
            let is_named =
                |text: &&String| text.starts_with("observer: rule 2") && text.contains("\nconfidence: exact");
            let named = verdicts.iter().filter(is_named).count();
            if named == 0 || named != verdicts.len() || named as u64 >= PACKETS {
                failures.push(format!(
                    "of {} packets of the capture {named} have their verdict",
                    verdicts.len()
                ));
            }
        }
        Err(error) => failures.push(format!("the capture is broken: {error:#}")),
    }
    Ok(failures)
}

/// The disk of standard output is full: it ends, and the trace has everything until then and its summary.
fn screen(lab: &Lab, place: &Place, cluster: &Cluster, program: &Path) -> Result<Vec<String>> {
    let full = Disks {
        screen: true,
        files: false,
    };
    let Some(mut run) = Run::of(lab, place, cluster, program, &full)? else {
        return Ok(vec!["observer ended before it was told to".to_owned()]);
    };
    send(cluster)?;
    let mut failures = run.end(lab, 1)?;
    let (shown, lines) = (read_lines(&run.screen)?, read_lines(&run.trace)?);
    let rest = whole(&run.screen)?;
    let rest = rest.rsplit('\n').next().unwrap_or_default();
    if told(&shown) == 0
        || told(&shown) >= PACKETS
        || !lines.iter().zip(&shown).all(|(line, shown)| line == shown)
    {
        failures.push(format!(
            "{} of {} drops are on the disk",
            told(&shown),
            told(&lines)
        ));
    }
    // Half a line at the end is not taken for one.
    if serde_json::from_str::<Value>(rest).is_ok() {
        failures.push(format!("the last line is not ended: {rest}"));
    }
    failures.extend(check::totals(&lines, lines.last().unwrap_or(&Value::Null)));
    Ok(failures)
}

/// An observer whose disks are small.
struct Run {
    child: Child,
    screen: PathBuf,
    stderr: PathBuf,
    trace: PathBuf,
    capture: PathBuf,
}

impl Run {
    fn of(lab: &Lab, place: &Place, cluster: &Cluster, program: &Path, full: &Disks) -> Result<Option<Self>> {
        let at = place.work.join(if full.screen { "screen" } else { "files" });
        let disk = |name: &str, is_full: bool| -> Result<PathBuf> {
            let at = at.join(name);
            match is_full {
                true => mount_tmpfs(&lab.run, &at, &DISK_BYTES.to_string())?,
                false => fs::create_dir_all(&at)?,
            }
            Ok(at.join("output"))
        };
        let (screen, trace) = (disk("stdout", full.screen)?, disk("trace", full.files)?);
        let (capture, stderr) = (disk("capture", full.files)?, at.join("stderr"));
        let net = cluster.names().fill("{{server-net}}")?;
        let mut command = Command::new(program);
        command.args(["watch", "-o", "json", "--dst", &net, "--write"]);
        command.arg(&trace).arg("--pcap").arg(&capture);
        command.stdin(Stdio::null()).stdout(File::create(&screen)?);
        command.stderr(File::create(&stderr)?);
        exec::confine(&mut command, None);
        let mut run = Self {
            child: command.spawn().context("cannot run observer")?,
            screen,
            stderr,
            trace,
            capture,
        };
        run.wait_until(lab.patience * 3, |run| {
            Ok(read_lines(&run.screen)?
                .iter()
                .any(|line| line["kind"] == "start"))
        })?;
        Ok(run.child.try_wait()?.is_none().then_some(run))
    }

    /// Until this holds, or it has ended, or time is over: what does not come to pass is for the judge to say.
    fn wait_until(&mut self, patience: Duration, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !holds(self)? && self.child.try_wait()?.is_none() && begun.elapsed() < patience {
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn signal(&self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).context("cannot signal observer")
    }

    /// It has ended with 2, and said as many lines, each of which names the reason.
    fn end(&mut self, lab: &Lab, lines: usize) -> Result<Vec<String>> {
        self.wait_until(lab.patience * 2, |_| Ok(false))?;
        let said = fs::read_to_string(&self.stderr)?;
        let is_clear = said.lines().all(|line| line.contains("No space left on device"));
        Ok(match self.child.try_wait()?.map(code) {
            Some(2) if is_clear && said.lines().count() == lines => Vec::new(),
            code => vec![format!("it ended with {code:?} and said: {said}")],
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Datagrams that the second rule of `INNER` drops.
fn send(cluster: &Cluster) -> Result<()> {
    let to = cluster.names().fill("{{server}}")?;
    let udp: Udp = serde_json::from_value(json!({"from": "client", "to": to, "port": 9, "count": PACKETS}))?;
    traffic::send(cluster.node("client")?, &udp)
}

fn told(lines: &[Value]) -> u64 {
    let ours = |line: &&Value| line["kind"] == "drop" && line["packet"]["dport"] == 9;
    lines.iter().filter(ours).count() as u64
}

fn whole(file: &Path) -> Result<String> {
    String::from_utf8(fs::read(file)?).with_context(|| format!("{} is no UTF-8", file.display()))
}

fn tail(text: &str) -> &str {
    text.get(text.len().saturating_sub(80)..).unwrap_or_default()
}
