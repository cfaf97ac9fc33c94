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
