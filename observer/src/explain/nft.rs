//! What came of a packet in a base chain of nf_tables, in the words of the trace.

use super::passage::{changes, device};
use crate::diagnose::{nft_near_miss, nft_never_asked};
use crate::evaluate::ChainPassage;
use crate::evaluate::nftables::{Assumption, Evaluator, Final, NearMiss, Outcome, Place, Step, StepKind};
use crate::report::record::{
    Backend, Cause, Confidence, Dependence, DropInfo, Evidence, Hint, HintRule, Layer, PassVerdict, Passage,
    PathEvidence, PathStep, Rule, Tool,
};
use crate::ruleset::nftables::listing::{Expression, Family, Statement, Verdict};

/// Of so many rules that would have let it live it is looked how nearly they matched.
const LOOKED_AT: usize = 256;
/// Rules fail by so many conditions at most.
const MOST_FAILED: usize = 2;
/// What a second condition adds to the distance.
const SECOND: u32 = 60;

/// The passage in the trace's words.
pub(super) fn passage(one: &ChainPassage, evaluator: &Evaluator<'_>) -> Passage {
    let (table, chain) = (evaluator.table(one.base), evaluator.chain(one.base));
    let (verdict, note) = match one.path.outcome {
        Some(Outcome::Accept) => (Some(PassVerdict::Accept), None),
        Some(Outcome::Drop) => (Some(PassVerdict::Drop), None),
        Some(Outcome::Queue) => (Some(PassVerdict::Queue), None),
        Some(Outcome::Stolen) => (Some(PassVerdict::Stolen), None),
        Some(Outcome::Unknown) | None => (None, Some("what becomes of it here is not known".to_owned())),
    };
    let is_taken = |step: &&Step| step.kind != StepKind::MayMatch;
    let steps = one.path.steps.iter().filter(is_taken);
    Passage {
        at: None,
        hook: one.hook,
        netns: None,
        in_dev: device(&one.before.in_dev),
        out_dev: device(&one.before.out_dev),
        node: None,
        outer: None,
        backend: Some(Backend::Nft),
        family: table.map(|table| table.family.into()),
        table: table.map(|table| table.name.clone()),
        chain: chain.map(|chain| chain.name.clone()),
        priority: i32::try_from(one.priority).ok(),
        verdict,
        steps: steps.filter_map(|taken| step(taken, evaluator)).collect(),
        changes: changes(&one.before, &one.after),
        evidence: PathEvidence::Replayed,
        note,
    }
}

fn step(step: &Step, evaluator: &Evaluator<'_>) -> Option<PathStep> {
    let chain = evaluator.chain(step.place)?;
    let told = PathStep {
        chain: chain.name.as_str().to_owned(),
        ..PathStep::default()
    };
    let Some(rule) = evaluator.rule(step.place) else {
        let policy = chain.base.as_ref()?.policy.as_deref().unwrap_or("accept");
        return Some(PathStep {
            policy: Some(policy.to_uppercase()),
            ..told
        });
    };
    let told = PathStep {
        rule: number(step.place),
        handle: rule.handle,
        target: target(&rule.statements),
        ..told
    };
    Some(match &step.end {
        Some(Final::Verdict(Verdict::Jump(to))) => PathStep {
            jump: Some(to.to_string()),
            ..told
        },
        Some(Final::Verdict(Verdict::Goto(to))) => PathStep {
            goto: Some(to.to_string()),
            ..told
        },
        Some(Final::Verdict(verdict)) => PathStep {
            verdict: word(verdict).map(str::to_owned),
            ..told
        },
        Some(Final::Queue) => PathStep {
            verdict: Some("QUEUE".to_owned()),
            ..told
        },
        Some(Final::Reject | Final::Translated | Final::Stolen) | None => told,
    })
}

fn word(verdict: &Verdict) -> Option<&'static str> {
    Some(match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Drop => "DROP",
        Verdict::Return => "RETURN",
        Verdict::Continue | Verdict::Jump(_) | Verdict::Goto(_) => return None,
    })
}

/// The rule's number in its chain, from 1.
fn number(place: Place) -> Option<u32> {
    place.rule.and_then(|index| u32::try_from(index + 1).ok())
}

