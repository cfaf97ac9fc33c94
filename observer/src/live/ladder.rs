//! The ladder: each probe, how this kernel lets it be attached, and what its lack costs in answers. Every step is tried,
//! not guessed.

use std::collections::BTreeSet;

use super::clock;
use crate::cli::check::Rung;
use crate::kernel::trace_key::{gates, nf_tables_is_present};
use crate::kernel::{Programs, Symbols, Types, first_line};

/// The function by which the step is named that watches verdicts.
pub const VERDICTS: &str = "nft_immediate_eval";

/// Tries each step on loaded programs and takes it off again.
pub fn ladder(programs: &mut Programs, symbols: &Symbols, types: &mut Types) -> Vec<Rung> {
    let mut rungs = vec![drops(), hooks(programs), trace(programs, symbols, types)];
    let is_traced = rungs.last().is_some_and(|rung| rung.how.is_some());
    if !is_traced && programs.watches_hooks() && nf_tables_is_present(symbols) {
        rungs.push(verdicts(programs, symbols));
    }
    rungs.push(changes(programs));
    if let Err(error) = programs.detach_paths() {
        log::warn!("cannot take the probes off again: {error:#}");
    }
    rungs
}

/// Tried before: without it there is no ladder.
fn drops() -> Rung {
    Rung {
        probe: "skb:kfree_skb".to_owned(),
        how: Some("tracepoint".to_owned()),
        gives: "every drop, with the rule or policy of legacy iptables and iptables-nft, and of native nft rules that count".to_owned(),
        missing: None,
    }
}

fn hooks(programs: &mut Programs) -> Rung {
    let gives = "the way of a packet through hooks and tables, NAT and marks; drops by hook functions (conntrack, NAT) named"
        .to_owned();
    let probe = "nf_hook_slow".to_owned();
    match programs.attach_hooks() {
        Ok(()) => {
            let names = programs.probes();
            let how = if names.iter().any(|name| name.starts_with("fentry/nf_hook_slow")) {
                "fentry and fexit"
            } else {
                "kprobe and kretprobe"
            };
            Rung {
                probe,
                how: Some(how.to_owned()),
                gives,
                missing: (how != "fentry and fexit")
                    .then(|| "fentry would cost less; a busy machine may miss some exits".to_owned()),
            }
        }
        Err(error) => Rung {
            probe,
            how: None,
            gives,
            missing: Some(format!(
                "{}; paths are not shown, native nft rules without counters are inferred or unknown",
                first_line(&error)
            )),
        },
    }
}

fn trace(programs: &mut Programs, symbols: &Symbols, types: &mut Types) -> Rung {
    let rung = |how: Option<&str>, missing: Option<String>| Rung {
        probe: "__nft_trace_packet".to_owned(),
        how: how.map(str::to_owned),
        gives: "each rule of native nft that a packet matches; its drops named exactly".to_owned(),
        missing,
    };
    if !programs.watches_hooks() {
        return rung(None, Some("needs nf_hook_slow".to_owned()));
    }
    if !nf_tables_is_present(symbols) {
        return rung(
            None,
            Some("nf_tables is not loaded; observer attaches when it is".to_owned()),
        );
    }
    if let Err(refusal) = gates(symbols, types) {
        return rung(None, Some(refusal.to_string()));
    }
    match programs.attach_trace() {
        Ok(()) => rung(Some("kprobe"), None),
        Err(error) => rung(None, Some(first_line(&error))),
    }
}

/// What is left where the trace hook cannot be had.
fn verdicts(programs: &mut Programs, symbols: &Symbols) -> Rung {
    let rung = |how: Option<&str>, missing: String| Rung {
        probe: VERDICTS.to_owned(),
        how: how.map(str::to_owned),
        gives: "each rule of native nft that gives a verdict; its drops named exactly".to_owned(),
        missing: Some(missing),
    };
    match programs.attach_verdicts(symbols, &BTreeSet::new(), clock::monotonic_ns) {
        Ok(_) => rung(
            Some("kprobe"),
            "rules without a verdict are not in the way of a packet".to_owned(),
        ),
        Err(error) => rung(
            None,
            format!(
                "{}; native nft rules without counters are inferred or unknown",
                first_line(&error)
            ),
        ),
    }
}

fn changes(programs: &Programs) -> Rung {
    let attached = programs.attached();
    let has = attached.iter().any(|name| name.contains("percpu_free_percpu"));
    Rung {
        probe: "percpu:percpu_free_percpu".to_owned(),
        how: has.then(|| "tracepoint".to_owned()),
        gives: "a ruleset's change noticed at once".to_owned(),
        missing: (!has).then(|| "it is noticed up to 250 ms late".to_owned()),
    }
}
