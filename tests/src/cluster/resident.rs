//! A process that does nothing but live in a node.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

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

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
