//! A table that a packet passes, as the trace has it.

use std::net::IpAddr;

use super::rules::{Rules, table_family};
use crate::diagnose::target;
use crate::evaluate::{self, Dev, Packet, Step, Verdict};
use crate::report::endpoint;
use crate::report::record::{Change, Mark, PassVerdict, Passage, PathEvidence, PathStep};
use crate::ruleset::xtables::save::{Action, Table};

/// The passage in the trace's words.
pub(super) fn of_table(one: &evaluate::Passage, rules: &Rules) -> Passage {
    let table = rules.saved.get(one.table);
    let (verdict, note) = match &one.verdict {
        Verdict::Accept(_) => (Some(PassVerdict::Accept), None),
        Verdict::Drop(_) => (Some(PassVerdict::Drop), None),
        Verdict::Open(_, why) => (None, Some(why.clone())),
    };
    let steps = table.map(|table| steps(one, table)).unwrap_or_default();
    Passage {
        at: None,
        hook: one.hook,
        netns: None,
        in_dev: device(&one.before.in_dev),
        out_dev: device(&one.before.out_dev),
        node: None,
        outer: None,
        backend: rules.held_by(one.table).map(|(_, backend)| backend),
        family: table.and_then(|table| table.family).map(table_family),
        table: table.map(|table| table.name.to_string()),
        chain: Some(one.hook.name().to_owned()),
        priority: None,
        verdict,
        steps,
        changes: changes(&one.before, &one.after),
        evidence: PathEvidence::Replayed,
        note,
    }
}

/// A device's name, where there is one and it is known.
pub(super) fn device(dev: &Dev) -> Option<String> {
    match dev {
        Dev::Named(name) => Some(name.to_string()),
        _ => None,
    }
}

/// The rules that certainly matched, or were taken to.
fn steps(one: &evaluate::Passage, table: &Table) -> Vec<PathStep> {
    let is_taken = |step: &&Step| step.is_sure || one.doubts.iter().any(|doubt| doubt.place == step.place);
    let taken = one.steps.iter().filter(is_taken);
    taken.filter_map(|taken| step(taken, table)).collect()
}

fn step(step: &Step, table: &Table) -> Option<PathStep> {
    let chain = table.chains.get(step.place.chain)?;
    let told = PathStep {
        chain: chain.name.to_string(),
        ..PathStep::default()
    };
    let Some(index) = step.place.rule else {
        return Some(PathStep {
            policy: chain.policy.map(|policy| policy.name().to_owned()),
            ..told
        });
    };
    let action = &chain.rules.get(index)?.action;
    let name = target(table, action);
    let told = PathStep {
        rule: u32::try_from(index + 1).ok(),
        ..told
    };
    Some(match action {
        Action::Accept | Action::Drop | Action::Return | Action::Queue => PathStep {
            verdict: name,
            ..told
        },
        Action::Jump(_) => PathStep { jump: name, ..told },
        Action::Goto(_) => PathStep { goto: name, ..told },
        _ => PathStep { target: name, ..told },
    })
}

/// What differs between the packet before and after.
pub(super) fn changes(before: &Packet, after: &Packet) -> Vec<Change> {
    let mut found = Vec::new();
    if (before.dst, before.dport) != (after.dst, after.dport) {
        found.push(Change::Dnat {
            from: text(before.dst, before.dport),
            to: text(after.dst, after.dport),
        });
    }
    if (before.src, before.sport) != (after.src, after.sport) {
        found.push(Change::Snat {
            from: text(before.src, before.sport),
            to: text(after.src, after.sport),
        });
    }
    if let (Some(from), Some(to)) = (before.mark, after.mark)
        && from != to
    {
        found.push(Change::Mark {
            from: Mark(from),
            to: Mark(to),
        });
    }
    found
}

fn text(addr: Option<IpAddr>, port: Option<u16>) -> String {
    match (addr, port) {
        (Some(addr), port) => endpoint(addr, port),
        (None, Some(port)) => format!("(an address not known):{port}"),
        (None, None) => "(an address not known)".to_owned(),
    }
}
