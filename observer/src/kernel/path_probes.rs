//! The probes on the way of packets that live: put on and taken off while observer runs.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::programs::fentry::FEntryLinkId;
use aya::programs::fexit::FExitLinkId;
use aya::programs::kprobe::KProbeLinkId;
use aya::programs::{FEntry, FExit, KProbe};

use super::Symbols;
use super::function_probes::FunctionProbes;
use super::kprobes::{self, put_on};
use super::programs::{Programs, program};
use super::retired::Retired;
use super::verdict_probes::VerdictProbes;

/// The function that runs every hook but the bridge's PREROUTING; always built in (net/netfilter/core.c).
pub(super) const HOOK: &str = "nf_hook_slow";
/// The function through which nf_tables says what its rules do (net/netfilter/nf_tables_core.c).
const TRACE: &str = "__nft_trace_packet";

/// What is attached to the way of packets, and how.
#[derive(Default)]
pub struct PathProbes {
    hooks: Option<Hooks>,
    trace: Option<KProbeLinkId>,
    /// Those on the functions that write nf_tables' verdicts.
    pub(super) verdicts: VerdictProbes,
    /// Those on functions of hooks that ask no rules.
    functions: FunctionProbes,
    /// Those that are being taken off.
    retired: Retired,
    /// What was loaded already: a program is loaded once.
    loaded: Vec<&'static str>,
    /// Why fentry cannot be had, if so: otherwise its programs are loaded.
    refused: Option<String>,
}

enum Hooks {
    Fentry(FEntryLinkId, FExitLinkId),
    Kprobe(KProbeLinkId, KProbeLinkId),
}

impl PathProbes {
    /// `refused`: why fentry cannot be had, if so.
    pub(super) fn new(refused: Option<String>) -> Self {
        Self {
            refused,
            ..Self::default()
        }
    }

    /// Attaches to the entry and exit of every hook: fentry and fexit, or else a kprobe and a kretprobe.
    fn attach_hooks(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        if self.hooks.is_some() {
            return Ok(());
        }
        self.hooks = Some(match self.fentry(ebpf) {
            Ok(hooks) => hooks,
            Err(error) => {
                log::info!("no fentry on {HOOK}: {error:#}");
                self.kprobe(ebpf)
                    .with_context(|| format!("neither fentry ({}) nor kprobe", first_line(&error)))?
            }
        });
        Ok(())
    }

    fn fentry(&self, ebpf: &mut Ebpf) -> Result<Hooks> {
        if let Some(refused) = &self.refused {
            bail!("{refused}");
        }
        // The exit first: an entry without its exit would have to be noticed.
        let exit: &mut FExit = program(ebpf, "nf_hook_slow_exit")?.try_into()?;
        let exit = exit.attach()?;
        let entry: &mut FEntry = program(ebpf, "nf_hook_slow_entry")?.try_into()?;
        match entry.attach() {
            Ok(entry) => Ok(Hooks::Fentry(entry, exit)),
            Err(error) => {
                let program: &mut FExit = program(ebpf, "nf_hook_slow_exit")?.try_into()?;
                program.detach(exit)?;
                Err(error.into())
            }
        }
    }

    fn kprobe(&mut self, ebpf: &mut Ebpf) -> Result<Hooks> {
        kprobes::exist()?;
        for name in ["nf_hook_slow_kprobe", "nf_hook_slow_kretprobe"] {
            if !self.is_loaded(name) {
                let kprobe: &mut KProbe = program(ebpf, name)?.try_into()?;
                kprobe.load()?;
                self.loaded.push(name);
            }
        }
        let exit: &mut KProbe = program(ebpf, "nf_hook_slow_kretprobe")?.try_into()?;
        let exit = put_on(exit, HOOK)?;
        let entry: &mut KProbe = program(ebpf, "nf_hook_slow_kprobe")?.try_into()?;
        match put_on(entry, HOOK) {
            Ok(entry) => Ok(Hooks::Kprobe(entry, exit)),
            Err(error) => {
                let program: &mut KProbe = program(ebpf, "nf_hook_slow_kretprobe")?.try_into()?;
                program.detach(exit)?;
                Err(error.into())
            }
        }
    }

    fn is_loaded(&self, name: &str) -> bool {
        self.loaded.contains(&name)
    }

    fn attach_trace(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        if self.trace.is_some() {
            return Ok(());
        }
        let probe: &mut KProbe = program(ebpf, "nft_trace_packet")?.try_into()?;
        if !self.is_loaded("nft_trace_packet") {
            probe.load()?;
            self.loaded.push("nft_trace_packet");
        }
        self.trace = Some(put_on(probe, TRACE)?);
        Ok(())
    }

    fn detach_hooks(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        match self.hooks.take() {
            None => {}
            Some(Hooks::Fentry(entry, exit)) => {
                let program_entry: &mut FEntry = program(ebpf, "nf_hook_slow_entry")?.try_into()?;
                self.retired.take(program_entry.take_link(entry)?);
                let program_exit: &mut FExit = program(ebpf, "nf_hook_slow_exit")?.try_into()?;
                self.retired.take(program_exit.take_link(exit)?);
            }
            Some(Hooks::Kprobe(entry, exit)) => {
                let program_entry: &mut KProbe = program(ebpf, "nf_hook_slow_kprobe")?.try_into()?;
                self.retired.take(program_entry.take_link(entry)?);
                let program_exit: &mut KProbe = program(ebpf, "nf_hook_slow_kretprobe")?.try_into()?;
                self.retired.take(program_exit.take_link(exit)?);
            }
        }
        Ok(())
    }

