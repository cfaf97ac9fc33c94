//! What a record of the hook that a packet died in proves: the last thing that it met there.

use observer_common::{DropEvent, HookEvent, hook_flag, step};

use super::culprit::{Culprit, Told, Verdict, unknown};
use super::droppers::{is_on, suspects};
use super::passages::{Met, Outcome, Visit, verdict, visits};
use super::scene::{NFT_FREES, QUEUE_FREES};
use super::verdicts::open_chain;
use super::walk::{Counts, steps};
use super::{Site, hook_of};
use crate::report::record::{Backend, Confidence, PassVerdict};
use crate::ruleset::{Ending, HookFunction, Place, Policy, Snapshot, Step};

/// Flags of a record that proves nothing.
const NO_PROOF: u32 =
    hook_flag::MIXED | hook_flag::CUT | hook_flag::UNSEEN | hook_flag::STALE | hook_flag::RESUMED;

/// Frees what a function of the hook drops.
const HOOK_FREES: &str = "nf_hook_slow";
/// `NF_VERDICT_MASK`, include/uapi/linux/netfilter.h; `NF_DROP` is 0.
const VERDICT_MASK: u32 = 0xff;
/// What is to be known of a rule that dropped and says otherwise (`hotdrop` of `struct xt_action_param`).
const HOTDROP: &str =
    "a condition of the rule dropped it by itself: for that the packet is malformed, or memory was short";
/// Why a policy is not surely it.
const NOT_ALL_WATCHED: &str = "not everything that can drop in its table was watched";
/// Within so many bytes of a function's address a probe at its entry finds itself.
const ENTRY_BYTES: u64 = 16;

/// How a packet died.
pub struct Death<'a> {
    /// Where it was.
    pub site: Option<Site<'a>>,
    /// The function that freed it; empty if that is not known.
    pub symbol: &'a str,
    /// Whether what this function of nf_tables decides was seen when the packet came to the hook, or it decides nothing.
    pub is_watched: &'a dyn Fn(u64) -> bool,
}

impl Death<'_> {
    /// Whether no expression of a table can have dropped it unseen.
    fn all_watched(&self, table: usize, snapshot: &Snapshot) -> bool {
        snapshot.expressions.functions_of(table).all(self.is_watched)
    }
}

/// A verdict from the record of the hook in which the packet was freed, where it is surer than `verdict`, which was
/// reached without.
pub fn prove(
    verdict: Verdict,
    drop: &DropEvent,
    last: &HookEvent,
    snapshot: &Snapshot,
    death: &Death<'_>,
) -> Verdict {
    if last.flags & hook_flag::FREED == 0 || last.flags & NO_PROOF != 0 {
        return verdict;
    }
    if !Counts::are_of_packet(last, snapshot) {
        return verdict;
    }
    let seen = visits(last, snapshot);
    let dropping = seen.last().and_then(|visit| drops(visit, snapshot, death.symbol));
    let proof = match (dropping, open_chain(last, snapshot)) {
        _ if let Some(function) = returned_drop(drop, last, snapshot, death) => Some(by_return(function)),
        (Some((table, met)), _) => by_rule(table, met, &seen, last, snapshot, death),
        (None, Some((table, base))) => by_open_chain(table, base, snapshot, death),
        (None, None) => by_function(drop, &seen, last, snapshot, death.site),
    };
    let proof = proof.map(|proof| doubted(proof, snapshot));
    match proof {
        Some(proof) if verdict.confidence != Confidence::Exact => proof,
        Some(proof) if proof.culprit != verdict.culprit && !same_place(&proof, &verdict) => Verdict {
            confidence: Confidence::Inferred,
            note: Some("the rule counters and the packet's own way do not agree"),
            ..verdict
        },
        Some(proof) => Verdict {
            path: proof.path,
            ..verdict
        },
        None => verdict,
    }
}

fn same_place(a: &Verdict, b: &Verdict) -> bool {
    let key = |verdict: &Verdict| match &verdict.culprit {
        Culprit::Place(place) => Some((place.table, place.chain, place.rule)),
        _ => None,
    };
    key(a).is_some() && key(a) == key(b)
}

