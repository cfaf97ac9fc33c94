//! Tables made ready for looking things up: chains and sets by name, elements as matchers.

use std::collections::{HashMap, HashSet};

use super::matcher::Matcher;
use super::value::{Data, Loaded, Number, Truth};
use crate::ruleset::nftables::listing::{
    Datatype, Element, Expression, Operator, Rule, Set, Statement, Table, Verdict,
};

/// More elements that may match are not told apart.
const MOST_CANDIDATES: usize = 64;

/// A table with its names.
pub(super) struct PreparedTable<'a> {
    pub(super) table: &'a Table,
    chains: HashMap<&'a str, usize>,
    sets: HashMap<&'a str, PreparedSet<'a>>,
    /// For each rule of each chain its first condition, if that is a plain one.
    first: Vec<Vec<Option<First<'a>>>>,
    /// Handles of rules that ask more than is listed.
    in_part: HashSet<u64>,
    /// Whether packets are of another moment than the list.
    pub(super) is_of_the_past: bool,
}

/// `left == constant`, ready to be tested: most rules end there.
pub(super) struct First<'a> {
    pub(super) left: &'a Expression,
    pub(super) matcher: Matcher,
}

impl<'a> First<'a> {
    fn of(rule: &'a Rule) -> Option<Self> {
        let Some(Statement::Match {
            left,
            operator: Operator::Equal,
            right,
        }) = rule.statements.first()
        else {
            return None;
        };
        let is_plain = matches!(left, Expression::Payload(_) | Expression::Meta(_))
            && !matches!(right, Expression::Set(_) | Expression::Reference(_));
        let datatype = *Datatype::of(left).first()?;
        is_plain.then(|| Self {
            left,
            matcher: Matcher::of(right, datatype),
        })
    }
}

impl<'a> PreparedTable<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        let chains = table.chains.iter().enumerate();
        Self {
            table,
            chains: chains
                .map(|(index, chain)| (chain.name.as_str(), index))
                .collect(),
            sets: table
                .sets
                .iter()
                .map(|set| (set.name.as_str(), PreparedSet::named(set)))
                .collect(),
            first: table
                .chains
                .iter()
                .map(|chain| chain.rules.iter().map(First::of).collect())
                .collect(),
            in_part: HashSet::new(),
            is_of_the_past: false,
        }
    }

    /// The same for a packet of another moment than the list's: elements whose time runs out may have been there or not.
    /// Rules with these handles ask more than is listed.
    pub(super) fn of_the_past(table: &'a Table, in_part: &HashSet<u64>) -> Self {
        let mut prepared = Self::of(table);
        prepared.in_part.clone_from(in_part);
        prepared.is_of_the_past = true;
        for set in table.sets.iter().filter(|set| may_expire(set)) {
            if let Some(set) = prepared.sets.get_mut(set.name.as_str()) {
                set.is_dynamic = true;
            }
        }
        prepared
    }

    /// Whether a rule asks more than is listed.
    pub(super) fn is_listed_in_part(&self, rule: &Rule) -> bool {
        rule.handle.is_some_and(|handle| self.in_part.contains(&handle))
    }

    /// The first condition of a rule, if it is a plain one.
    pub(super) fn first(&self, chain: usize, rule: usize) -> Option<&First<'a>> {
        self.first.get(chain)?.get(rule)?.as_ref()
    }

    pub(super) fn chain(&self, name: &str) -> Option<usize> {
        self.chains.get(name).copied()
    }

    pub(super) fn set(&self, name: &str) -> Option<&PreparedSet<'a>> {
        self.sets.get(name)
    }
}

/// Whether elements of a set go by themselves.
fn may_expire(set: &Set) -> bool {
    let of_elements = || set.elements.iter().any(|element| element.timeout.is_some());
    set.timeout.is_some() || set.flags.iter().any(|flag| flag == "timeout") || of_elements()
}

/// The elements of a set or map.
pub(super) struct PreparedSet<'a> {
    elements: Vec<PreparedElement<'a>>,
    /// `*`
    rest: Option<&'a Element>,
    /// Keys of one part that is a number, where every element is one number: element by key.
    exact: Option<HashMap<u128, usize>>,
    /// Packets change it, so what it holds is not known.
    is_dynamic: bool,
    /// How many elements it can hold.
    pub(super) room: Option<u64>,
}

struct PreparedElement<'a> {
    parts: Vec<Matcher>,
    element: &'a Element,
}

/// What looking something up has found.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// This element, surely.
    pub(super) sure: Option<&'a Element>,
    /// Or one of these.
    pub(super) candidates: Vec<&'a Element>,
    /// Or none.
    pub(super) none: bool,
    /// The candidates are not all.
    pub(super) more: bool,
    /// The packet has no such thing: the rule does not match.
    pub(super) missing: bool,
}

impl Found<'_> {
    /// Whether there is an element.
    pub(super) fn is_there(&self) -> Truth {
        if self.sure.is_some() {
            Truth::Yes
        } else if self.none && self.candidates.is_empty() && !self.more {
            Truth::No
        } else if !self.none {
            Truth::Yes
        } else {
            Truth::Unknown
        }
    }
}

