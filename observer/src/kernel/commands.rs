//! Programs that are only ever run by command, by descriptors of their own: they are run while others are still being loaded.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::RawTracePoint;

use super::bpf::bpf;
use super::programs::program;

/// `BPF_PROG_TEST_RUN`, include/uapi/linux/bpf.h
const TEST_RUN: libc::c_long = 10;
/// `BPF_F_TEST_RUN_ON_CPU`
const ON_CPU: u32 = 1;
/// So many arguments a program has at most.
const ARGUMENTS: usize = 12;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Calibrate,
    CurrentNet,
    Follow,
    Gather,
    Peek,
    TakeBaseline,
}

/// Their names in the object, in the order of [`Command`].
pub(super) const COMMANDS: [&str; 6] = [
    "calibrate",
    "current_net",
    "follow",
    "gather",
    "peek",
    "take_baseline",
];

/// All of them, loaded.
#[derive(Clone)]
pub(super) struct Commands(Rc<[OwnedFd; COMMANDS.len()]>);

/// The part of `union bpf_attr` that is for running a program: since v5.10, and longer since.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    program: u32,
    returned: u32,
    data_in_len: u32,
    data_out_len: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_len: u32,
    context_out_len: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
}

impl Commands {
    /// Of an object in which they are loaded.
    ///
    /// # Errors
    /// One is not.
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self> {
        let mut descriptors = Vec::new();
        for name in COMMANDS {
            let program: &mut RawTracePoint = program(ebpf, name)?.try_into()?;
            let descriptor = program.fd()?.as_fd().try_clone_to_owned();
            descriptors.push(descriptor.with_context(|| format!("cannot keep the program {name}"))?);
        }
        let all: [OwnedFd; COMMANDS.len()] = descriptors
            .try_into()
            .map_err(|_| anyhow::anyhow!("a program is missing"))?;
        Ok(Self(Rc::new(all)))
    }

    /// Runs one, on this CPU or another; true if it says that it succeeded.
    pub(super) fn run(&self, command: Command, arguments: &[u64], cpu: Option<u32>) -> bool {
        let mut context = [0_u64; ARGUMENTS];
        for (to, from) in context.iter_mut().zip(arguments) {
            *to = *from;
        }
        let mut attributes = Attributes {
            program: self.0[command as usize].as_raw_fd().cast_unsigned(),
            context_in_len: size_of_val(&context) as u32,
            context_in: context.as_ptr() as u64,
            flags: cpu.map_or(0, |_| ON_CPU),
            cpu: cpu.unwrap_or(0),
            ..Attributes::default()
        };
        // SAFETY: the attributes and the context that they name outlive the call, and have the lengths that are said.
        let code = unsafe { bpf(TEST_RUN, &mut attributes) };
        if code != 0 {
            log::debug!(
                "cannot run {}: {}",
                COMMANDS[command as usize],
                std::io::Error::last_os_error()
            );
        }
        code == 0 && attributes.returned == 0
    }
}