/// The last thing met in a table, if it ends every packet, or queued this one and that failed.
fn drops(visit: &Visit, snapshot: &Snapshot, symbol: &str) -> Option<(usize, Met)> {
    let met = *visit.steps.last()?;
    let table = snapshot.tables.get(visit.table)?;
    let ends = match verdict(table, visit)? {
        PassVerdict::Drop => true,
        PassVerdict::Queue => symbol == QUEUE_FREES,
        _ => false,
    };
    ends.then_some((visit.table, met))
}

/// The hook's function that returned `NF_DROP` for this packet, if what ran the hook freed it then.
fn returned_drop(
    drop: &DropEvent,
    last: &HookEvent,
    snapshot: &Snapshot,
    death: &Death<'_>,
) -> Option<usize> {
    let site = death.site.filter(|site| site.function.is_none())?;
    // What the rules before it counted is written down in the end.
    let mut told = steps(last).iter().filter(|step| step.kind != step::COUNTER);
    let returned = told.next_back().filter(|step| step.kind == step::FUNCTION)?;
    let is_it = |function: &HookFunction| {
        let begin = function.address..function.address.saturating_add(ENTRY_BYTES);
        !function.in_nat && begin.contains(&returned.words[0]) && is_on(drop, site, function)
    };
    let is_drop = returned.value & VERDICT_MASK == 0;
    let index = snapshot.hooks.functions.iter().position(is_it);
    index.filter(|_| is_drop && death.symbol == HOOK_FREES)
}

fn by_return(function: usize) -> Verdict {
    Verdict {
        culprit: Culprit::Function(function),
        confidence: Confidence::Exact,
        by_counter: false,
        told_by: Told::Nobody,
        jumps_fit: false,
        path: None,
        note: None,
    }
}

fn by_rule(
    table: usize,
    met: Met,
    seen: &[Visit],
    last: &HookEvent,
    snapshot: &Snapshot,
    death: &Death<'_>,
) -> Option<Verdict> {
    let is_policy = matches!(met.outcome, Outcome::Policy(_));
    if met.rule.is_none() && !is_policy {
        // A rule that is not in what was read.
        return None;
    }
    let is_nft = snapshot.tables.get(table)?.backend == Backend::Nft;
    let told_by = match met.outcome {
        Outcome::AsWritten => Told::Nobody,
        _ if !is_nft => Told::Nobody,
        _ if last.flags & hook_flag::VERDICTS != 0 => Told::Verdict,
        _ => Told::Trace,
    };
    let is_sure = told_by != Told::Verdict || !is_policy || death.all_watched(table, snapshot);
    let path = seen.last().map(chain_path);
    let verdict = told(place(table, met.chain, met.rule), told_by, is_sure, path);
    let by_match = matches!(met.outcome, Outcome::Verdict(0)) && lets_pass(table, met, snapshot);
    Some(Verdict {
        note: verdict.note.or(by_match.then_some(HOTDROP)),
        ..verdict
    })
}

/// Whether a rule, as it is written, drops nothing.
fn lets_pass(table: usize, met: Met, snapshot: &Snapshot) -> bool {
    let rule = met.rule.and_then(|rule| {
        let chain = snapshot.tables.get(table)?.chains.get(met.chain)?;
        chain.rules.get(rule)
    });
    rule.is_some_and(|rule| !matches!(rule.step, Step::Drop | Step::MayDrop | Step::Map))
}

/// A base chain was entered and not left, and no rule of it came to a verdict: if `nft_do_chain` freed the packet, the
/// policy decided.
fn by_open_chain(table: usize, base: usize, snapshot: &Snapshot, death: &Death<'_>) -> Option<Verdict> {
    let policy = snapshot
        .tables
        .get(table)?
        .chains
        .get(base)?
        .base
        .as_ref()?
        .policy;
    if policy != Policy::Drop || death.symbol != NFT_FREES {
        return None;
    }
    let is_sure = death.all_watched(table, snapshot);
    Some(told(
        place(table, base, None),
        Told::Verdict,
        is_sure,
        Some(vec![base]),
    ))
}

fn place(table: usize, chain: usize, rule: Option<usize>) -> Place {
    Place {
        table,
        chain,
        rule,
        ending: Ending::Certain,
    }
}

fn told(place: Place, told_by: Told, is_sure: bool, path: Option<Vec<usize>>) -> Verdict {
    Verdict {
        culprit: Culprit::Place(place),
        confidence: if is_sure {
            Confidence::Exact
        } else {
            Confidence::Inferred
        },
        by_counter: told_by == Told::Nobody,
        told_by,
        jumps_fit: false,
        path,
        note: (!is_sure).then_some(NOT_ALL_WATCHED),
    }
}