impl<'a> PreparedSet<'a> {
    fn named(set: &'a Set) -> Self {
        let types: Vec<_> = set.key_types.iter().map(|name| Datatype::named(name)).collect();
        Self {
            is_dynamic: set.flags.iter().any(|flag| flag == "dynamic"),
            room: set.size,
            ..Self::of(&set.elements, &types)
        }
    }

    /// A set that is part of a rule, looked up by keys of these types.
    pub(super) fn of(elements: &'a [Element], types: &[Datatype]) -> Self {
        let is_rest = |element: &&Element| {
            matches!(element.key, Expression::Wildcard) && types.first() != Some(&Datatype::DeviceName)
        };
        let prepared: Vec<_> = elements
            .iter()
            .filter(|element| !is_rest(element))
            .map(|element| PreparedElement {
                parts: parts(&element.key, types),
                element,
            })
            .collect();
        Self {
            exact: exact(&prepared),
            elements: prepared,
            rest: elements.iter().find(is_rest),
            is_dynamic: false,
            room: None,
        }
    }

    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn find(&self, key: &[Loaded]) -> Found<'a> {
        let mut found = Found::default();
        if key.contains(&Loaded::Missing) {
            found.missing = true;
            return found;
        }
        if self.is_dynamic {
            found.none = true;
            found.more = true;
            return found;
        }
        match key {
            [Loaded::Is(Data::Number(number))] if number.is_exact() && self.exact.is_some() => {
                let index = self.exact.as_ref().and_then(|exact| exact.get(&number.value));
                found.sure = index.map(|index| self.elements[*index].element).or(self.rest);
                found.none = found.sure.is_none();
            }
            [Loaded::Is(Data::Among(values))] => self.find_any(values, &mut found),
            key => self.find_by_parts(key, &mut found),
        }
        found
    }

    /// For each of these values what is found. They come from generators and hashes, whose bytes nft 1.0.6 does not put in
    /// the order that intervals are compared in: whether one lies in an interval is not known.
    fn find_any(&self, values: &[u128], found: &mut Found<'a>) {
        if self.exact.is_none() {
            found.candidates = self
                .elements
                .iter()
                .map(|prepared| prepared.element)
                .chain(self.rest)
                .collect();
            found.more = found.candidates.len() > MOST_CANDIDATES;
            found.candidates.truncate(MOST_CANDIDATES);
            found.none = true;
            return;
        }
        let mut all: Vec<Option<&'a Element>> = Vec::new();
        for value in values {
            let one = self.find(&[Loaded::Is(Data::Number(Number::exact(*value)))]);
            found.none |= one.none;
            found.more |= one.more;
            all.push(one.sure);
            found.candidates.extend(one.candidates);
        }
        match all.as_slice() {
            [Some(first), rest @ ..]
                if rest
                    .iter()
                    .all(|one| one.is_some_and(|one| std::ptr::eq(one, *first))) =>
            {
                found.sure = Some(first);
            }
            _ => found.candidates.extend(all.into_iter().flatten()),
        }
    }

    fn find_by_parts(&self, key: &[Loaded], found: &mut Found<'a>) {
        for prepared in &self.elements {
            let truth = if prepared.parts.len() == key.len() {
                prepared
                    .parts
                    .iter()
                    .zip(key)
                    .fold(Truth::Yes, |truth, (part, loaded)| {
                        truth.and(match loaded {
                            Loaded::Is(data) => part.test(data),
                            _ => Truth::Unknown,
                        })
                    })
            } else {
                Truth::Unknown
            };
            match truth {
                Truth::No => {}
                Truth::Yes => {
                    found.sure = Some(prepared.element);
                    found.candidates.clear();
                    found.more = false;
                    return;
                }
                Truth::Unknown if found.candidates.len() < MOST_CANDIDATES => {
                    found.candidates.push(prepared.element);
                }
                Truth::Unknown => found.more = true,
            }
        }
        let is_certain = key.iter().all(|loaded| matches!(loaded, Loaded::Is(_)));
        match self.rest {
            Some(rest) if found.candidates.is_empty() && !found.more && is_certain => found.sure = Some(rest),
            Some(rest) => {
                found.candidates.push(rest);
                // What is not known may also be missing.
                found.none = !is_certain;
            }
            None => found.none = true,
        }
    }
}

/// Matchers of an element's key. A key that is not a concatenation where one is expected matches nothing known.
fn parts(key: &Expression, types: &[Datatype]) -> Vec<Matcher> {
    let datatype = |index: usize| types.get(index).copied().unwrap_or(Datatype::Other);
    match key {
        Expression::Concatenation(parts) => {
            let parts = parts.iter().enumerate();
            parts
                .map(|(index, part)| Matcher::of(part, datatype(index)))
                .collect()
        }
        one => vec![Matcher::of(one, datatype(0))],
    }
}

fn exact(elements: &[PreparedElement<'_>]) -> Option<HashMap<u128, usize>> {
    let elements = elements.iter().enumerate();
    elements
        .map(|(index, element)| match element.parts.as_slice() {
            [Matcher::Exact(number)] => Some((*number, index)),
            _ => None,
        })
        .collect()
}

/// The verdict that an element of a verdict map has.
pub(super) fn verdict(element: &Element) -> Option<&Verdict> {
    match &element.data {
        Some(Expression::Verdict(verdict)) => Some(verdict),
        _ => None,
    }
}
