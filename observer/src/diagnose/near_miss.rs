//! Near misses in the words of the trace.

use crate::evaluate::{Miss, NearMiss, Place};
use crate::report::record::{Hint, HintKind, HintRule, Rule};
use crate::ruleset::xtables::save::{self, Action, Table};

/// A table whose rules are told.
pub trait Rules {
    /// Its name.
    fn table(&self) -> &str;
    /// The name of a chain.
    fn chain(&self, chain: usize) -> Option<&str>;
    /// A rule, as the trace has rules.
    fn rule(&self, place: Place) -> Option<Rule>;
}

impl Rules for Table {
    fn table(&self) -> &str {
        &self.name
    }

    fn chain(&self, chain: usize) -> Option<&str> {
        self.chains.get(chain).map(|chain| &*chain.name)
    }

    fn rule(&self, place: Place) -> Option<Rule> {
        let found = self.chains.get(place.chain)?.rules.get(place.rule?)?;
        let text = self.text(place.chain, found);
        Some(rule(place, text, found, target(self, &found.action)))
    }
}

/// A rule, as the trace has rules.
pub fn rule(place: Place, text: String, rule: &save::Rule, target: Option<String>) -> Rule {
    Rule {
        number: place.rule.and_then(|index| u32::try_from(index + 1).ok()),
        handle: None,
        text: Some(text),
        comment: rule.comment().map(str::to_owned),
        target,
    }
}

/// A near miss as a hint; `None` if the table has no such rule.
pub fn near_miss(near: &NearMiss, table: &dyn Rules) -> Option<Hint> {
    let rule = hint_rule(table, near.place)?;
    let mut text = near.misses.iter().map(words).collect::<Vec<_>>().join("; and ");
    if let Some(before) = near.behind {
        let taken = hint_rule(table, before)?.rule;
        let does = match taken.target.as_deref() {
            Some("RETURN") => "sends back",
            _ => "drops",
        };
        text = never_asked(&place(table, before)?, does);
    }
    if let Some(by) = near.accepted_by {
        text.push_str(&format!("; then {} accepts it", place(table, by)?));
    }
    Some(Hint {
        kind: HintKind::NearMiss,
        text,
        rule: Some(rule),
        command: None,
        owner: None,
    })
}

/// Of a rule that accepts what never comes to it: `before` is the rule that takes it first, `does` what that one does.
pub(super) fn never_asked(before: &str, does: &str) -> String {
    format!(
        "would accept it, but is never asked: {before} stands before it and {does} whatever it could match"
    )
}

/// `needs dst 10.244.0.0/16, packet has 10.224.2.16; one digit differs: 10.244, 10.224`
fn words(miss: &Miss) -> String {
    let mut text = format!("needs {}", miss.needs);
    if let Some(has) = &miss.has {
        text.push_str(&format!(", {has}"));
    }
    if let Some(remark) = &miss.remark {
        text.push_str(&format!("; {remark}"));
    }
    text
}

/// `rule 3 of DOCKER`, `the policy of INPUT`
pub fn place(table: &dyn Rules, place: Place) -> Option<String> {
    let chain = table.chain(place.chain)?;
    Some(match place.rule {
        Some(rule) => format!("rule {} of {chain}", rule + 1),
        None => format!("the policy of {chain}"),
    })
}

/// A rule with its place, as the trace has rules.
pub fn hint_rule(table: &dyn Rules, place: Place) -> Option<HintRule> {
    Some(HintRule {
        table: table.table().to_owned(),
        chain: table.chain(place.chain)?.to_owned(),
        rule: table.rule(place)?,
    })
}

/// A target's name: a verdict, a chain or an extension.
pub fn target(table: &Table, action: &Action) -> Option<String> {
    Some(match action {
        Action::None => return None,
        Action::Accept => "ACCEPT".to_owned(),
        Action::Drop => "DROP".to_owned(),
        Action::Return => "RETURN".to_owned(),
        Action::Queue => "QUEUE".to_owned(),
        Action::Jump(to) | Action::Goto(to) => table.chains.get(*to)?.name.to_string(),
        action => action.extension()?.name.to_string(),
    })
}
