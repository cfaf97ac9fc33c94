//! `observer check`: what this kernel allows.

use std::collections::BTreeMap;
use std::path::Path;

use super::ladder::{VERDICTS, ladder};
use super::open::{attribution, kernel_release, load_symbols, privileged, young_enough};
use super::opened::load_beside;
use crate::cli::check::{BackendCheck, CheckReport, Missing, Problem, Rights, Tracepoint};
use crate::counting;
use crate::kernel::trace_key::nf_tables_is_present;
use crate::kernel::{Loader, Room, Symbols, Types, find_offsets, possible_cpus};
use crate::privilege::{self, Service, Task};

/// Room for one counter: nothing is watched.
const ROOM: Room = Room {
    groups: 1,
    blocks: 1,
    runs: 1,
    chunks: 0,
    path_bytes: 0,
    snaplen: 0,
};

/// Looks at the running kernel, loads the programs as a trial, and lets them go.
pub fn check() -> CheckReport {
    // As `watch` does, so that what works here works there.
    let confined = privilege::confine(Task::Packets, Service::None)
        .inspect_err(|error| log::warn!("cannot give up capabilities: {error}"))
        .unwrap_or_default();
    let mut report = CheckReport {
        rights: Rights {
            capabilities: confined.left.names().into_iter().map(str::to_owned).collect(),
            no_new_privileges: confined.has_no_new_privileges,
            filtered: confined.filters_calls,
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel_release(),
        lockdown: lockdown(),
        ..CheckReport::default()
    };
    for cost in privilege::costs(Task::Packets) {
        report.missing.push(Missing {
            feature: "capability".to_owned(),
            cost,
        });
    }
    match trial(&mut report) {
        Ok(()) => report.works = true,
        Err(error) => report.problems.push(Problem {
            text: format!("{error:#}"),
            fix: "see docs/kernels.md for what observer needs; without it `observer watch` reads the counters of rules and \
                  policies that drop (--probes none)"
                .to_owned(),
        }),
    }
    let with_paths = report
        .ladder
        .iter()
        .filter(|rung| rung.probe == "__nft_trace_packet" || rung.probe == VERDICTS)
        .any(|rung| rung.how.is_some());
    report.counters = !report.works && counting::is_possible();
    report.backends = backends(&if report.counters {
        counting::attribution()
    } else {
        attribution(with_paths)
    });
    report
}

fn trial(report: &mut CheckReport) -> anyhow::Result<()> {
    let mut types = Types::load()?;
    report.btf = true;
    let arguments = types.tracepoint("kfree_skb");
    report.tracepoint = arguments.map(|arguments| Tracepoint {
        name: "skb:kfree_skb".to_owned(),
        arguments: named(&arguments),
    });
    let offsets = find_offsets(&mut types)?;
    missing(report, &types, offsets.has_reason != 0);
    privileged()?;
    young_enough(&types)?;
    let symbols = load_symbols()?;
    let (mut programs, ()) = load_beside(Loader::new(), &mut types, offsets, ROOM, |programs, _| {
        programs.attach_hints();
        Ok(())
    })?;
    report.ladder = ladder(&mut programs, &symbols, &mut types);
    Ok(())
}

/// Names of the arguments, from their types: BTF has no names for a tracepoint's.
fn named(types: &[String]) -> Vec<String> {
    let name = |of: &String| match of.as_str() {
        "sk_buff*" => "skb".to_owned(),
        "void*" | "*" => "location".to_owned(),
        "skb_drop_reason" => "reason".to_owned(),
        "sock*" => "rx_sk".to_owned(),
        other => other.to_owned(),
    };
    types.iter().map(name).collect()
}

fn missing(report: &mut CheckReport, types: &Types, has_reason: bool) {
    let mut lacks = |feature: &str, cost: &str| {
        report.missing.push(Missing {
            feature: feature.to_owned(),
            cost: cost.to_owned(),
        });
    };
    if !has_reason {
        lacks(
            "drop reasons",
            "drops that are not netfilter's are told by the kernel function alone",
        );
    }
    if types.tracepoint("percpu_free_percpu").is_none() {
        lacks(
            "tracepoint percpu_free_percpu",
            "a ruleset's change is noticed up to 250 ms late",
        );
    }
    if possible_cpus() <= 1 {
        lacks(
            "a second CPU",
            "rule counters lie in the rules; a ruleset's change is noticed up to 250 ms late",
        );
    }
}

fn backends(expected: &BTreeMap<String, String>) -> Vec<BackendCheck> {
    let backend = |name: &str, present| BackendCheck {
        name: name.to_owned(),
        present,
        attribution: expected.get(name).cloned().unwrap_or_default(),
    };
    let symbols = Symbols::load().unwrap_or_default();
    // Built in, or loaded as a module.
    let legacy = Path::new("/sys/module/x_tables").exists() || symbols.range("ipt_do_table").is_some();
    let nft = nf_tables_is_present(&symbols);
    vec![
        backend("legacy", legacy),
        backend("iptables-nft", nft),
        backend("nft", nft),
    ]
}

/// The word in brackets of `none [integrity] confidentiality`.
fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let start = text.find('[')? + 1;
    let end = text.find(']')?;
    text.get(start..end).map(str::to_owned)
}
