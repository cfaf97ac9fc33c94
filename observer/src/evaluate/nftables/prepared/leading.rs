//! What a rule asks before it does anything, ready to be tested: most rules end there.

use super::PreparedTable;
use super::set::{all, parts};
use crate::evaluate::nftables::load::Scene;
use crate::evaluate::nftables::matcher::Matcher;
use crate::evaluate::nftables::value::{Loaded, Truth};
use crate::ruleset::nftables::listing::{Datatype, Element, Expression, Operator, Rule, Statement};

/// The first conditions of a rule.
pub(in super::super) struct Leading<'t, 'a>(&'t [Condition<'a>]);

/// The first conditions of a chain's rules, one rule's behind the other's: of 50,000 rules each byte counts.
#[derive(Default)]
pub(super) struct OfChain<'a> {
    conditions: Vec<Condition<'a>>,
    /// Where those of each rule end.
    ends: Vec<u32>,
}

struct Condition<'a> {
    /// Its place among the [`Asked`].
    left: u16,
    is_negated: bool,
    right: Right<'a>,
}

enum Right<'a> {
    /// This number, and nothing else on the left.
    Number(u64),
    /// What is larger.
    Wide(Box<Wide<'a>>),
}

enum Wide<'a> {
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

    fn place(&mut self, expression: &'a Expression) -> Option<u16> {
        let known = self.0.iter().position(|known| *known == expression);
        let place = known.or_else(|| {
            (self.0.len() < Self::MOST).then(|| {
                self.0.push(expression);
                self.0.len() - 1
            })
        });
        place.and_then(|place| u16::try_from(place).ok())
    }
}

impl Known {
    /// Another packet is asked about.
    pub(in super::super) fn forget(&mut self) {
        self.0.clear();
    }

    fn of(&mut self, place: u16, scene: Scene<'_>) -> &[Loaded] {
        let place = usize::from(place);
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

impl<'a> OfChain<'a> {
    pub(super) fn of(rules: &'a [Rule], asked: &mut Asked<'a>) -> Self {
        let mut all = Self::default();
        for rule in rules {
            let conditions = rule.statements.iter();
            all.conditions
                .extend(conditions.map_while(|statement| Condition::of(statement, asked)));
            // Rules beyond have none that are tested first.
            let Ok(end) = u32::try_from(all.conditions.len()) else {
                break;
            };
            all.ends.push(end);
        }
        all.conditions.shrink_to_fit();
        all.ends.shrink_to_fit();
        all
    }

    pub(super) fn rule(&self, rule: usize) -> Option<Leading<'_, 'a>> {
        let begin = match rule.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        let range = begin as usize..*self.ends.get(rule)? as usize;
        self.conditions.get(range).map(Leading)
    }
}

impl Leading<'_, '_> {
    /// Whether one of them surely does not hold: then nothing of the rule is done.
    pub(in super::super) fn fails(self, scene: Scene<'_>, known: &mut Known) -> bool {
        self.0
            .iter()
            .any(|condition| condition.fails(known.of(condition.left, scene), scene.table))
    }
}

impl<'a> Wide<'a> {
    fn boxed(self) -> Right<'a> {
        Right::Wide(Box::new(self))
    }
}

impl Right<'_> {
    fn of(constant: Vec<Matcher>) -> Self {
        let number = match constant[..] {
            [Matcher::Exact(number)] => Some(number),
            _ => None,
        };
        number.map_or_else(|| Wide::Constant(constant).boxed(), Self::Number)
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
            Expression::Set(elements) => Wide::Unnamed(elements).boxed(),
            Expression::Reference(name) => Wide::Named(name).boxed(),
            constant => {
                let types = Datatype::of(left);
                let constant = parts(constant, &types);
                (constant.len() == types.len()).then(|| Right::of(constant))?
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
        let wide = match &self.right {
            Right::Number(number) => return self.is_no(all(&[Matcher::Exact(*number)], loaded)),
            Right::Wide(wide) => &**wide,
        };
        let found = match wide {
            Wide::Constant(parts) => return self.is_no(all(parts, loaded)),
            Wide::Named(name) => table.set(name),
            Wide::Unnamed(elements) => table.unnamed(elements),
        };
        found.is_some_and(|set| self.is_no(set.find(loaded).is_there()))
    }

    fn is_no(&self, truth: Truth) -> bool {
        truth.turned(self.is_negated) == Truth::No
    }
}
