//! Near misses of nf_tables' own rules in the words of the trace.

use super::near_miss::never_asked;
use crate::evaluate::nftables::{Evaluator, NearMiss, Path, Place};
use crate::report::record::{Hint, HintKind, HintRule, Rule};

/// A near miss as a hint; `None` if the ruleset has no such rule.
pub fn nft_near_miss(near: &NearMiss, evaluator: &Evaluator<'_>) -> Option<Hint> {
    let texts: Vec<String> = near.failing.iter().map(|failing| failing.text()).collect();
    let mut text = texts.join("; and ");
    for remark in near.failing.iter().filter_map(|failing| failing.remark()) {
        text.push_str(&format!("; {remark}"));
    }
    text.push_str(&nft_then(near, evaluator)?);
    hint(near.place, text, evaluator)
}

/// What would have followed: `; then rule 2 of allowed accepts it`. Empty for a rule that accepts by itself; `None` if the
/// ruleset has no such place.
pub fn nft_then(near: &NearMiss, evaluator: &Evaluator<'_>) -> Option<String> {
    let Some(by) = near.accepted_by.filter(|by| *by != near.place) else {
        return Some(String::new());
    };
    let chain = &evaluator.chain(by)?.name;
    Some(match by.rule {
        Some(rule) => format!("; then rule {} of {chain} accepts it", rule + 1),
        None => format!("; then the policy of {chain} accepts it"),
    })
}

/// A rule that would accept a packet behind the one that drops it, as a hint; `None` if there is none.
pub fn nft_never_asked(path: &Path, evaluator: &Evaluator<'_>) -> Option<Hint> {
    let place = evaluator.never_asked(path)?;
    let before = path.decided_by?;
    let chain = &evaluator.chain(before)?.name;
    let text = never_asked(&format!("rule {} of {chain}", before.rule? + 1), "drops");
    hint(place, text, evaluator)
}

fn hint(place: Place, text: String, evaluator: &Evaluator<'_>) -> Option<Hint> {
    let (table, chain) = (evaluator.table(place)?, evaluator.chain(place)?);
    let rule = evaluator.rule(place)?;
    Some(Hint {
        kind: HintKind::NearMiss,
        text,
        rule: Some(HintRule {
            table: table.name.clone(),
            chain: chain.name.clone(),
            rule: Rule {
                number: place.rule.and_then(|index| u32::try_from(index + 1).ok()),
                handle: rule.handle,
                text: evaluator.text(place),
                comment: rule.comment.as_deref().map(str::to_owned),
                target: None,
            },
        }),
        command: None,
        owner: None,
    })
}
