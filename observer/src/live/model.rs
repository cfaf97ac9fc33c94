//! A table of iptables as drops are held against it. Of 50,000 rules only what is asked of a packet is kept, and their texts: a rule
//! as it is taken apart is read from its text when it is told.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::diagnose::{Rules, rule, target};
use crate::evaluate::{self, Place, xtables};
use crate::report::record::Rule;
use crate::ruleset::ipset::{Sets, asked};
use crate::ruleset::text::SavedTable;
use crate::ruleset::xtables::save;

/// A table of iptables, to be shown and to be evaluated.
pub struct Model {
    /// Its chains, without their rules.
    head: save::Table,
    texts: Rc<SavedTable>,
    /// As it is evaluated, where nothing is known of sets.
    pub table: evaluate::Table,
    /// The sets that its rules ask, each once.
    pub sets: Box<[String]>,
}

impl Model {
    /// A table made ready; `None` if it is none of iptables', or not understood.
    pub fn of(name: &str, texts: Rc<SavedTable>) -> Option<Self> {
        let mut names = BTreeSet::new();
        let (head, table) = read(name, &texts, &Sets::default(), |rule| {
            names.extend(asked(rule).map(str::to_owned));
        })?;
        Some(Self {
            head,
            texts,
            table,
            sets: names.into_iter().collect(),
        })
    }

    /// The same where these sets are known.
    pub fn with(&self, sets: &Sets) -> Option<evaluate::Table> {
        read(&self.head.name, &self.texts, sets, |_| {}).map(|(_, table)| table)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// The index of a chain.
    pub fn chain(&self, name: &str) -> Option<usize> {
        self.head.chain(name)
    }

    /// The name of a chain.
    pub fn chain_name(&self, chain: usize) -> Option<&str> {
        self.head.chains.get(chain).map(|chain| &*chain.name)
    }

    /// A rule as it is saved.
    pub fn text(&self, place: Place) -> Option<&str> {
        self.texts.rule(self.chain_name(place.chain)?, place.rule?)
    }
}

fn read(
    name: &str,
    texts: &SavedTable,
    sets: &Sets,
    mut tell: impl FnMut(&save::Rule),
) -> Option<(save::Table, evaluate::Table)> {
    let mut chains: Vec<Vec<evaluate::Rule>> = Vec::new();
    let head = texts.each_rule(name, &mut |chain, rule| {
        tell(&rule);
        if chains.len() <= chain {
            chains.resize_with(chain + 1, Vec::new);
        }
        chains[chain].push(xtables::rule(&rule, sets));
    })?;
    let mut table = xtables::table(&head, sets);
    for (chain, rules) in table.chains.iter_mut().zip(chains) {
        chain.rules = rules;
    }
    table.find_inert();
    Some((head, table))
}

impl Rules for Model {
    fn table(&self) -> &str {
        self.name()
    }

    fn chain(&self, chain: usize) -> Option<&str> {
        self.chain_name(chain)
    }

    fn rule(&self, place: Place) -> Option<Rule> {
        let text = self.text(place)?;
        let (_, read) = self.head.read(text)?;
        let target = target(&self.head, &read.action);
        Some(rule(place, text.to_owned(), &read, target))
    }
}
