//! Rules that would have let a packet live and are never asked, since one before them takes all that they match.

use super::hook::Evaluator;
use super::path::{Outcome, Path, Place};
use super::value::Truth;
use crate::ruleset::nftables::listing::{Statement, Verdict};

impl Evaluator<'_> {
    /// The rule behind the one that dropped the packet that would have accepted it, if every packet that it could match is
    /// dropped before. `None`, too, where that is not certain.
    pub fn never_asked(&self, path: &Path) -> Option<Place> {
        let before = path.decided_by.filter(|_| path.outcome == Some(Outcome::Drop))?;
        let first = self.rule(before)?;
        if !first.statements.iter().all(is_plain) {
            return None;
        }
        let number = self.chain(before)?.rules.len();
        for index in before.rule? + 1..number {
            let rule = Some(index);
            let place = Place { rule, ..before };
            let truths: Vec<Truth> = self
                .conditions(place, &path.packet)
                .map(|(_, truth)| truth)
                .collect();
            let statements = &self.rule(place)?.statements;
            if truths.contains(&Truth::No) || statements.iter().all(changes_nothing) {
                continue;
            }
            let accepts = statements.last() == Some(&Statement::Verdict(Verdict::Accept));
            let is_certain = !truths.contains(&Truth::Unknown) && statements.iter().all(is_plain);
            let mut conditions = first
                .statements
                .iter()
                .filter(|statement| is_condition(statement));
            let is_taken = conditions.all(|condition| statements.contains(condition));
            return (accepts && is_certain && is_taken).then_some(place);
        }
        None
    }
}

fn is_condition(statement: &Statement) -> bool {
    matches!(statement, Statement::Match { .. })
}

/// Whatever the packet is.
fn changes_nothing(statement: &Statement) -> bool {
    is_condition(statement) || matches!(statement, Statement::Counter(_) | Statement::Log(_))
}

/// Whether a statement does the same to every packet that comes to it.
fn is_plain(statement: &Statement) -> bool {
    changes_nothing(statement)
        || matches!(
            statement,
            Statement::Verdict(Verdict::Accept | Verdict::Drop) | Statement::Reject { .. }
        )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, syn};
    use super::*;
    use crate::ruleset::nftables::listing::Family;

    const TCP: &str = r#"{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}"#;
    const WEB: &str =
        r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}"#;
    const HOST: &str = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.1"}}"#;
    const COUNTER: &str = r#"{"counter": {"packets": 0, "bytes": 0}}"#;
    const LIMIT: &str = r#"{"limit": {"rate": 1, "burst": 5, "per": "second"}}"#;
    const REJECT: &str = r#"{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}"#;
    const DROP: &str = r#"{"drop": null}"#;
    const ACCEPT: &str = r#"{"accept": null}"#;
    const JUMP: &str = r#"{"jump": {"target": "other"}}"#;

    /// The number of the rule that is never asked, for a packet from 10.0.0.1 to port 80.
    fn behind(rules: &[&[&str]]) -> Option<usize> {
        let rules = rules.iter().map(|statements| {
            let of = r#""family": "ip", "table": "lab", "chain": "input""#;
            format!(
                r#", {{"rule": {{{of}, "handle": 9, "expr": [{}]}}}}"#,
                statements.join(", ")
            )
        });
        let json = format!(
            r#"{{"nftables": [{{"metainfo": {{"json_schema_version": 1}}}},
            {{"table": {{"family": "ip", "name": "lab", "handle": 1}}}},
            {{"chain": {{"family": "ip", "table": "lab", "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}}},
            {{"chain": {{"family": "ip", "table": "lab", "name": "other", "handle": 2}}}}{}]}}"#,
            rules.collect::<String>()
        );
        let ruleset = read(&json);
        let evaluator = Evaluator::new(&ruleset);
        let packet = syn("10.0.0.1", "10.0.0.2", 80);
        let evaluation = evaluator.base_chain(Family::Ip, "lab", "input", &packet);
        let path = evaluation
            .paths
            .iter()
            .find(|path| path.outcome == Some(Outcome::Drop));
        let place = evaluator.never_asked(path.expect("a drop"))?;
        place.rule.map(|index| index + 1)
    }

    #[test]
    fn an_accept_behind_what_takes_all_of_it_is_never_asked() {
        assert_eq!(behind(&[&[COUNTER, REJECT], &[WEB, ACCEPT]]), Some(2));
        assert_eq!(
            behind(&[&[TCP, DROP], &[COUNTER], &[TCP, WEB, COUNTER, ACCEPT]]),
            Some(3)
        );
    }

    #[test]
    fn what_is_meant_so_or_not_certain_is_not_told() {
        let cases: [&[&[&str]]; 6] = [
            &[&[HOST, DROP], &[WEB, ACCEPT]],
            &[&[REJECT], &[LIMIT, ACCEPT]],
            &[&[LIMIT, DROP], &[WEB, ACCEPT]],
            &[&[REJECT], &[JUMP], &[WEB, ACCEPT]],
            &[&[REJECT], &[WEB, DROP], &[WEB, ACCEPT]],
            &[&[TCP, DROP], &[WEB, DROP]],
        ];
        for rules in cases {
            assert_eq!(behind(rules), None, "{rules:?}");
        }
    }
}