    fn detach_trace(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        if let Some(link) = self.trace.take() {
            let probe: &mut KProbe = program(ebpf, "nft_trace_packet")?.try_into()?;
            self.retired.take(probe.take_link(link)?);
        }
        Ok(())
    }

    /// What is attached, as the `start` line says it.
    fn names(&self) -> Vec<String> {
        let hooks: &[&str] = match &self.hooks {
            None => &[],
            Some(Hooks::Fentry(..)) => &["fentry/nf_hook_slow", "fexit/nf_hook_slow"],
            Some(Hooks::Kprobe(..)) => &["kprobe/nf_hook_slow", "kretprobe/nf_hook_slow"],
        };
        let trace: &[&str] = if self.trace.is_some() {
            &["kprobe/__nft_trace_packet"]
        } else {
            &[]
        };
        let fixed = hooks.iter().chain(trace).map(|name| (*name).to_owned());
        fixed
            .chain(self.verdicts.names())
            .chain(self.functions.names())
            .collect()
    }
}

impl Programs {
    /// Attaches to the entry and exit of every hook.
    ///
    /// # Errors
    /// This kernel allows neither fentry nor kprobes there.
    pub fn attach_hooks(&mut self) -> Result<()> {
        let (mut ebpf, probes) = self.probing();
        probes.attach_hooks(&mut ebpf)?;
        drop(ebpf);
        self.paths.open()
    }

    /// Attaches to nf_tables' trace hook; what turns it on is the caller's.
    ///
    /// # Errors
    /// This kernel allows no kprobe there, or nf_tables is not loaded.
    pub fn attach_trace(&mut self) -> Result<()> {
        let (mut ebpf, probes) = self.probing();
        probes.attach_trace(&mut ebpf)
    }

    /// Attaches to functions of hooks, by their symbols. What is attached already stays; call again when hooks changed.
    /// False if nothing was to do.
    ///
    /// # Errors
    /// This kernel allows no kprobes.
    pub fn attach_functions(&mut self, functions: &BTreeSet<String>) -> Result<bool> {
        let (mut ebpf, probes) = self.probing();
        probes.functions.attach(&mut ebpf, functions)
    }

    /// Takes the probes off the hooks and their functions, the trace hook and the writers of verdicts. They may run for a while yet: the
    /// filter tells them that there is nothing to do.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach_paths(&mut self) -> Result<()> {
        let (mut ebpf, probes) = self.probing();
        let trace = probes.detach_trace(&mut ebpf);
        let verdicts = probes.verdicts.detach(&mut ebpf, &mut probes.retired);
        let functions = probes.functions.detach(&mut ebpf, &mut probes.retired);
        probes
            .detach_hooks(&mut ebpf)
            .and(trace)
            .and(verdicts)
            .and(functions)
    }

    /// Takes off what lies in modules, but for nf_tables' trace hook. False if nothing was on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach_modules(&mut self) -> Result<bool> {
        let (mut ebpf, paths) = self.probing();
        let was_on = paths.verdicts.is_on() || paths.functions.is_on();
        let verdicts = paths.verdicts.detach(&mut ebpf, &mut paths.retired);
        paths
            .functions
            .detach(&mut ebpf, &mut paths.retired)
            .and(verdicts)?;
        Ok(was_on)
    }

    /// Takes the probe off nf_tables' trace hook.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach_trace(&mut self) -> Result<()> {
        let (mut ebpf, probes) = self.probing();
        probes.detach_trace(&mut ebpf)
    }

    /// Attaches to the functions that write nf_tables' verdicts: those among `functions`, the addresses of what evaluates
    /// the rules in force. What is attached already stays; call again when rulesets changed. `now_ns` tells the time,
    /// `CLOCK_MONOTONIC`. False if nothing was to do.
    ///
    /// # Errors
    /// This kernel allows no kprobes there, or nf_tables is not loaded.
    pub fn attach_verdicts(
        &mut self,
        symbols: &Symbols,
        functions: &BTreeSet<u64>,
        now_ns: fn() -> u64,
    ) -> Result<bool> {
        let (mut ebpf, probes) = self.probing();
        probes
            .verdicts
            .attach((&mut ebpf, &mut probes.retired), symbols, functions, now_ns)
    }

    /// Whether what a function of nf_tables decided was seen since that time, or it decides nothing.
    pub fn sees_verdicts_of(&self, function: u64, since_ns: u64) -> bool {
        self.path_probes.verdicts.sees(function, since_ns)
    }

    /// Whether hooks are watched.
    pub fn watches_hooks(&self) -> bool {
        self.path_probes.hooks.is_some()
    }

    /// Whether nf_tables' trace hook is watched.
    pub fn watches_trace(&self) -> bool {
        self.path_probes.trace.is_some()
    }

    /// Names of the probes that are attached, those for paths included.
    pub fn probes(&self) -> Vec<String> {
        let mut names = self.attached().to_vec();
        names.extend(self.path_probes.names());
        names
    }
}

/// An error in one line: a verifier's log has thousands.
pub fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}