/// What a rule does beside its verdict, the last such thing.
fn target(statements: &[Statement]) -> Option<String> {
    statements.iter().rev().find_map(|statement| {
        Some(match statement {
            Statement::Nat(nat) => nat.kind.name().to_owned(),
            Statement::Reject { .. } => "reject".to_owned(),
            Statement::Mangle {
                key: Expression::Meta(key),
                ..
            } => key.clone(),
            Statement::Mangle {
                key: Expression::Ct { key, .. },
                ..
            } => format!("ct {key}"),
            Statement::Notrack => "notrack".to_owned(),
            Statement::Xt { kind, name } if kind == "target" => name.as_str().to_owned(),
            _ => return None,
        })
    })
}

/// A rule as the trace has it.
fn rule(place: Place, evaluator: &Evaluator<'_>) -> Option<Rule> {
    let rule = evaluator.rule(place)?;
    Some(Rule {
        number: number(place),
        handle: rule.handle,
        text: evaluator.text(place),
        comment: rule.comment.as_deref().map(str::to_owned),
        target: final_word(&rule.statements),
    })
}

/// What ends a packet in a rule, in nft's words.
fn final_word(statements: &[Statement]) -> Option<String> {
    match statements.last()? {
        Statement::Verdict(verdict) => word(verdict).map(str::to_lowercase),
        Statement::Reject { .. } => Some("reject".to_owned()),
        Statement::Vmap { .. } => Some("vmap".to_owned()),
        _ => None,
    }
}

/// What must be so of a rule, or of whether a base chain is called at all, for the packet to go this way.
pub(super) fn dependence(
    assumption: &Assumption,
    passage: &ChainPassage,
    evaluator: &Evaluator<'_>,
) -> Option<Dependence> {
    let place = assumption.place;
    let (table, chain) = (evaluator.table(place)?, evaluator.chain(place)?);
    let because = match evaluator.rule(place) {
        None => "whether the chain is asked is not known: it may be dormant, or nothing tracks connections"
            .to_owned(),
        Some(rule) => {
            let open = assumption
                .statements
                .iter()
                .filter_map(|at| rule.statements.get(*at));
            let mut reasons: Vec<String> = open.map(|statement| why(statement, table.family)).collect();
            reasons.dedup();
            let taken = passage.path.steps.iter().find(|step| step.place == place);
            let led = taken
                .filter(|_| assumption.holds)
                .and_then(|step| led_to(step.end.as_ref()?));
            reasons.extend(led);
            reasons.join("; ")
        }
    };
    Some(Dependence {
        rule: HintRule {
            table: table.name.as_str().to_owned(),
            chain: chain.name.as_str().to_owned(),
            rule: rule(place, evaluator).unwrap_or_default(),
        },
        matches: assumption.holds,
        because,
    })
}

/// Why it is not known what a statement does.
fn why(statement: &Statement, family: Family) -> String {
    let is_about = |wanted: fn(&Expression) -> bool| match statement {
        Statement::Match { left, right, .. } => about(left, wanted) || about(right, wanted),
        Statement::Vmap { key, data } => about(key, wanted) || about(data, wanted),
        Statement::Nat(nat) => nat.address.iter().chain(&nat.port).any(|one| about(one, wanted)),
        Statement::Mangle { value, .. } => about(value, wanted),
        _ => false,
    };
    let known = match statement {
        Statement::Limit(_) | Statement::Quota(_) | Statement::Meter { .. } => {
            "it depends on how many packets came before"
        }
        Statement::CtCount { .. } => "it depends on how many connections there are",
        Statement::Set(_) => "it depends on what the set holds at that moment",
        Statement::Xt { .. } => "nft does not list what this extension asks",
        _ if is_about(|one| matches!(one, Expression::Numgen { .. })) => "it is drawn by lot",
        _ if is_about(|one| matches!(one, Expression::Jhash(_) | Expression::Symhash { .. })) => {
            "it depends on a hash"
        }
        _ if is_about(|one| matches!(one, Expression::Fib { .. } | Expression::Rt { .. })) => {
            "what the routing table says of it is not known"
        }
        _ if is_about(|one| matches!(one, Expression::Ct { .. })) => "what conntrack has of it is not known",
        _ if is_about(|one| matches!(one, Expression::Socket { .. })) => "sockets are not known",
        _ if is_about(|one| matches!(one, Expression::Meta(key) if is_clock(key))) => {
            "it depends on the clock"
        }
        _ => return format!("whether it has {} is not known", statement.text(family)),
    };
    known.to_owned()
}

