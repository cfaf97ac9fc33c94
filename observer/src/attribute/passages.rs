//! One traversal of a hook in the words of the trace: a passage for each table.

use observer_common::{HookEvent, hook_flag};

use super::verdicts::{by_verdicts, open_chain, tells_verdicts};
use super::walk::{Counts, by_counters, by_trace, is_traced_whole};
use crate::report::record::{Backend, Hook, PassVerdict, Passage, PathEvidence, PathStep};
use crate::ruleset::{INET_HOOKS, Snapshot, Step, Table};

/// `NFPROTO_*`
const NETDEV: u8 = 5;

/// The hook of a record.
pub fn hook_of(pf: u8, hook: u8) -> Option<Hook> {
    if pf == NETDEV {
        return [Hook::Ingress, Hook::Egress].get(usize::from(hook)).copied();
    }
    // `NF_INET_INGRESS` stands behind the five.
    INET_HOOKS
        .into_iter()
        .chain([Hook::Ingress])
        .nth(usize::from(hook))
}

/// What a packet met in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Index of the table.
    pub table: usize,
    /// Index of the base chain.
    pub base: usize,
    /// The rules, in order.
    pub steps: Vec<Met>,
}

/// A rule or policy that a packet met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Index of the chain.
    pub chain: usize,
    /// Index of the rule; `None`: the policy, or a rule that is gone.
    pub rule: Option<usize>,
    /// nf_tables: the rule's handle as the kernel said it; 0 if it did not.
    pub handle: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the rule says: its own step.
    AsWritten,
    /// The chain with this index was jumped to.
    Jump(usize),
    /// The chain with this index was gone to.
    Goto(usize),
    /// nf_tables' verdict: 0 drop, 1 accept, 2 stolen, 3 queue.
    Verdict(i32),
    /// The calling chain goes on.
    Return,
    /// The next rule.
    Continue,
    /// The base chain's policy: whether it accepted.
    Policy(bool),
}

/// Everything that a record says of tables, in the order of the tables' priorities.
pub fn visits(event: &HookEvent, snapshot: &Snapshot) -> Vec<Visit> {
    let Some(hook) = hook_of(event.pf, event.hook) else {
        return Vec::new();
    };
    let mut found = by_trace(event, snapshot);
    found.extend(by_verdicts(event, snapshot));
    let fresh = event.generation == snapshot.generation && event.flags & hook_flag::STALE == 0;
    if event.flags & hook_flag::COUNTERS != 0 && fresh {
        let mut counts = Counts::of(event, snapshot);
        for (index, table) in snapshot.tables.iter().enumerate() {
            if table.backend == Backend::Nft && is_traced_whole(event) {
                continue;
            }
            if table.backend == Backend::Nft && event.flags & hook_flag::VERDICTS != 0 {
                if !is_counted(table) {
                    continue;
                }
                // Counters tell of every rule that matched, verdicts only of those that decided.
                found.retain(|visit| visit.table != index);
            }
            found.extend(by_counters(index, table, hook, &mut counts));
        }
    }
    let priority = |visit: &Visit| {
        let base = snapshot
            .tables
            .get(visit.table)?
            .chains
            .get(visit.base)?
            .base
            .as_ref()?;
        Some(base.priority)
    };
    // Stable: what has one priority keeps the order in which it was seen.
    found.sort_by_key(|visit| priority(visit).unwrap_or(0));
    found
}

/// Whether the counters of a table tell all that a packet met there.
fn is_counted(table: &Table) -> bool {
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    let bases = table.chains.iter().filter_map(|chain| chain.base.as_ref());
    rules
        .map(|rule| rule.counter.is_some() && !matches!(rule.step, Step::Map | Step::MayDrop))
        .chain(bases.map(|base| base.counter.is_some()))
        .all(|told| told)
}

fn written(table: &Table, met: &Met) -> Option<Step> {
    Some(table.chains.get(met.chain)?.rules.get(met.rule?)?.step)
}

/// The passages of a record, without what is the whole hook's (devices, changes, time).
pub fn passages(event: &HookEvent, snapshot: Option<&Snapshot>) -> Vec<Passage> {
    let Some(hook) = hook_of(event.pf, event.hook) else {
        return Vec::new();
    };
    let visits = snapshot
        .map(|snapshot| visits(event, snapshot))
        .unwrap_or_default();
    let mut found: Vec<Passage> = Vec::new();
    if let Some(snapshot) = snapshot {
        found.extend(visits.iter().filter_map(|visit| passage(hook, visit, snapshot)));
    }
    let end = ending(event);
    if found.is_empty() {
        found.push(bare(hook, end));
    } else if end != Some(PassVerdict::Accept)
        && let Some(last) = found.last_mut()
        && last.verdict == Some(PassVerdict::Accept)
    {
        // The table let it pass, and then something else had it.
        found.push(bare(hook, end));
    }
    if let Some(last) = found.last_mut()
        && last.verdict.is_none()
        && end == Some(PassVerdict::Drop)
        && snapshot.is_some_and(|snapshot| open_chain(event, snapshot).is_some())
    {
        last.verdict = end;
    }
    if let (Some(note), Some(last)) = (note(event), found.last_mut()) {
        last.note = Some(note.to_owned());
    }
    found
}

/// A hook in which no table was passed.
pub fn bare(hook: Hook, verdict: Option<PassVerdict>) -> Passage {
    Passage {
        at: None,
        hook,
        node: None,
        netns: None,
        in_dev: None,
        out_dev: None,
        outer: None,
        backend: None,
        family: None,
        table: None,
        chain: None,
        priority: None,
        verdict,
        steps: Vec::new(),
        changes: Vec::new(),
        evidence: PathEvidence::Observed,
        note: None,
    }
}

