//! What a rule asks before it does anything, ready to be tested: most rules end there.

use super::PreparedTable;
use super::set::{all, parts};
use crate::evaluate::nftables::load::Scene;
use crate::evaluate::nftables::matcher::Matcher;
use crate::evaluate::nftables::value::{Loaded, Truth};
use crate::ruleset::nftables::listing::{Datatype, Element, Expression, Operator, Rule, Statement};

/// The first conditions of a rule.
pub(in super::super) struct Leading<'a>(Vec<Condition<'a>>);

struct Condition<'a> {
    left: &'a Expression,
    is_negated: bool,
    right: Right<'a>,
}

enum Right<'a> {
    /// As many parts as there are on the left.
    Constant(Vec<Matcher>),
    /// A set by its name.
    Named(&'a str),
    /// A set that is part of the rule.
    Unnamed(&'a [Element]),
}

impl<'a> Leading<'a> {
    pub(super) fn of(rule: &'a Rule) -> Self {
        Self(rule.statements.iter().map_while(Condition::of).collect())
    }

    /// Whether one of them surely does not hold: then nothing of the rule is done.
    pub(in super::super) fn fails(&self, scene: Scene<'_>) -> bool {
        self.0.iter().any(|condition| condition.fails(scene))
    }
}

impl<'a> Condition<'a> {
    fn of(statement: &'a Statement) -> Option<Self> {
        let Statement::Match {
            left,
            operator: operator @ (Operator::Equal | Operator::NotEqual),
            right,
        } = statement
        else {
            return None;
        };
        let right = match right {
            Expression::Set(elements) => Right::Unnamed(elements),
            Expression::Reference(name) => Right::Named(name),
            constant => {
                let types = Datatype::of(left);
                let constant = parts(constant, &types);
                (constant.len() == types.len()).then_some(Right::Constant(constant))?
            }
        };
        Some(Self {
            left,
            is_negated: *operator == Operator::NotEqual,
            right,
        })
    }

    fn fails(&self, scene: Scene<'_>) -> bool {
        match self.left {
            Expression::Concatenation(_) => self.fails_for(&scene.load_parts(self.left), scene.table),
            one => self.fails_for(&[scene.load(one)], scene.table),
        }
    }

    fn fails_for(&self, loaded: &[Loaded], table: &PreparedTable<'_>) -> bool {
        if loaded.contains(&Loaded::Missing) {
            return true;
        }
        let found = match &self.right {
            Right::Constant(parts) => return self.is_no(all(parts, loaded)),
            Right::Named(name) => table.set(name),
            Right::Unnamed(elements) => table.unnamed(elements),
        };
        found.is_some_and(|set| self.is_no(set.find(loaded).is_there()))
    }

    fn is_no(&self, truth: Truth) -> bool {
        truth.turned(self.is_negated) == Truth::No
    }
}