/// That a policy decided is concluded from no rule having been seen to. If not everything was watched it may have been one of the
/// table's rules behind it; but not one that has its verdict written in it, for that was seen.
fn doubted(proof: Verdict, snapshot: &Snapshot) -> Verdict {
    let Culprit::Place(policy) = proof.culprit else {
        return proof;
    };
    if proof.note != Some(NOT_ALL_WATCHED) {
        return proof;
    }
    let is_possible = |place: &&Place| {
        let behind = place.table == policy.table
            && snapshot
                .bases_of(place.table, place.chain)
                .contains(&policy.chain);
        let chain = snapshot
            .tables
            .get(place.table)
            .and_then(|table| table.chains.get(place.chain));
        let rule = chain
            .zip(place.rule)
            .and_then(|(chain, rule)| chain.rules.get(rule));
        behind && rule.is_some_and(|rule| rule.target.as_deref() != Some("drop"))
    };
    let can_end = snapshot.places.iter().chain(&snapshot.uncounted);
    let mut candidates: Vec<Place> = can_end.filter(is_possible).copied().collect();
    if candidates.is_empty() {
        return proof;
    }
    candidates.push(policy);
    Verdict {
        note: proof.note,
        ..unknown(candidates)
    }
}

/// The chains that were entered and not left, from the base chain down.
fn chain_path(visit: &Visit) -> Vec<usize> {
    let mut path = vec![visit.base];
    for met in &visit.steps {
        // Back in a chain from which it was jumped.
        while path.len() > 1 && path.last() != Some(&met.chain) && path.contains(&met.chain) {
            path.pop();
        }
        if path.last() != Some(&met.chain) {
            path.push(met.chain);
        }
    }
    path
}

/// No table ended it: the function that did stands behind the last table that was passed, and before the first that was
/// not.
fn by_function(
    drop: &DropEvent,
    seen: &[Visit],
    last: &HookEvent,
    snapshot: &Snapshot,
    site: Option<Site<'_>>,
) -> Option<Verdict> {
    let site = site?;
    let hook = hook_of(last.pf, last.hook)?;
    let priority = |table: usize, base: usize| {
        let base = snapshot.tables.get(table)?.chains.get(base)?.base.as_ref()?;
        (base.hook == hook).then_some(base.priority)
    };
    let after = seen
        .iter()
        .filter_map(|visit| priority(visit.table, visit.base))
        .max();
    let is_seen = |table: usize, base: usize| {
        seen.iter()
            .any(|visit| (visit.table, visit.base) == (table, base))
    };
    let is_v6 = last.pf == 10;
    let unseen = snapshot.tables.iter().enumerate().filter(|(_, table)| {
        table.name != "nat"
            && super::walk::is_told(table, last)
            && super::walk::is_of_packet(table.family, is_v6)
    });
    let before = unseen
        .flat_map(|(index, table)| (0..table.chains.len()).map(move |base| (index, base)))
        .filter(|(table, base)| !is_seen(*table, *base))
        .filter_map(|(table, base)| priority(table, base))
        .filter(|priority| after.is_none_or(|after| *priority > after))
        .min();
    let fits = |index: &usize| {
        let priority = snapshot
            .hooks
            .functions
            .get(*index)
            .and_then(|function| function.priority);
        priority.is_some_and(|priority| {
            after.is_none_or(|after| priority >= after) && before.is_none_or(|before| priority <= before)
        })
    };
    let left: Vec<usize> = suspects(drop, snapshot, site).into_iter().filter(fits).collect();
    let [one] = left[..] else { return None };
    // A table whose matches drop malformed packets by themselves is no proof against a function.
    let surely = after.is_none_or(|after| {
        snapshot
            .hooks
            .functions
            .get(one)
            .and_then(|function| function.priority)
            > Some(after)
    });
    Some(Verdict {
        culprit: Culprit::Function(one),
        confidence: if surely && before.is_some() {
            Confidence::Exact
        } else {
            Confidence::Inferred
        },
        by_counter: false,
        told_by: Told::Nobody,
        jumps_fit: false,
        path: None,
        note: None,
    })
}
