//! The probes on functions of a hook that ask no rules: where two of them can have dropped a packet, what each returned
//! tells which of them it was.

use std::collections::BTreeSet;

use anyhow::Result;
use aya::Ebpf;

use super::kprobes::Kprobes;
use super::retired::Retired;

const ENTRY: &str = "hook_function_entry";
const EXIT: &str = "hook_function_exit";

/// What is attached.
#[derive(Default)]
pub(super) struct FunctionProbes {
    probes: Kprobes,
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
        self.probes.load(ebpf, &[ENTRY, EXIT])?;
        for function in wanted {
            let attached = [EXIT, ENTRY]
                .into_iter()
                .try_for_each(|name| self.probes.attach(ebpf, name, &function));
            if let Err(error) = attached {
                log::info!("what {function} returns is not seen: {error:#}");
            }
            self.tried.insert(function);
        }
        Ok(true)
    }

    pub(super) fn is_on(&self) -> bool {
        self.probes.is_on()
    }

    /// Takes everything off.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf, retired: &mut Retired) -> Result<()> {
        self.tried.clear();
        self.probes.detach(ebpf, retired)
    }

    /// What is attached, as the `start` line says it.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.probes.names()
    }
}
