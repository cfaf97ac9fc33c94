//! An observer that is being measured, its lines read as they come.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exec;

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line, and when it came.
pub(super) type Arrival = (Instant, String);

/// How it ended.
pub(super) struct End {
    /// Its last line.
    pub(super) summary: serde_json::Value,
    /// Of the lines that nobody had read before: records that were lost.
    pub(super) lost: u64,
}

/// The process. Dropping it ends it.
pub(super) struct Watching {
    child: Child,
    lines: Receiver<Arrival>,
    /// From before its start to its `start` line.
    pub(super) ready_after: Duration,
}

impl Watching {
    /// Starts `observer watch -o json` and waits for its start line.
    pub(super) fn start(observer: &Path, filter: &str) -> Result<Self> {
        Self::start_with(observer, &["--dst", filter])
    }

    /// The same with any options.
    pub(super) fn start_with(observer: &Path, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(observer);
        command.args(["watch", "-o", "json"]).args(options);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        exec::confine(&mut command, None);
        let begun = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", observer.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let mut watching = Self {
            child,
            lines,
            ready_after: Duration::ZERO,
        };
        let (ready, line) = watching.line()?;
        if !line.contains("\"start\"") {
            bail!("the first line is not the start line: {line}");
        }
        watching.ready_after = ready.duration_since(begun);
        Ok(watching)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line.
    pub(super) fn line(&self) -> Result<Arrival> {
        self.lines
            .recv_timeout(PATIENCE)
            .context("observer wrote nothing for a minute")
    }

    /// The next line, if there is one by then.
    pub(super) fn line_within(&self, time: Duration) -> Option<Arrival> {
        self.lines.recv_timeout(time).ok()
    }

    /// When the next drop of a packet for `port` came.
    pub(super) fn drop_for(&self, port: u16) -> Result<Instant> {
        self.next_drop(port.into()).map(|(came, _)| came)
    }

    /// The line of the next drop of a packet for `port`.
    pub(super) fn dropped(&self, port: u32) -> Result<serde_json::Value> {
        self.next_drop(port).map(|(_, line)| line)
    }

    fn next_drop(&self, port: u32) -> Result<(Instant, serde_json::Value)> {
        loop {
            let (came, line) = self.line()?;
            let line: serde_json::Value = serde_json::from_str(&line)?;
            if line["kind"] == "drop" && line["packet"]["dport"] == port {
                return Ok((came, line));
            }
        }
    }

    /// Waits until so many drops of packets for `port` have been told, or counted as lost.
    pub(super) fn all_told(&self, port: u16, mut left: u64) -> Result<()> {
        while left > 0 {
            let (_, line) = self.line()?;
            let line: serde_json::Value = serde_json::from_str(&line)?;
            let told = match line["kind"].as_str() {
                Some("drop") if line["packet"]["dport"] == port => 1,
                Some("lost") => line["count"].as_u64().unwrap_or_default(),
                _ => 0,
            };
            left = left.saturating_sub(told);
        }
        Ok(())
    }

    /// When each of so many drops of packets for `port` was told, but for those that were counted as lost.
    pub(super) fn told(&self, port: u16, count: u64) -> Result<Vec<Instant>> {
        let (mut came, mut lost) = (Vec::new(), 0);
        while came.len() as u64 + lost < count {
            let (at, line) = self.line()?;
            let line: serde_json::Value = serde_json::from_str(&line)?;
            match line["kind"].as_str() {
                Some("drop") if line["packet"]["dport"] == port => came.push(at),
                Some("lost") => lost += line["count"].as_u64().unwrap_or_default(),
                _ => {}
            }
        }
        Ok(came)
    }

    /// Interrupts it, waits for its end and returns its summary.
    pub(super) fn end(self) -> Result<serde_json::Value> {
        self.end_with_losses().map(|end| end.summary)
    }

    /// The same, and all lines that nobody had read before.
    pub(super) fn end_with_lines(mut self) -> Result<Vec<serde_json::Value>> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).context("cannot interrupt observer")?;
        let mut lines = Vec::new();
        while let Ok((_, line)) = self.lines.recv_timeout(PATIENCE) {
            lines.push(serde_json::from_str(&line)?);
        }
        self.child.wait()?;
        Ok(lines)
    }

    /// The same, with what its lines said was lost.
    pub(super) fn end_with_losses(mut self) -> Result<End> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).context("cannot interrupt observer")?;
        let mut last = String::new();
        let mut lost = 0;
        while let Ok((_, line)) = self.lines.recv_timeout(PATIENCE) {
            if line.contains("\"kind\":\"lost\"") {
                let line: serde_json::Value = serde_json::from_str(&line)?;
                lost += line["count"].as_u64().unwrap_or_default();
            }
            if line.contains("\"kind\":\"probes\"") {
                eprintln!("bench: {line}");
            }
            last = line;
        }
        self.child.wait()?;
        Ok(End {
            summary: serde_json::from_str(&last).context("the last line is no summary")?,
            lost,
        })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
