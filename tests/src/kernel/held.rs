//! What is held of the kernel while something observes it, and by nobody's namespace: BPF objects, probes on functions, uses of
//! modules. Asked of the kernel itself, which has it whoever holds it.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use super::bpf::{Object, ids};

/// Functions that a tracer is called from: what fentry, fexit and kprobes on a function's first byte come to.
const FUNCTIONS: &str = "/sys/kernel/tracing/enabled_functions";
/// `kprobes` and `kretprobes`, with the function that each is on.
const KPROBES: &str = "/sys/kernel/debug/kprobes/list";
const MODULES: &str = "/proc/modules";

/// What each part of a list begins with.
const PROBE: &str = "probe on ";
const USE: &str = "use ";

/// All of it, one string each; where files of tracefs and debugfs are not to be had, without what they show.
pub fn now() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (object, name) in [
        (Object::Program, "program"),
        (Object::Map, "map"),
        (Object::Link, "link"),
    ] {
        found.extend(ids(object)?.into_iter().map(|id| format!("bpf {name} {id}")));
    }
    found.extend(functions(&fs::read_to_string(FUNCTIONS).unwrap_or_default()));
    found.extend(kprobes(&fs::read_to_string(KPROBES).unwrap_or_default()));
    found.extend(uses(
        &fs::read_to_string(MODULES).context("cannot read the modules")?,
    ));
    Ok(found)
}

/// The numbers of all BPF links.
pub fn links() -> Result<Vec<u32>> {
    ids(Object::Link)
}

/// Whether the kernel shows where its probes are.
pub fn shows_probes() -> bool {
    [FUNCTIONS, KPROBES]
        .iter()
        .all(|file| fs::read_to_string(file).is_ok())
}

/// Whether this is a probe.
pub fn is_probe(one: &str) -> bool {
    one.starts_with(PROBE)
}

/// Whether this is a use of that module.
pub fn is_use_of(one: &str, module: &str) -> bool {
    one.starts_with(USE) && one.ends_with(&format!(" of module {module}"))
}

/// Whether this may go by itself, without that anybody has taken it away: namespaces that are gone give up what they used later.
pub fn is_passing(one: &str) -> bool {
    is_probe(one) || one.starts_with(USE)
}

/// `nf_hook_slow (1) R   D   M   tramp: ftrace_regs_caller+0x0/0x65 …`
fn functions(text: &str) -> impl Iterator<Item = String> {
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.map(|name| format!("{PROBE}function {name}"))
}

/// `ffffffff81e2a1d0  r  nf_hook_slow+0x0  [FTRACE]`
fn kprobes(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, kind, place, ..] = words[..] else {
            return None;
        };
        Some(format!("{PROBE}{kind} {place}"))
    })
}

/// `nf_tables 360448 21 nft_ct, Live 0xffffffffc085c000`: one for each time that it is used.
fn uses(text: &str) -> impl Iterator<Item = String> {
    text.lines().flat_map(|line| {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let count: u32 = words.nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
        (1..=count).map(move |number| format!("{USE}{number} of module {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_of_a_module_is_one() {
        let text = "nf_tables 360448 2 nft_ct, Live 0xffffffffc085c000\nveth 40960 0 - Live 0x0\n";
        let found: Vec<String> = uses(text).collect();
        assert_eq!(found, ["use 1 of module nf_tables", "use 2 of module nf_tables"]);
        assert!(is_use_of(&found[0], "nf_tables") && !is_use_of(&found[0], "tables"));
    }

    #[test]
    fn probes_are_told_by_kind_and_place() {
        let kprobes: Vec<String> = kprobes(
            "ffffffff81e2a1d0  r  nf_hook_slow+0x0    [FTRACE]\nffffffffc0860000  k  __nft_trace_packet+0x0  nf_tables [FTRACE]\n",
        )
        .collect();
        assert_eq!(
            kprobes,
            ["probe on r nf_hook_slow+0x0", "probe on k __nft_trace_packet+0x0"]
        );
        let functions: Vec<String> =
            functions("nf_hook_slow (1) R   D   M \ttramp: 0xffffffffc0a00000\n").collect();
        assert_eq!(functions, ["probe on function nf_hook_slow"]);
        assert!(
            kprobes
                .iter()
                .chain(&functions)
                .all(|one| is_passing(one) && is_probe(one))
        );
    }
}
