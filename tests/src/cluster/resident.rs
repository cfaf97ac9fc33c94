//! A process that lives in a node for as long as the cluster is up.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::exec;
use crate::netns::Netns;

/// Longer than any scenario takes; it ends earlier, with the lab.
const SECONDS: &str = "3600";

/// The process. Dropping it ends it.
pub(super) struct Resident(Child);

impl Resident {
    pub(super) fn start(netns: &Netns) -> Result<Self> {
        let mut command = Command::new("sleep");
        command
            .arg(SECONDS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        exec::confine(&mut command, Some(netns));
        command.spawn().map(Self).context("cannot run sleep")
    }

    /// Runs a shell script; whatever it starts ends with it.
    pub(super) fn run(netns: &Netns, script: &str) -> Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        exec::confine(&mut command, Some(netns));
        command.spawn().map(Self).context("cannot run sh")
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // Fails for one that is not the leader of a group: it has started nothing.
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
