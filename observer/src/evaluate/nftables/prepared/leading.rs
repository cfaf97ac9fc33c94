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
    /// Its place among the [`Asked`].
    left: usize,
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

/// What the rules of a table ask first, each once: thousands of rules ask for the same few fields.
#[derive(Default)]
pub(super) struct Asked<'a>(Vec<&'a Expression>);

/// What a packet has of them, as far as it was asked.
#[derive(Default)]
pub(in super::super) struct Known(Vec<Option<Vec<Loaded>>>);

impl<'a> Asked<'a> {
    /// Rules that ask for more different things than any real table does are asked one by one.
    const MOST: usize = 256;

    fn place(&mut self, expression: &'a Expression) -> Option<usize> {
        let known = self.0.iter().position(|known| *known == expression);
        known.or_else(|| {
            (self.0.len() < Self::MOST).then(|| {
                self.0.push(expression);
                self.0.len() - 1
            })
        })
    }
}

impl Known {
    /// Another packet is asked about.
    pub(in super::super) fn forget(&mut self) {
        self.0.clear();
    }

    fn of(&mut self, place: usize, scene: Scene<'_>) -> &[Loaded] {
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        let asked = &scene.table.asked.0;
        self.0[place].get_or_insert_with(|| {
            asked
                .get(place)
                .map_or_else(Vec::new, |left| scene.load_parts(left))
        })
    }
}

impl<'a> Leading<'a> {
    pub(super) fn of(rule: &'a Rule, asked: &mut Asked<'a>) -> Self {
        let conditions = rule.statements.iter();
        Self(
            conditions
                .map_while(|statement| Condition::of(statement, asked))
                .collect(),
        )
    }

    /// Whether one of them surely does not hold: then nothing of the rule is done.
    pub(in super::super) fn fails(&self, scene: Scene<'_>, known: &mut Known) -> bool {
        self.0
            .iter()
            .any(|condition| condition.fails(known.of(condition.left, scene), scene.table))
    }
}

impl<'a> Condition<'a> {
    fn of(statement: &'a Statement, asked: &mut Asked<'a>) -> Option<Self> {
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
            left: asked.place(left)?,
            is_negated: *operator == Operator::NotEqual,
            right,
        })
    }

    fn fails(&self, loaded: &[Loaded], table: &PreparedTable<'_>) -> bool {
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
