//! What a rule does to the packets that it counts, as far as that is certain.

use crate::ruleset::nftables::listing::{Counter, Expression, Statement, Table, ValueOrName, Verdict};
use crate::ruleset::xtables::save::Action;

/// How a rule or policy ends packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Each packet that it counts dies.
    Drop,
    /// Each dies, and its sender is told.
    Reject,
    /// Each is handed to a program, which decides; without one it dies.
    Queue,
}

impl Effect {
    /// Of a rule of iptables. `None` for what ends no packet: it accepts, jumps, returns, marks, logs, translates. A
    /// translation that fails drops, too, but its rule counts every connection; and what a target does that is not
    /// known here is not guessed.
    pub(super) fn of_action(action: &Action) -> Option<Self> {
        match action {
            Action::Drop => Some(Self::Drop),
            Action::Reject(_) => Some(Self::Reject),
            Action::Queue => Some(Self::Queue),
            Action::Other(extension) if &*extension.name == "NFQUEUE" => Some(Self::Queue),
            _ => None,
        }
    }

    /// Of a statement of nft.
    fn of_statement(statement: &Statement) -> Option<Self> {
        match statement {
            Statement::Verdict(Verdict::Drop) => Some(Self::Drop),
            Statement::Reject { .. } => Some(Self::Reject),
            Statement::Queue { .. } => Some(Self::Queue),
            // iptables-nft's, where nft shows them.
            Statement::Xt { kind, name } if kind == "target" => match name.as_str() {
                "REJECT" => Some(Self::Reject),
                "NFQUEUE" => Some(Self::Queue),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What counts exactly the packets that a rule of nft ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CountedBy {
    /// A counter of its own: packets and bytes.
    Own(u64, u64),
    /// A named counter, which other rules may use, too.
    Named(String),
    /// Nothing: it has no counter, or one that counts before the last condition was met.
    Nothing,
}

/// How a rule of nft ends packets, and what counts these.
pub(super) fn of_rule(statements: &[Statement]) -> Option<(Effect, CountedBy)> {
    // What stands behind a verdict is never come to.
    let ends = |statement: &Statement| {
        Effect::of_statement(statement).is_some() || matches!(statement, Statement::Verdict(_))
    };
    let end = statements.iter().position(ends)?;
    let effect = Effect::of_statement(&statements[end])?;
    // From the end backwards, as long as every packet that comes by one statement comes by the next.
    for statement in statements[..end].iter().rev() {
        match statement {
            Statement::Counter(ValueOrName::Value(Counter { counted })) => {
                let (packets, bytes) = counted.unwrap_or_default();
                return Some((effect, CountedBy::Own(packets, bytes)));
            }
            Statement::Counter(ValueOrName::Name(Expression::Word(name))) => {
                return Some((effect, CountedBy::Named(name.to_string())));
            }
            Statement::Log(_) | Statement::Last(_) | Statement::Notrack => {}
            _ => break,
        }
    }
    Some((effect, CountedBy::Nothing))
}

/// How many rules of a table may use a named counter.
pub(super) fn uses(table: &Table, name: &str) -> usize {
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    let is_it = |statement: &&Statement| match statement {
        Statement::Counter(ValueOrName::Name(Expression::Word(word))) => word == name,
        // What a map leads to may be any.
        Statement::Counter(ValueOrName::Name(_)) => true,
        _ => false,
    };
    rules.flat_map(|rule| &rule.statements).filter(is_it).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::nftables::listing::Ruleset;

    fn of(json: &str) -> Option<(Effect, CountedBy)> {
        let text = format!(
            r#"{{"nftables":[{{"table":{{"family":"inet","name":"t","handle":1}}}},
            {{"chain":{{"family":"inet","table":"t","name":"c","handle":1}}}},
            {{"rule":{{"family":"inet","table":"t","chain":"c","handle":2,"expr":[{json}]}}}}]}}"#
        );
        let ruleset = Ruleset::read(&text).expect("reads");
        of_rule(&ruleset.tables[0].chains[0].rules[0].statements)
    }

    const COUNTER: &str = r#"{"counter":{"packets":3,"bytes":90}}"#;
    const PORT: &str =
        r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":9}}"#;
    const DROP: &str = r#"{"drop":null}"#;

    #[test]
    fn a_counter_counts_what_dies_if_nothing_is_asked_behind_it() {
        let own = CountedBy::Own(3, 90);
        assert_eq!(
            of(&format!("{PORT},{COUNTER},{DROP}")),
            Some((Effect::Drop, own.clone()))
        );
        let log = r#"{"log":{"prefix":"x"}}"#;
        assert_eq!(
            of(&format!("{PORT},{COUNTER},{log},{DROP}")),
            Some((Effect::Drop, own.clone()))
        );
        let reject = r#"{"reject":{"type":"tcp reset"}}"#;
        assert_eq!(of(&format!("{COUNTER},{reject}")), Some((Effect::Reject, own)));
        assert_eq!(
            of(&format!(r#"{{"counter":"lost"}},{DROP}"#)),
            Some((Effect::Drop, CountedBy::Named("lost".into())))
        );
    }

    #[test]
    fn a_counter_before_a_condition_counts_others_too() {
        let nothing = Some((Effect::Drop, CountedBy::Nothing));
        assert_eq!(of(&format!("{COUNTER},{PORT},{DROP}")), nothing);
        let limit = r#"{"limit":{"rate":5,"burst":5,"per":"second"}}"#;
        assert_eq!(of(&format!("{COUNTER},{limit},{DROP}")), nothing);
        assert_eq!(of(&format!("{PORT},{DROP}")), nothing);
        // A counter that is never come to.
        assert_eq!(of(&format!("{DROP},{COUNTER}")), nothing);
        let unknown = r#"{"later":{}}"#;
        assert_eq!(of(&format!("{COUNTER},{unknown},{DROP}")), nothing);
    }

    #[test]
    fn what_only_counts_jumps_or_accepts_is_no_drop() {
        assert_eq!(of(COUNTER), None);
        assert_eq!(of(&format!(r#"{COUNTER},{{"accept":null}}"#)), None);
        assert_eq!(of(&format!(r#"{COUNTER},{{"jump":{{"target":"c"}}}}"#)), None);
        assert_eq!(of(&format!(r#"{COUNTER},{{"accept":null}},{DROP}"#)), None);
    }
}