/// How the packet left the hook.
fn ending(event: &HookEvent) -> Option<PassVerdict> {
    if event.flags & hook_flag::FREED != 0 || event.returned < 0 {
        return Some(PassVerdict::Drop);
    }
    match event.returned {
        1 => Some(PassVerdict::Accept),
        _ => Some(PassVerdict::Stolen),
    }
}

fn note(event: &HookEvent) -> Option<&'static str> {
    let has = |bit| event.flags & bit != 0;
    if has(hook_flag::STALE) {
        Some("the ruleset changed while the packet was there")
    } else if has(hook_flag::MIXED) {
        Some("another packet's traversal on this CPU cannot be told apart")
    } else if has(hook_flag::CUT) {
        Some("more rules matched than were kept")
    } else if has(hook_flag::UNSEEN) {
        Some("not all of its rules could be seen")
    } else if has(hook_flag::VERDICTS) && tells_verdicts(event) {
        Some("of nf_tables' rules only those that gave a verdict were seen")
    } else {
        None
    }
}

fn passage(hook: Hook, visit: &Visit, snapshot: &Snapshot) -> Option<Passage> {
    let table = snapshot.tables.get(visit.table)?;
    let base = table.chains.get(visit.base)?;
    let mut passage = bare(hook, verdict(table, visit));
    passage.backend = Some(table.backend);
    passage.family = Some(table.family);
    passage.table = Some(table.name.clone());
    passage.chain = Some(base.name.clone());
    passage.priority = base.base.as_ref().map(|base| base.priority);
    passage.steps = fold(visit.steps.iter().filter_map(|met| path_step(table, met)));
    Some(passage)
}

/// The same rule twice in a row is one step.
fn fold(steps: impl Iterator<Item = PathStep>) -> Vec<PathStep> {
    let mut folded: Vec<PathStep> = Vec::new();
    for step in steps {
        match folded.last_mut() {
            Some(last)
                if PathStep {
                    times: None,
                    ..last.clone()
                } == step =>
            {
                last.times = Some(last.times.unwrap_or(1) + 1);
            }
            _ => folded.push(step),
        }
    }
    folded
}

fn path_step(table: &Table, met: &Met) -> Option<PathStep> {
    let chain = table.chains.get(met.chain)?;
    let rule = met.rule.and_then(|index| chain.rules.get(index));
    let name = |chain: usize| table.chains.get(chain).map(|chain| chain.name.clone());
    let mut step = PathStep {
        chain: chain.name.clone(),
        rule: met.rule.and_then(|index| u32::try_from(index + 1).ok()),
        handle: Some(met.handle)
            .filter(|handle| *handle != 0)
            .or_else(|| rule.map(|rule| rule.handle).filter(|handle| *handle != 0)),
        ..PathStep::default()
    };
    let target = rule.and_then(|rule| rule.target.as_deref().map(str::to_owned));
    match met.outcome {
        Outcome::Policy(accepted) => step.policy = Some(word(accepted)),
        Outcome::Jump(to) => step.jump = name(to),
        Outcome::Goto(to) => step.goto = name(to),
        Outcome::Return => step.verdict = Some("RETURN".to_owned()),
        Outcome::Continue => step.target = target,
        Outcome::Verdict(code) => {
            step.verdict = verdict_name(code).map(str::to_owned);
            step.target = target.filter(|target| !is_plain(target));
        }
        Outcome::AsWritten => match rule.map(|rule| rule.step) {
            Some(Step::Jump(to)) => step.jump = name(to),
            Some(Step::Goto(to)) => step.goto = name(to),
            Some(Step::Return) => step.verdict = Some("RETURN".to_owned()),
            Some(Step::Accept) => step.verdict = Some("ACCEPT".to_owned()),
            Some(Step::Drop) => {
                step.verdict = Some("DROP".to_owned());
                step.target = target.filter(|target| !is_plain(target));
            }
            _ => step.target = target,
        },
    }
    Some(step)
}

/// Targets that are verdicts.
fn is_plain(target: &str) -> bool {
    ["accept", "drop", "return", "queue", "vmap"].contains(&target.to_ascii_lowercase().as_str())
}

fn word(accepted: bool) -> String {
    if accepted { "ACCEPT" } else { "DROP" }.to_owned()
}

fn verdict_name(code: i32) -> Option<&'static str> {
    Some(match code & 0xff {
        0 => "DROP",
        1 => "ACCEPT",
        2 => "STOLEN",
        3 => "QUEUE",
        _ => return None,
    })
}

/// How the last thing that was met left the table; `None` where that is not told.
pub fn verdict(table: &Table, visit: &Visit) -> Option<PassVerdict> {
    let last = visit.steps.last()?;
    Some(match last.outcome {
        Outcome::Policy(true) | Outcome::Verdict(1) => PassVerdict::Accept,
        Outcome::Policy(false) | Outcome::Verdict(0) => PassVerdict::Drop,
        Outcome::Verdict(code) if code & 0xff == 3 => PassVerdict::Queue,
        Outcome::Verdict(code) if code & 0xff == 2 => PassVerdict::Stolen,
        Outcome::AsWritten => match written(table, last)? {
            Step::Drop => PassVerdict::Drop,
            Step::Accept => PassVerdict::Accept,
            Step::MayDrop => return may_drop(table, last),
            _ => return None,
        },
        _ => return None,
    })
}

/// A target that can end a packet was the last thing in the table.
fn may_drop(table: &Table, met: &Met) -> Option<PassVerdict> {
    let target = table
        .chains
        .get(met.chain)?
        .rules
        .get(met.rule?)?
        .target
        .as_deref()?;
    match target {
        "NFQUEUE" | "QUEUE" | "queue" => Some(PassVerdict::Queue),
        "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" => Some(PassVerdict::Accept),
        _ => None,
    }
}
