//! A verdict in the words of the trace: tables, chains, rules.

use std::borrow::Cow;

use observer_common::DropEvent;

use super::culprit::Told;
use super::droppers::text;
use super::{Culprit, Verdict};
use crate::report::record::{
    Backend, Candidate, Cause, DropInfo, Evidence, Hook, Layer, Rule, TableFamily, Tool,
};
use crate::ruleset::listed;
use crate::ruleset::text::Saved;
use crate::ruleset::{HookFunction, Place, Snapshot, Step, Table};

/// More candidates than a person reads.
const MOST_CANDIDATES: usize = 8;
/// The tables that iptables makes; a table of nf_tables with another name is nft's.
const IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// Fills what a drop line says of netfilter. `saved` gives the tool's output for a table, if it fits.
pub fn name<'s>(
    event: &DropEvent,
    snapshot: &Snapshot,
    hook: Option<Hook>,
    verdict: &Verdict,
    saved: impl Fn(usize) -> Option<&'s Saved>,
) -> DropInfo {
    let mut info = DropInfo {
        layer: Layer::Netfilter,
        hook,
        confidence: verdict.confidence,
        note: verdict.note.map(str::to_owned),
        ..DropInfo::default()
    };
    match &verdict.culprit {
        Culprit::Place(place) => place_named(&mut info, event, snapshot, place, verdict, &saved),
        Culprit::OneOf(places) => {
            let named = places
                .iter()
                .take(MOST_CANDIDATES)
                .filter_map(|place| candidate(snapshot, place, &saved));
            info.candidates = named.collect();
        }
        Culprit::Function(index) => function_named(&mut info, snapshot, *index),
        Culprit::Functions(indices) => {
            let mut note = functions_note(snapshot, indices);
            info.text = common_text(snapshot, indices)
                .filter(|_| info.note.is_none())
                .map(str::to_owned);
            if let Some(more) = &info.note {
                note = format!("{note}; {more}");
            }
            info.note = Some(note);
        }
    }
    info
}

fn function_named(info: &mut DropInfo, snapshot: &Snapshot, index: usize) {
    let Some(function) = snapshot.hooks.functions.get(index) else {
        return;
    };
    info.cause = Some(Cause::Hook);
    info.function = Some(function_name(function));
    info.priority = function.priority;
    info.text = text(function).map(str::to_owned);
    info.evidence.push(Evidence::HookEntry);
}

/// The functions that may have been it, in the order in which the hook calls them.
fn functions_note(snapshot: &Snapshot, indices: &[usize]) -> String {
    let functions = indices
        .iter()
        .filter_map(|index| snapshot.hooks.functions.get(*index));
    let named: Vec<String> = functions
        .map(|function| match function.priority {
            Some(priority) => format!("{} (priority {priority})", function_name(function)),
            None => function_name(function),
        })
        .collect();
    format!(
        "no rule or policy dropped it, but a function of the hook: {}",
        named.join(", ")
    )
}

/// What a drop by any of these functions means, if it means the same by each.
fn common_text(snapshot: &Snapshot, indices: &[usize]) -> Option<&'static str> {
    let mut texts = indices
        .iter()
        .map(|index| snapshot.hooks.functions.get(*index).and_then(text));
    let first = texts.next()??;
    texts.all(|other| other == Some(first)).then_some(first)
}

/// A function without symbol goes by its address.
fn function_name(function: &HookFunction) -> String {
    if function.name.is_empty() {
        format!("{:#x}", function.address)
    } else {
        function.name.clone()
    }
}

fn place_named<'s>(
    info: &mut DropInfo,
    event: &DropEvent,
    snapshot: &Snapshot,
    place: &Place,
    verdict: &Verdict,
    saved: &impl Fn(usize) -> Option<&'s Saved>,
) {
    let Some(table) = snapshot.tables.get(place.table) else {
        return;
    };
    let Some(chain) = table.chains.get(place.chain) else {
        return;
    };
    info.backend = Some(table.backend);
    info.family = Some(table.family);
    info.table = Some(table.name.clone());
    info.chain = Some(chain.name.clone());
    info.tool = Some(tool(table));
    info.ruleset = Some(format!("{:016x}", table.hash));
    match verdict.told_by {
        Told::Nobody => {}
        Told::Trace => info.evidence.push(Evidence::NftTrace),
        Told::Verdict => info.evidence.push(Evidence::NftVerdict),
        Told::Replay => info.evidence.push(Evidence::Replay),
    }
    if verdict.by_counter {
        info.evidence.push(if table.backend == Backend::Legacy {
            Evidence::XtCounter
        } else {
            Evidence::NftCounter
        });
    } else if verdict.told_by == Told::Nobody {
        info.evidence.push(Evidence::HookEntry);
    }
    match place.rule {
        None => {
            info.cause = Some(Cause::Policy);
            info.policy = Some(if tool(table) == Tool::Nft { "drop" } else { "DROP" }.to_owned());
        }
        Some(index) => {
            info.cause = Some(Cause::Rule);
            info.rule = rule(table, place, index, saved(place.table));
        }
    }
    set_path(info, event, snapshot, place, verdict);
}

