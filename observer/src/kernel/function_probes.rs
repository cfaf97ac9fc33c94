//! The probes on functions of a hook that ask no rules: where two of them can have dropped a packet, what each returned
//! tells which of them it was.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::KProbe;
use aya::programs::kprobe::KProbeLinkId;

use super::programs::program;

const ENTRY: &str = "hook_function_entry";
const EXIT: &str = "hook_function_exit";

/// What is attached.
#[derive(Default)]
pub(super) struct FunctionProbes {
    links: Vec<(String, &'static str, KProbeLinkId)>,
    is_loaded: bool,
    /// What is attached, or could not be and is not tried again.
    tried: BTreeSet<String>,
}

impl FunctionProbes {
    /// Attaches to functions, by their symbols, that are not tried yet; false if nothing was to do.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, functions: &BTreeSet<String>) -> Result<bool> {
        let wanted: Vec<String> = functions.difference(&self.tried).cloned().collect();
        if wanted.is_empty() {
            return Ok(false);
        }
        if !self.is_loaded {
            for name in [ENTRY, EXIT] {
                let probe: &mut KProbe = program(ebpf, name)?.try_into()?;
                probe
                    .load()
                    .with_context(|| format!("the kernel refuses the program {name}"))?;
            }
            self.is_loaded = true;
        }
        for function in wanted {
            let attached = [EXIT, ENTRY]
                .into_iter()
                .try_for_each(|name| self.attach_one(ebpf, name, &function));
            if let Err(error) = attached {
                log::info!("what {function} returns is not seen: {error:#}");
            }
            self.tried.insert(function);
        }
        Ok(true)
    }

    fn attach_one(&mut self, ebpf: &mut Ebpf, name: &'static str, function: &str) -> Result<()> {
        let probe: &mut KProbe = program(ebpf, name)?.try_into()?;
        let id = probe
            .attach(function, 0)
            .with_context(|| format!("cannot attach to {function}"))?;
        self.links.push((function.to_owned(), name, id));
        Ok(())
    }

    /// Takes everything off.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        self.tried.clear();
        let mut result = Ok(());
        while let Some((_, name, id)) = self.links.pop() {
            let detached =
                program(ebpf, name).and_then(|program| Ok(<&mut KProbe>::try_from(program)?.detach(id)?));
            result = result.and(detached);
        }
        result
    }

    /// What is attached, as the `start` line says it.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.links.iter().map(|(function, name, _)| {
            let how = if *name == EXIT { "kretprobe" } else { "kprobe" };
            format!("{how}/{function}")
        })
    }
}
