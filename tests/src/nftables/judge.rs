//! Holds what was evaluated against the kernel's own trace of the same packet.

use observer::evaluate::nftables::{Device, Evaluation, Evaluator, Outcome, Packet, Path, Step, StepKind};
use observer::ruleset::nftables::listing::{Family, Ruleset};

use super::house::{OUTPUT, ROUTER};
use crate::kernel::trace::Run;

/// One thing that the kernel tells: family, table, chain, and the rule's handle, none for the policy.
type Told = (String, String, String, Option<u64>);

/// How far an evaluation was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Everything was certain, and right.
    Exact,
    /// What happened is one of several possibilities, or the way to where it was not known any more.
    Possible,
    /// It was wrong: why.
    Wrong(String),
}

/// Judges one packet by its runs through the router's base chains, in order.
pub fn judge(ruleset: &Ruleset, packet: &Packet, runs: &[Run]) -> Judgement {
    let evaluator = Evaluator::new(ruleset);
    let mut told = runs.iter().flat_map(of_run).collect::<Vec<_>>();
    let died = runs
        .last()
        .is_some_and(|run| run.verdict.as_deref() == Some("DROP"));
    let mut packet = packet.clone();
    let mut exact = true;
    let mut hook = "prerouting";
    loop {
        let evaluation = evaluator.hook(hook, &packet);
        let is_last = matches!(hook, "input" | "postrouting");
        exact &= is_exact(&evaluation);
        let Some((path, length)) = best(ruleset, &evaluation, &told, hook, died, is_last) else {
            return wrong(ruleset, &evaluation, &told, hook, died);
        };
        told.drain(..length);
        if path.outcome != Some(Outcome::Accept) || is_last {
            return if exact {
                Judgement::Exact
            } else {
                Judgement::Possible
            };
        }
        packet = path.packet.clone();
        match (hook, packet.destination) {
            ("prerouting", None) => return Judgement::Possible,
            ("prerouting", Some(to)) if ROUTER.contains(&to.to_string().as_str()) => hook = "input",
            ("prerouting", Some(_)) => {
                hook = "forward";
                // Routing has been: the packet has one hop less to live.
                packet.ttl = packet.ttl.and_then(|ttl| ttl.checked_sub(1));
                packet.output = Device::Named(OUTPUT.to_owned());
            }
            _ => hook = "postrouting",
        }
    }
}

/// A hook that a frame passes, and what rules see there.
#[derive(Debug, Clone)]
pub struct Stage {
    family: Family,
    hook: &'static str,
    input: Device,
    output: Device,
    /// Whether routing comes before: the packet has one hop less to live then.
    pub has_routed: bool,
}

impl Stage {
    /// A hook of a family.
    pub fn new(family: Family, hook: &'static str, input: Device, output: Device) -> Self {
        Self {
            family,
            hook,
            input,
            output,
            has_routed: false,
        }
    }
}

/// Judges one frame by its runs through the base chains of these hooks.
pub fn judge_stages(
    ruleset: &Ruleset,
    evaluator: &Evaluator<'_>,
    packet: &Packet,
    stages: &[Stage],
    runs: &[Run],
) -> Judgement {
    let mut told = runs.iter().flat_map(of_run).collect::<Vec<_>>();
    let died = runs
        .last()
        .is_some_and(|run| run.verdict.as_deref() == Some("DROP"));
    let mut packet = packet.clone();
    let mut exact = true;
    for (index, stage) in stages.iter().enumerate() {
        (packet.input, packet.output) = (stage.input.clone(), stage.output.clone());
        if stage.has_routed {
            packet.ttl = packet.ttl.and_then(|ttl| ttl.checked_sub(1));
        }
        let evaluation = evaluator.of_frames(stage.family, stage.hook, &packet);
        let is_last = index + 1 == stages.len();
        exact &= is_exact(&evaluation);
        let Some((path, length)) = best(ruleset, &evaluation, &told, stage.hook, died, is_last) else {
            // The kernel may have gone a way that was not followed, as there were too many: that is said.
            if evaluation.paths.iter().any(|path| path.is_cut) {
                return Judgement::Possible;
            }
            return wrong(ruleset, &evaluation, &told, stage.hook, died);
        };
        told.drain(..length);
        if path.outcome != Some(Outcome::Accept) {
            break;
        }
        packet = path.packet.clone();
    }
    if exact {
        Judgement::Exact
    } else {
        Judgement::Possible
    }
}