fn rule(table: &Table, place: &Place, index: usize, saved: Option<&Saved>) -> Option<Rule> {
    let chain = table.chains.get(place.chain)?;
    let rule = chain.rules.get(index)?;
    let text = saved.and_then(|saved| saved.rule(&table.name, &chain.name, index));
    Some(Rule {
        number: u32::try_from(index + 1).ok(),
        handle: (rule.handle != 0).then_some(rule.handle),
        comment: rule
            .comment
            .as_deref()
            .or_else(|| listed::comment(text.as_ref()?))
            .map(str::to_owned),
        text: text.map(Cow::into_owned),
        target: target_name(table, rule.target.as_deref()),
    })
}

/// nf_tables' verdicts as iptables writes them, where iptables made the table.
fn target_name(table: &Table, target: Option<&str>) -> Option<String> {
    let target = target?;
    Some(match (table.backend, target) {
        (Backend::Nft, "drop" | "accept" | "return" | "queue") if tool(table) != Tool::Nft => {
            target.to_uppercase()
        }
        _ => target.to_owned(),
    })
}

fn set_path(info: &mut DropInfo, event: &DropEvent, snapshot: &Snapshot, place: &Place, verdict: &Verdict) {
    let Some(table) = snapshot.tables.get(place.table) else {
        return;
    };
    if let Some(path) = &verdict.path {
        let names = path.iter().filter_map(|chain| table.chains.get(*chain));
        info.chain_path = names.map(|chain| chain.name.clone()).collect();
        return;
    }
    let bases = snapshot.bases_of(place.table, place.chain);
    let of_hook = |base: &&usize| {
        let found = table.chains[**base].base.as_ref().map(|base| base.hook);
        info.hook.is_none() || found == info.hook
    };
    let mut fitting = bases.iter().filter(of_hook);
    let (Some(base), None) = (fitting.next(), fitting.next()) else {
        return;
    };
    if info.hook.is_none() {
        info.hook = table.chains[*base].base.as_ref().map(|base| base.hook);
    }
    let jumped = if verdict.jumps_fit {
        by_jumpstack(event, snapshot, place, *base)
    } else {
        None
    };
    if jumped.is_some() {
        info.evidence.push(Evidence::XtJumpstack);
    }
    if let Some(path) = jumped.or_else(|| snapshot.only_path(place.table, *base, place.chain)) {
        info.chain_path = path
            .into_iter()
            .map(|chain| table.chains[chain].name.clone())
            .collect();
    }
}

/// Follows the table's own stack of jumps from its first slot. What lies above the packet's depth is of earlier
/// packets; since no chain is entered twice, the first chain of that name is the packet's. A goto leaves no trace on
/// the stack, so with one in the table the stack alone proves nothing.
fn by_jumpstack(event: &DropEvent, snapshot: &Snapshot, place: &Place, base: usize) -> Option<Vec<usize>> {
    let table = snapshot.tables.get(place.table)?;
    let location = snapshot.locations.get(place.table)?.as_ref()?;
    if place.chain == base || snapshot.has_goto(place.table) {
        return None;
    }
    let mut path = vec![base];
    for address in event.jumps {
        let offset = address
            .checked_sub(location.entries)
            .filter(|offset| *offset < location.len_bytes)?;
        let chain = table.chains.get(*path.last()?)?;
        // In the order of the kernel's blob.
        let at = chain
            .rules
            .partition_point(|rule| u64::from(rule.offset) < offset);
        let rule = chain
            .rules
            .get(at)
            .filter(|rule| u64::from(rule.offset) == offset)?;
        let Step::Jump(to) = rule.step else { return None };
        path.push(to);
        if to == place.chain {
            return Some(path);
        }
    }
    None
}

/// The command that shows and edits a table.
pub fn tool(table: &Table) -> Tool {
    let by_iptables =
        IPTABLES.contains(&table.name.as_str()) && matches!(table.family, TableFamily::Ip | TableFamily::Ip6);
    // iptables-nft gives every base chain a counter, and the hook's name; a person who writes nft seldom does either.
    let mut bases = table
        .chains
        .iter()
        .filter_map(|chain| Some((chain, chain.base.as_ref()?)));
    let by_iptables =
        by_iptables && bases.all(|(chain, base)| base.counter.is_some() && chain.name == base.hook.name());
    match table.backend {
        Backend::Legacy => Tool::IptablesLegacy,
        Backend::Nft if by_iptables => Tool::IptablesNft,
        Backend::Nft => Tool::Nft,
    }
}

fn candidate<'s>(
    snapshot: &Snapshot,
    place: &Place,
    saved: &impl Fn(usize) -> Option<&'s Saved>,
) -> Option<Candidate> {
    let table = snapshot.tables.get(place.table)?;
    let chain = table.chains.get(place.chain)?;
    let text = place
        .rule
        .and_then(|index| saved(place.table)?.rule(&table.name, &chain.name, index));
    Some(Candidate {
        table: table.name.clone(),
        chain: chain.name.clone(),
        rule: place.rule.and_then(|index| u32::try_from(index + 1).ok()),
        policy: place.rule.is_none().then(|| "DROP".to_owned()),
        text: text.map(Cow::into_owned),
    })
}
