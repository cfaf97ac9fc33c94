//! A table as owners are known by: chains, jumps, targets, comments.

use super::reading::{Model, TableReading};
use crate::diagnose::target;
use crate::report::record::Hook;
use crate::ruleset::nftables::listing::{self, Statement, Verdict};
use crate::ruleset::xtables::save::{self, Action};
use crate::ruleset::{Base, Chain, Policy, Rule, Step, Table};

/// The table of a reading.
pub(super) fn table(of: &TableReading) -> Table {
    let chains = match &of.shape.model {
        Model::Saved(saved) => saved_chains(saved),
        Model::Listed(ruleset) => ruleset.tables.first().map(listed_chains).unwrap_or_default(),
        Model::None => Vec::new(),
    };
    Table {
        backend: of.backend,
        family: of.family,
        name: of.name.clone(),
        chains,
        hash: of.shape.hash,
        address: 0,
    }
}

/// The hook with a name as iptables or nft writes it.
pub(super) fn hook(name: &str) -> Option<Hook> {
    const HOOKS: [Hook; 7] = [
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
        Hook::Ingress,
        Hook::Egress,
    ];
    HOOKS
        .into_iter()
        .find(|hook| hook.name().eq_ignore_ascii_case(name))
}

fn base(hook: Hook, drops: bool, priority: i32) -> Base {
    Base {
        hook,
        priority,
        policy: if drops { Policy::Drop } else { Policy::Accept },
        counter: None,
    }
}

fn saved_chains(saved: &save::Table) -> Vec<Chain> {
    let rule = |rule: &save::Rule| Rule {
        step: match &rule.action {
            Action::Accept | Action::Nat(_) => Step::Accept,
            Action::Drop | Action::Reject(_) => Step::Drop,
            Action::Return => Step::Return,
            Action::Jump(to) => Step::Jump(*to),
            Action::Goto(to) => Step::Goto(*to),
            Action::Queue => Step::MayDrop,
            _ => Step::Continue,
        },
        target: target(saved, &rule.action).map(Into::into),
        comment: rule.comment().map(Into::into),
        ..Rule::default()
    };
    let chain = |chain: &save::Chain| Chain {
        name: chain.name.to_string(),
        base: hook(&chain.name)
            .zip(chain.policy)
            .map(|(hook, policy)| base(hook, policy == save::Policy::Drop, 0)),
        rules: chain.rules.iter().map(rule).collect(),
        ..Chain::default()
    };
    saved.chains.iter().map(chain).collect()
}

fn listed_chains(listed: &listing::Table) -> Vec<Chain> {
    let index = |name: &str| listed.chains.iter().position(|chain| chain.name == name);
    let step = |rule: &listing::Rule| {
        let found = rule.statements.iter().find_map(|statement| {
            Some(match statement {
                Statement::Verdict(Verdict::Accept) => Step::Accept,
                Statement::Verdict(Verdict::Drop) | Statement::Reject { .. } => Step::Drop,
                Statement::Verdict(Verdict::Return) => Step::Return,
                Statement::Verdict(Verdict::Jump(to)) => Step::Jump(index(to)?),
                Statement::Verdict(Verdict::Goto(to)) => Step::Goto(index(to)?),
                Statement::Vmap { .. } => Step::Map,
                Statement::Queue { .. } => Step::MayDrop,
                _ => return None,
            })
        });
        found.unwrap_or_default()
    };
    // Which chains a map leads to is not looked at: any may be.
    let has_map = listed
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .any(|rule| step(rule) == Step::Map);
    let chain = |chain: &listing::Chain| Chain {
        name: chain.name.clone(),
        base: chain.base.as_ref().and_then(|of| {
            let drops = of.policy.as_deref() == Some("drop");
            Some(base(hook(&of.hook)?, drops, i32::try_from(of.priority).ok()?))
        }),
        rules: chain
            .rules
            .iter()
            .map(|rule| Rule {
                handle: rule.handle.unwrap_or_default(),
                step: step(rule),
                target: nft_target(rule).map(Into::into),
                comment: rule.comment.clone(),
                ..Rule::default()
            })
            .collect(),
        mapped: has_map,
        ..Chain::default()
    };
    listed.chains.iter().map(chain).collect()
}

/// The word that ends a rule of nft.
pub(super) fn nft_target(rule: &listing::Rule) -> Option<String> {
    let word = rule.statements.iter().find_map(|statement| match statement {
        Statement::Verdict(Verdict::Drop) => Some("drop"),
        Statement::Verdict(Verdict::Accept) => Some("accept"),
        Statement::Reject { .. } => Some("reject"),
        Statement::Queue { .. } => Some("queue"),
        _ => None,
    });
    word.map(str::to_owned)
}
