//! Loading the programs. Most of what that takes is the verifier, which looks at them side by side where there are processors.

use std::collections::HashMap;
use std::thread;

use anyhow::{Context as _, Result, bail};
use aya::programs::{BtfTracePoint, FEntry, FExit, Program, RawTracePoint};
use aya::{Btf, Ebpf};

use super::commands::COMMANDS;
use super::path_probes::{HOOK, first_line};
use super::programs::program;

/// The tracepoint that sees drops: of no use without.
pub(super) const DROPS: &str = "kfree_skb";
/// Those that say that a ruleset changes: without them rulesets are looked at again and again.
pub(super) const HINTS: [&str; 2] = ["percpu_alloc_percpu", "percpu_free_percpu"];
/// Tests set this to see the second rung of the ladder on a kernel that has the first.
const NO_FENTRY: &str = "OBSERVER_NO_FENTRY";

/// The object's programs, each to be taken once.
type Unloaded<'a> = HashMap<&'a str, &'a mut Program>;

/// Loads what memory is read with and what notices that rulesets change: little for the verifier.
///
/// # Errors
/// The kernel refuses a program that nothing works without.
pub(super) fn load_first(ebpf: &mut Ebpf, btf: &Btf) -> Result<()> {
    for name in COMMANDS {
        let program: &mut RawTracePoint = program(ebpf, name)?.try_into()?;
        program
            .load()
            .with_context(|| format!("the kernel refuses the program {name}"))?;
    }
    for name in HINTS {
        let program: &mut BtfTracePoint = program(ebpf, name)?.try_into()?;
        if let Err(error) = program.load(name, btf) {
            log::info!("no tracepoint {name}: {error}");
        }
    }
    Ok(())
}

/// Loads what else is needed from the beginning, and says why fentry cannot be had, if so.
///
/// # Errors
/// The kernel refuses the program that sees drops.
pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf) -> Result<Option<String>> {
    let mut programs: Unloaded = ebpf.programs_mut().collect();
    let (exit, entry) = (
        take(&mut programs, "nf_hook_slow_exit")?,
        take(&mut programs, "nf_hook_slow_entry")?,
    );
    let drops: &mut BtfTracePoint = take(&mut programs, DROPS)?.try_into()?;
    let refused = thread::scope(|scope| {
        let fentry = scope.spawn(|| load_fentry(exit, entry, btf));
        drops
            .load(DROPS, btf)
            .with_context(|| format!("the kernel refuses the program {DROPS}"))?;
        fentry
            .join()
            .map_err(|_| anyhow::anyhow!("the programs of fentry were not loaded"))
    })?;
    Ok(refused.err().map(|error| {
        log::debug!("no fentry: {error:?}");
        first_line(&error)
    }))
}

fn load_fentry(exit: &mut Program, entry: &mut Program, btf: &Btf) -> Result<()> {
    if std::env::var_os(NO_FENTRY).is_some() {
        bail!("{NO_FENTRY} is set");
    }
    let exit: &mut FExit = exit.try_into()?;
    exit.load(HOOK, btf)?;
    let entry: &mut FEntry = entry.try_into()?;
    entry.load(HOOK, btf)?;
    Ok(())
}

fn take<'a>(programs: &mut Unloaded<'a>, name: &str) -> Result<&'a mut Program> {
    programs
        .remove(name)
        .with_context(|| format!("the eBPF object has no program {name}"))
}
