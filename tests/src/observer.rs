//! The program under test, as a child process.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cage::Cage;
use crate::exec;

/// How often the lab looks whether something has happened.
const TICK: Duration = Duration::from_millis(10);

/// How observer is started.
#[derive(Debug, Clone)]
pub struct Invocation<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments, verb included.
    pub args: &'a [String],
    /// What it is kept from.
    pub cage: &'a Cage,
    /// Where its output files go.
    pub directory: &'a Path,
}

/// A running observer. Dropping it kills it.
pub struct Observer {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Observer {
    /// Starts it, its output going to files.
    pub fn start(how: &Invocation) -> Result<Self> {
        let stdout = how.directory.join("stdout");
        let stderr = how.directory.join("stderr");
        let mut command = Command::new(how.program);
        command.args(how.args).stdin(Stdio::null());
        command
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?);
        how.cage.close(&mut command)?;
        exec::confine(&mut command, None);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}: is it built?", how.program.display()))?;
        Ok(Self {
            child,
            stdout,
            stderr,
        })
    }

    /// Starts it, kept from nothing, and waits until `trace` (its standard output, or a file of trace lines) says that it watches.
    pub fn watch(
        program: &Path,
        args: &[String],
        directory: &Path,
        trace: &Path,
        patience: Duration,
    ) -> Result<Self> {
        let mut observer = Self::start(&Invocation {
            program,
            args,
            cage: &Cage::default(),
            directory,
        })?;
        observer.wait_for_start(trace, patience)?;
        Ok(observer)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written to its standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// Everything it has written to its standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Waits until `trace` (a file of trace lines) has its `start` line.
    pub fn wait_for_start(&mut self, trace: &Path, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            if read_lines(trace)?.iter().any(|line| line["kind"] == "start") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "observer ended ({}) before it started to watch: {}",
                    code(status),
                    self.stderr().trim()
                );
            }
            if begun.elapsed() > patience {
                bail!(
                    "observer wrote no start line in {} s: {}",
                    patience.as_secs(),
                    self.stderr().trim()
                );
            }
            std::thread::sleep(TICK);
        }
    }

    /// Where its standard output goes.
    pub fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).context("cannot signal observer")
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > patience {
                bail!("observer did not end within {} s", patience.as_secs());
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The complete lines of a trace file so far. One that is no JSON object is an error.
pub fn read_lines(trace: &Path) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap_or_default()).into_owned();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete
        .lines()
        .map(|line| match serde_json::from_str(line) {
            Ok(value @ Value::Object(_)) => Ok(value),
            _ => bail!("this line is no JSON object: {}", line.escape_debug()),
        })
        .collect()
}

/// An exit status the way a shell says it.
pub fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

/// Memory that a process has in use, in KiB: `VmRSS`, proc_pid_status(5).
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("observer is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("no VmRSS")
}
