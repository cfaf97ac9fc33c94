//! Ending what we started in process groups of its own when we are told to end.
//!
//! A virtual machine runs in its own group so that all of it can be ended at once; the price is that the terminal's
//! Ctrl-C does not reach it.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, killpg, sigaction};
use nix::unistd::Pid;

/// The groups that are running; 0 is a free place. There are never more than the kernels of the matrix.
static GROUPS: [AtomicI32; 16] = [const { AtomicI32::new(0) }; 16];

/// From here on, SIGINT, SIGTERM and SIGHUP end the groups that are running, then us.
pub fn watch() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(end_all), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only loads atomics and makes the async-signal-safe calls kill and _exit.
        unsafe { sigaction(signal, &action) }.context("cannot watch for signals")?;
    }
    Ok(())
}

/// A process group that ends with this value, and with us.
pub struct Group(i32);

impl Group {
    /// Takes charge of a group by the id of its leader.
    pub fn of(leader: u32) -> Result<Self> {
        let id = i32::try_from(leader).context("a process id out of range")?;
        // With no place left it still ends with the value, only not at Ctrl-C.
        GROUPS.iter().any(|place| {
            place
                .compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        });
        Ok(Self(id))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails when all of it has ended by itself, as it should have.
        let _gone = killpg(Pid::from_raw(self.0), Signal::SIGKILL);
        for place in &GROUPS {
            let _other = place.compare_exchange(self.0, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

extern "C" fn end_all(signal: libc::c_int) {
    for place in &GROUPS {
        let group = place.load(Ordering::Acquire);
        if group > 0 {
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
    // SAFETY: _exit is async-signal-safe and takes any code.
    unsafe { libc::_exit(128 + signal) }
}
