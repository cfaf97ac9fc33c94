//! Programs that are put on functions as kprobes and kretprobes, and taken off again.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::programs::kprobe::KProbeLinkId;
use aya::programs::{KProbe, ProgramError};

use super::programs::program;
use super::retired::Retired;
use crate::privilege::capabilities::{self, SYS_ADMIN};

/// Where the kernel says how a kprobe is opened, if it has any (kernel/events/core.c, `perf_kprobe`).
const KIND: &str = "/sys/bus/event_source/devices/kprobe/type";

/// # Errors
/// The kernel has no kprobes. Asked before their programs are loaded: the verifier looks at those for a quarter of a second.
pub(super) fn exist() -> Result<()> {
    if !Path::new(KIND).exists() {
        bail!("the kernel has no kprobes: there is no {KIND}");
    }
    Ok(())
}

/// What is attached.
#[derive(Default)]
pub(super) struct Kprobes {
    links: Vec<Link>,
    is_loaded: bool,
}

struct Link {
    program: &'static str,
    function: String,
    id: KProbeLinkId,
}

impl Kprobes {
    /// Loads the programs, once.
    pub(super) fn load(&mut self, ebpf: &mut Ebpf, programs: &[&str]) -> Result<()> {
        if !self.is_loaded {
            exist()?;
            for name in programs {
                let probe: &mut KProbe = program(ebpf, name)?.try_into()?;
                probe
                    .load()
                    .with_context(|| format!("the kernel refuses the program {name}"))?;
            }
            self.is_loaded = true;
        }
        Ok(())
    }

    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, name: &'static str, function: &str) -> Result<()> {
        let probe: &mut KProbe = program(ebpf, name)?.try_into()?;
        let id = put_on(probe, function).with_context(|| format!("cannot attach to {function}"))?;
        self.links.push(Link {
            program: name,
            function: function.to_owned(),
            id,
        });
        Ok(())
    }

    /// Takes everything off, the last first.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf, retired: &mut Retired) -> Result<()> {
        let mut result = Ok(());
        while let Some(link) = self.links.pop() {
            let detached = program(ebpf, link.program)
                .and_then(|program| Ok(<&mut KProbe>::try_from(program)?.take_link(link.id)?))
                .map(|link| retired.take(link));
            result = result.and(detached);
        }
        result
    }

    pub(super) fn is_on(&self) -> bool {
        !self.links.is_empty()
    }

    /// What is attached, as the `start` line says it: programs at a function's exit are named so.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.links.iter().map(|link| {
            let is_exit = link.program.ends_with("_exit");
            let how = if is_exit { "kretprobe" } else { "kprobe" };
            format!("{how}/{}", link.function)
        })
    }
}

/// Puts a program on a function. Where `kernel.perf_event_paranoid` is 3, as on Debian, CAP_PERFMON is not enough for that.
pub(super) fn put_on(probe: &mut KProbe, function: &str) -> Result<KProbeLinkId, ProgramError> {
    capabilities::with(SYS_ADMIN, || probe.attach(function, 0))
}
