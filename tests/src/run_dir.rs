//! What a run leaves on the machine while it lasts, and how it goes away even after SIGKILL.
//!
//! Every run has a directory under `/run/observer-lab`. Its `undo` file lists each namespace name and mount
//! before it is made. A watcher process waits for the end of the run (its end of a pipe closes) and undoes what
//! is left; if the watcher was killed too, the next run does it.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{SigHandler, Signal, killpg, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use crate::netns;

const RUNS: &str = "/run/observer-lab";

/// The directory of this run. Dropping it undoes what is listed in it.
pub struct RunDir {
    path: PathBuf,
    watcher: Pid,
    alive: Option<OwnedFd>,
}

impl RunDir {
    /// Cleans up after dead runs, makes this run's directory and starts the watcher. Call it while the process
    /// has one thread only: it forks.
    pub fn start() -> Result<Self> {
        clean_dead_runs();
        let pid = std::process::id();
        let path = Path::new(RUNS).join(format!("{pid}.{}", start_time(pid).unwrap_or_default()));
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}: run as root", path.display()))?;
        let (watcher, alive) = start_watcher(&path)?;
        Ok(Self {
            path,
            watcher,
            alive: Some(alive),
        })
    }

    /// Where this run may write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other run sends packets in this kernel, and keeps others waiting until the file is closed:
    /// observer sees every namespace, so runs would explain each other's drops.
    pub fn alone(&self) -> Result<Flock<fs::File>> {
        let path = Path::new(RUNS).join("lock");
        let file = fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .context("cannot lock")
    }

    /// Notes a namespace name that is about to be made.
    pub fn will_name(&self, name: &str) -> Result<()> {
        self.note(&format!("netns {name}"))
    }

    /// Notes a mount that is about to be made.
    pub fn will_mount(&self, at: &Path) -> Result<()> {
        self.note(&format!("mount {}", at.display()))
    }

    /// Notes a process group that has been started.
    pub fn has_group(&self, leader: u32) -> Result<()> {
        self.note(&format!("group {leader}"))
    }

    fn note(&self, line: &str) -> Result<()> {
        let path = self.path.join("undo");
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        writeln!(file, "{line}").with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        undo(&self.path);
        self.alive = None;
        let _ = waitpid(self.watcher, None);
    }
}

fn undo(run: &Path) {
    for line in fs::read_to_string(run.join("undo")).unwrap_or_default().lines() {
        match line.split_once(' ') {
            Some(("netns", name)) => netns::remove_name(name),
            Some(("mount", at)) => drop(umount2(at, MntFlags::MNT_DETACH)),
            Some(("group", leader)) => end_group(leader),
            _ => {}
        }
    }
    let _ = fs::remove_dir_all(run);
}

fn end_group(leader: &str) {
    if let Ok(leader) = leader.parse() {
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    }
}

fn clean_dead_runs() {
    for entry in fs::read_dir(RUNS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, started)) = name.split_once('.') else {
            continue;
        };
        let alive = pid
            .parse()
            .ok()
            .and_then(start_time)
            .is_some_and(|time| time == started);
        if !alive {
            undo(&entry.path());
        }
    }
}

/// When a process started, in clock ticks after boot: with its pid, its identity.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

fn start_watcher(run: &Path) -> Result<(Pid, OwnedFd)> {
    let (ended, alive) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("pipe")?;
    // SAFETY: the process has one thread (see `RunDir::start`), so no lock can be held by another one.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok((child, alive)),
        ForkResult::Child => {
            drop(alive);
            wait_and_undo(ended, run);
            std::process::exit(0);
        }
    }
}

fn wait_and_undo(ended: OwnedFd, run: &Path) {
    let _ = setsid();
    for ignored in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: SigIgn installs no handler that could run code of ours.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = (dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null));
    }
    let _ = fs::File::from(ended).read(&mut [0]);
    if run.exists() {
        undo(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let me = std::process::id();
        assert!(start_time(me).is_some_and(|time| time.parse::<u64>().is_ok()));
        assert_eq!(start_time(me), start_time(me));
        assert_eq!(start_time(u32::MAX), None);
    }
}