fn is_clock(key: &str) -> bool {
    matches!(key, "time" | "day" | "hour")
}

/// Whether an expression, or a part of it, is of a kind.
fn about(expression: &Expression, wanted: fn(&Expression) -> bool) -> bool {
    wanted(expression)
        || match expression {
            Expression::Concatenation(parts) | Expression::Binary { operands: parts, .. } => {
                parts.iter().any(|part| about(part, wanted))
            }
            Expression::Map { key, .. } => about(key, wanted),
            _ => false,
        }
}

/// Where an assumed verdict leads.
fn led_to(end: &Final) -> Option<String> {
    match end {
        Final::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => Some(format!("taken: {to}")),
        _ => None,
    }
}

/// What dropped it.
pub(super) fn drop_info(at: Place, passage: &ChainPassage, evaluator: &Evaluator<'_>) -> Option<DropInfo> {
    let (table, chain) = (evaluator.table(at)?, evaluator.chain(at)?);
    let mut info = DropInfo {
        layer: Layer::Netfilter,
        reason: "NETFILTER_DROP".to_owned(),
        hook: Some(passage.hook),
        tool: Some(Tool::Nft),
        backend: Some(Backend::Nft),
        family: Some(table.family.into()),
        table: Some(table.name.clone()),
        chain: Some(chain.name.clone()),
        chain_path: chain_path(passage, at, evaluator),
        confidence: Confidence::Inferred,
        evidence: vec![Evidence::Replay],
        ..DropInfo::default()
    };
    match rule(at, evaluator) {
        Some(rule) => {
            info.cause = Some(Cause::Rule);
            info.rule = Some(rule);
        }
        None => {
            info.cause = Some(Cause::Policy);
            info.policy = Some("drop".to_owned());
        }
    }
    Some(info)
}

/// The chains from the base chain down to the one that it died in.
fn chain_path(passage: &ChainPassage, at: Place, evaluator: &Evaluator<'_>) -> Vec<String> {
    let mut stack = vec![passage.base.chain];
    for step in &passage.path.steps {
        let chain = step.place.chain;
        if let Some(depth) = stack.iter().position(|known| *known == chain) {
            stack.truncate(depth + 1);
        }
        let to = match &step.end {
            Some(Final::Verdict(Verdict::Jump(to) | Verdict::Goto(to))) => to,
            _ => continue,
        };
        let table = evaluator.table(step.place);
        stack.extend(table.and_then(|table| table.chains.iter().position(|chain| *to == *chain.name)));
    }
    if let Some(depth) = stack.iter().position(|known| *known == at.chain) {
        stack.truncate(depth + 1);
    }
    if stack.last() != Some(&at.chain) {
        return Vec::new();
    }
    let place = |chain: usize| Place { chain, ..at };
    let names = stack
        .into_iter()
        .filter_map(|chain| evaluator.chain(place(chain)));
    names.map(|chain| chain.name.clone()).collect()
}

/// Rules that would have let it live, `most` at most.
pub(super) fn hints(last: &ChainPassage, evaluator: &Evaluator<'_>, most: usize) -> Vec<Hint> {
    let mut near = evaluator.near_misses(&last.path, LOOKED_AT);
    near.retain(|near| near.unknown == 0 && near.failing.len() <= MOST_FAILED && !is_of_others(near));
    near.sort_by_key(distance);
    let nearest = near.first().map_or(0, distance);
    near.retain(|near| distance(near) <= nearest.saturating_add(crate::evaluate::NearMiss::SPREAD));
    let near = near.iter().filter_map(|near| nft_near_miss(near, evaluator));
    let behind = nft_never_asked(&last.path, evaluator);
    behind.into_iter().chain(near).take(most).collect()
}

/// Whether a rule is for packets of another kind: of another protocol, or with what this one has not.
fn is_of_others(near: &NearMiss) -> bool {
    let is_kind = |has: &str| has.starts_with("IPv4 ") || has.starts_with("IPv6 ");
    let mut failing = near.failing.iter();
    failing.any(|failing| is_kind(&failing.has) || failing.needs.starts_with("meta l4proto "))
}

fn distance(near: &NearMiss) -> u32 {
    let more = u32::try_from(near.failing.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let sum = near
        .failing
        .iter()
        .fold(0_u32, |sum, failing| sum.saturating_add(failing.distance()));
    sum.saturating_add(more.saturating_mul(SECOND))
}
