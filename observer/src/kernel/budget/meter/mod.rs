//! The system calls around the budget.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use aya::sys::{Stats, SyscallError, enable_stats};

use super::{Action, Budget, Permille};

/// Measures programs, a tenth of the time.
#[derive(Debug)]
pub struct Meter {
    budget: Budget,
    programs: Vec<OwnedFd>,
    /// While this is open, the kernel counts.
    counting: Option<OwnedFd>,
}

/// What a look at the meter shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Share of the last window.
    pub share: Permille,
    /// Whether it was too much for seconds.
    pub is_over: bool,
}

impl Meter {
    /// A limit in thousandths of one CPU; `u32::MAX` is none.
    pub fn new(permille: u32) -> Self {
        Self {
            budget: Budget::new(permille),
            programs: Vec::new(),
            counting: None,
        }
    }

    /// Watches these programs from now on, and no others. Their descriptors are copied, so a program that is detached
    /// stays loaded until this is called without it.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn watch(&mut self, programs: &[BorrowedFd<'_>], now: Instant) -> io::Result<()> {
        self.counting = None;
        self.budget.restart(now);
        self.programs.clear();
        for program in programs {
            self.programs.push(program.try_clone_to_owned()?);
        }
        Ok(())
    }

    /// When to look again, at the latest; `None`: never.
    pub fn due(&self) -> Option<Instant> {
        if self.programs.is_empty() {
            return None;
        }
        self.budget.due()
    }

    /// Starts or ends a window if it is time; what was measured when one ended. Costs nothing when it is not time.
    ///
    /// # Errors
    /// The kernel does not count run times (before v5.8, or without the privilege): there is no budget then.
    pub fn look(&mut self, now: Instant) -> Result<Option<Measured>, SyscallError> {
        if self.due().is_none_or(|due| now < due) {
            return Ok(None);
        }
        match self.budget.read(now, self.run_time_ns()) {
            Some(Action::StartWindow) => {
                match enable_stats(Stats::RunTime) {
                    Ok(counting) => self.counting = Some(counting),
                    Err(error) => {
                        self.budget.restart(now);
                        return Err(error);
                    }
                }
                self.budget.read(Instant::now(), self.run_time_ns());
                Ok(None)
            }
            Some(Action::EndWindow(share)) => Ok(Some(self.end(share, false))),
            Some(Action::Over(share)) => Ok(Some(self.end(share, true))),
            None => Ok(None),
        }
    }

    fn end(&mut self, share: Permille, is_over: bool) -> Measured {
        self.counting = None;
        Measured { share, is_over }
    }

    fn run_time_ns(&self) -> u64 {
        let times = self.programs.iter().filter_map(run_time_ns);
        times.sum()
    }
}

/// `run_time_ns` of a program (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c, v5.10 … v6.18).
fn run_time_ns(program: &OwnedFd) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("run_time_ns:"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests;
