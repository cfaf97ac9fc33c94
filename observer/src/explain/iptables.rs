//! What came of a packet in a table of iptables, in the words of the trace.

use super::rules::{Rules, table_family};
use crate::diagnose::{hint_rule, near_miss, target};
use crate::evaluate::{Ask, AskConn, Bounds, Doubt, Passage, Place, Surroundings, Truth, near_misses};
use crate::report::record::{Cause, Confidence, Dependence, DropInfo, Evidence, Hint, Layer, Rule};
use crate::ruleset::xtables::save::Action;

/// What must be so of a rule for the packet to go this way.
pub(super) fn dependence(doubt: &Doubt, passage: &Passage, rules: &Rules) -> Option<Dependence> {
    let table = rules.tables.get(passage.table)?;
    let rule = table
        .chains
        .get(doubt.place.chain)?
        .rules
        .get(doubt.place.rule?)?;
    let open = rule
        .conditions
        .iter()
        .filter(|condition| condition.holds(&passage.before) == Truth::Unknown);
    let mut because: Vec<String> = open
        .map(|condition| match &condition.ask {
            Ask::Open(open) => open.why.to_owned(),
            Ask::Time(_) => "it depends on the clock".to_owned(),
            Ask::Conn(of_conn) => match &of_conn.ask {
                AskConn::Open(_) => "the connection's state is not known so closely".to_owned(),
                _ => "what conntrack has of it is not known".to_owned(),
            },
            _ => format!("whether it has {} is not known", condition.needs()),
        })
        .collect();
    because.dedup();
    Some(Dependence {
        rule: hint_rule(rules.saved.get(passage.table)?, doubt.place)?,
        matches: doubt.matched,
        because: because.join("; "),
    })
}

/// What dropped it.
pub(super) fn drop_info(at: Place, passage: &Passage, rules: &Rules) -> Option<DropInfo> {
    let table = rules.saved.get(passage.table)?;
    let chain = table.chains.get(at.chain)?;
    let held_by = rules.held_by(passage.table);
    let mut info = DropInfo {
        layer: Layer::Netfilter,
        reason: "NETFILTER_DROP".to_owned(),
        hook: Some(passage.hook),
        tool: held_by.map(|(tool, _)| tool),
        backend: held_by.map(|(_, backend)| backend),
        family: held_by.and(table.family.map(table_family)),
        table: Some(table.name.to_string()),
        chain: Some(chain.name.to_string()),
        chain_path: chain_path(passage, at, rules),
        confidence: Confidence::Inferred,
        evidence: vec![Evidence::Replay],
        ..DropInfo::default()
    };
    match at
        .rule
        .and_then(|rule| chain.rules.get(rule).zip(u32::try_from(rule + 1).ok()))
    {
        Some((rule, number)) => {
            info.cause = Some(Cause::Rule);
            info.rule = Some(Rule {
                number: Some(number),
                handle: None,
                text: Some(table.text(at.chain, rule)),
                comment: rule.comment().map(str::to_owned),
                target: target(table, &rule.action),
            });
        }
        None => {
            info.cause = Some(Cause::Policy);
            info.policy = Some("DROP".to_owned());
        }
    }
    Some(info)
}

/// The chains from the base chain down to the one that it died in.
fn chain_path(passage: &Passage, at: Place, rules: &Rules) -> Vec<String> {
    let Some(table) = rules.saved.get(passage.table) else {
        return Vec::new();
    };
    let mut stack: Vec<usize> = Vec::new();
    for step in &passage.steps {
        let chain = step.place.chain;
        match stack.iter().position(|known| *known == chain) {
            Some(depth) => stack.truncate(depth + 1),
            None if stack.is_empty() => stack.push(chain),
            None => {}
        }
        let rule = step
            .place
            .rule
            .and_then(|rule| table.chains.get(chain)?.rules.get(rule));
        if let Some(Action::Jump(to) | Action::Goto(to)) = rule.map(|rule| &rule.action) {
            stack.push(*to);
        }
    }
    if stack.last() != Some(&at.chain) {
        return Vec::new();
    }
    let names = stack.iter().filter_map(|chain| table.chains.get(*chain));
    names.map(|chain| chain.name.to_string()).collect()
}

/// Rules that would have let it live, `most` at most.
pub(super) fn hints(
    last: &Passage,
    rules: &Rules,
    around: &dyn Surroundings,
    bounds: &mut Bounds,
    most: usize,
) -> Vec<Hint> {
    let (Some(table), Some(saved)) = (rules.tables.get(last.table), rules.saved.get(last.table)) else {
        return Vec::new();
    };
    let way = (&last.before, last.doubts.as_slice());
    let near = near_misses(table, last.hook, way, around, bounds, most);
    near.iter().filter_map(|near| near_miss(near, saved)).collect()
}