fn is_exact(evaluation: &Evaluation) -> bool {
    evaluation.outcome().is_some() && evaluation.paths.len() == 1
}

fn of_run(run: &Run) -> Vec<Told> {
    let of = |step: &crate::kernel::trace::Step| {
        let handle = step.handle.filter(|_| !step.policy);
        (run.family.clone(), run.table.clone(), step.chain.clone(), handle)
    };
    run.steps.iter().map(of).collect()
}

/// That none of the ways that were evaluated is what the kernel tells.
fn wrong(ruleset: &Ruleset, evaluation: &Evaluation, told: &[Told], hook: &str, died: bool) -> Judgement {
    Judgement::Wrong(format!(
        "{hook}: the kernel says {told:?}{}, expected one of {:?}",
        if died { " and drops it" } else { "" },
        evaluation
            .paths
            .iter()
            .map(|path| shown(ruleset, path))
            .collect::<Vec<_>>()
    ))
}

/// The path that agrees with what the kernel tells, and how much of it is of this hook. A path that is not known to its
/// end agrees as far as it goes; one that is known is preferred.
fn best<'a>(
    ruleset: &Ruleset,
    evaluation: &'a Evaluation,
    told: &[Told],
    hook: &str,
    died: bool,
    is_last: bool,
) -> Option<(&'a Path, usize)> {
    let here = told.iter().take_while(|one| is_of(ruleset, one, hook)).count();
    let fits = |path: &&Path| {
        let steps: Vec<_> = path
            .steps
            .iter()
            .map(|step| (step, of_step(ruleset, step)))
            .collect();
        let ends_here = died && here == told.len();
        match path.outcome {
            Some(Outcome::Unknown) => agrees(&steps, &told[..here], true),
            Some(Outcome::Drop) => ends_here && agrees(&steps, &told[..here], false),
            _ => !(ends_here && is_last) && agrees(&steps, &told[..here], false),
        }
    };
    let known = |path: &&Path| path.outcome != Some(Outcome::Unknown);
    let paths = || evaluation.paths.iter();
    let path = paths()
        .filter(known)
        .find(fits)
        .or_else(|| paths().find(|path| !known(path) && fits(path)))?;
    Some((path, here))
}

/// Whether a chain that the kernel tells of belongs to this hook: by its base chain, which comes first.
fn is_of(ruleset: &Ruleset, told: &Told, hook: &str) -> bool {
    let (family, table, chain, _) = told;
    let table = ruleset
        .tables
        .iter()
        .find(|one| one.family.name() == family && one.name == *table);
    let chain = table.and_then(|table| table.chain(chain));
    match chain.and_then(|chain| chain.base.as_ref()) {
        Some(base) => base.hook == hook,
        // Jumped to from a chain of this hook: what comes before says of which.
        None => true,
    }
}

fn of_step(ruleset: &Ruleset, step: &Step) -> Told {
    let table = &ruleset.tables[step.place.table];
    let chain = &table.chains[step.place.chain];
    let handle = step.place.rule.and_then(|rule| chain.rules[rule].handle);
    (
        table.family.name().to_owned(),
        table.name.clone(),
        chain.name.clone(),
        handle,
    )
}

/// Rules that may have matched may be told or not; so may be what comes after the end of a path that is not known.
fn agrees(steps: &[(&Step, Told)], told: &[Told], is_open: bool) -> bool {
    match (steps.split_first(), told.split_first()) {
        (None, None) => true,
        (None, Some(_)) => is_open,
        (Some(((step, own), rest)), first) => {
            let matches = first.is_some_and(|(first, others)| first == own && agrees(rest, others, is_open));
            let may_lack = matches!(step.kind, StepKind::MayMatch | StepKind::Unknown);
            matches || (may_lack && agrees(rest, told, is_open))
        }
    }
}

fn shown(ruleset: &Ruleset, path: &Path) -> String {
    let steps = path.steps.iter().map(|step| {
        let (_, table, chain, handle) = of_step(ruleset, step);
        match handle {
            Some(handle) => format!("{table} {chain} {handle} ({:?})", step.kind),
            None => format!("{table} {chain} policy"),
        }
    });
    format!("{:?} by {}", path.outcome, steps.collect::<Vec<_>>().join(" > "))
}
