//! Tables made ready for looking things up: chains and sets by name, elements in their order, what rules ask first.

mod leading;
mod order;
mod set;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::ruleset::nftables::listing::{
    Datatype, Element, Expression, Rule, Set, Statement, Table, ValueOrName, Verdict,
};
use leading::{Asked, OfChain};
pub(super) use leading::{Known, Leading};
pub(super) use set::{Found, PreparedSet};

/// A table with its names. What is large is shared by all that are made of one.
#[derive(Clone)]
pub(super) struct PreparedTable<'a> {
    pub(super) table: &'a Table,
    chains: Arc<HashMap<&'a str, usize>>,
    names: Arc<HashMap<&'a str, usize>>,
    sets: Vec<PreparedSet<'a>>,
    /// Sets that are part of rules, by the address of their elements.
    unnamed: Arc<HashMap<usize, PreparedSet<'a>>>,
    /// For each rule of each chain what it asks before it does anything.
    leading: Arc<Vec<OfChain<'a>>>,
    asked: Arc<Asked<'a>>,
    /// Handles of rules that ask more than is listed.
    in_part: HashSet<u64>,
    /// Whether packets are of another moment than the list.
    pub(super) is_of_the_past: bool,
}

impl<'a> PreparedTable<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        fn by_name<'a>(names: impl Iterator<Item = &'a str>) -> Arc<HashMap<&'a str, usize>> {
            Arc::new(names.enumerate().map(|(index, name)| (name, index)).collect())
        }
        let mut asked = Asked::default();
        let chains = table.chains.iter();
        let leading = chains
            .map(|chain| OfChain::of(&chain.rules, &mut asked))
            .collect();
        let mut unnamed = HashMap::new();
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        for statement in rules.flat_map(|rule| &rule.statements) {
            each_set(statement, &mut |key, elements| {
                if !elements.is_empty() {
                    let set = PreparedSet::of(elements, &Datatype::of(key));
                    unnamed.insert(elements.as_ptr().addr(), set);
                }
            });
        }
        Self {
            table,
            chains: by_name(table.chains.iter().map(|chain| chain.name.as_str())),
            names: by_name(table.sets.iter().map(|set| set.name.as_str())),
            sets: table.sets.iter().map(PreparedSet::named).collect(),
            unnamed: Arc::new(unnamed),
            leading: Arc::new(leading),
            asked: Arc::new(asked),
            in_part: HashSet::new(),
            is_of_the_past: false,
        }
    }

    /// The same for a packet of another moment than the list's: elements whose time runs out may have been there or not.
    /// Rules with these handles ask more than is listed.
    pub(super) fn past(&self, in_part: &HashSet<u64>) -> Self {
        let mut prepared = self.clone();
        prepared.in_part.clone_from(in_part);
        prepared.is_of_the_past = true;
        for (set, listed) in prepared.sets.iter_mut().zip(&self.table.sets) {
            if may_expire(listed) {
                set.is_dynamic = true;
            }
        }
        prepared
    }

    /// Whether a rule asks more than is listed.
    pub(super) fn is_listed_in_part(&self, rule: &Rule) -> bool {
        rule.handle.is_some_and(|handle| self.in_part.contains(&handle))
    }

    /// What a rule asks first.
    pub(super) fn leading(&self, chain: usize, rule: usize) -> Option<Leading<'_, 'a>> {
        self.leading.get(chain)?.rule(rule)
    }

    pub(super) fn chain(&self, name: &str) -> Option<usize> {
        self.chains.get(name).copied()
    }

    pub(super) fn set(&self, name: &str) -> Option<&PreparedSet<'a>> {
        self.names.get(name).and_then(|index| self.sets.get(*index))
    }

    /// A set that is part of a rule.
    pub(super) fn unnamed(&self, elements: &[Element]) -> Option<&PreparedSet<'a>> {
        self.unnamed.get(&elements.as_ptr().addr())
    }
}

/// Whether elements of a set go by themselves.
fn may_expire(set: &Set) -> bool {
    let is_timed = |element: &Element| element.own.as_ref().is_some_and(|own| own.timeout.is_some());
    let of_elements = || set.elements.iter().any(is_timed);
    set.timeout.is_some() || set.flags.iter().any(|flag| flag == "timeout") || of_elements()
}

/// The sets without a name that a statement looks something up in, as far as they stand where they usually do; what is missed here
/// is made ready when it is asked.
fn each_set<'a>(statement: &'a Statement, found: &mut impl FnMut(&'a Expression, &'a [Element])) {
    let mut map = |value: &'a Expression| {
        if let Expression::Map { key, data } = value
            && let Expression::Set(elements) = &**data
        {
            found(key, elements);
        }
    };
    match statement {
        Statement::Mangle { value, .. } => map(value),
        Statement::Nat(nat) => nat.address.iter().chain(&nat.port).for_each(map),
        Statement::Counter(ValueOrName::Name(name)) => map(name),
        Statement::Match {
            left: key,
            right: Expression::Set(elements),
            ..
        }
        | Statement::Vmap {
            key,
            data: Expression::Set(elements),
        } => found(key, elements),
        _ => {}
    }
}

/// The verdict that an element of a verdict map has.
pub(super) fn verdict(element: &Element) -> Option<&Verdict> {
    match &element.data {
        Some(Expression::Verdict(verdict)) => Some(verdict),
        _ => None,
    }
}
