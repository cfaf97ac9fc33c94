//! Near misses of nf_tables' own rules in the words of the trace.

use crate::evaluate::nftables::{Evaluator, NearMiss};
use crate::report::record::{Hint, HintKind, HintRule, Rule};

/// A near miss as a hint; `None` if the ruleset has no such rule.
pub fn nft_near_miss(near: &NearMiss, evaluator: &Evaluator<'_>) -> Option<Hint> {
    let (table, chain) = (evaluator.table(near.place)?, evaluator.chain(near.place)?);
    let rule = evaluator.rule(near.place)?;
    let texts: Vec<String> = near.failing.iter().map(|failing| failing.text()).collect();
    let mut text = texts.join("; and ");
    for remark in near.failing.iter().filter_map(|failing| failing.remark()) {
        text.push_str(&format!("; {remark}"));
    }
    Some(Hint {
        kind: HintKind::NearMiss,
        text,
        rule: Some(HintRule {
            table: table.name.clone(),
            chain: chain.name.clone(),
            rule: Rule {
                number: near.place.rule.and_then(|index| u32::try_from(index + 1).ok()),
                handle: rule.handle,
                text: evaluator.text(near.place),
                comment: rule.comment.clone(),
                target: None,
            },
        }),
        command: None,
    })
}
