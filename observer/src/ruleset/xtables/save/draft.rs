//! Tables put together from what the kernel has, instead of from text. What is read is read by the same functions, so that the model
//! is the same.

use std::collections::HashMap;

use super::extension::{Extension, Opt, Value};
use super::header::Header;
use super::line::Target;
use super::matches::Match;
use super::parse::action;
use super::pieces::Pieces;
use super::render::printed;
use super::table::{Chain, Counters, Family, Rule, Table};
use super::target::Action;
use super::words::is_bare;

/// A rule whose target is a name yet.
#[derive(Debug, Default)]
pub struct Draft {
    /// What it has counted.
    pub counters: Option<Counters>,
    /// What it asks without extensions.
    pub header: Header,
    matches: Vec<Extension>,
    target: Option<Target>,
}

impl Draft {
    /// Appends a match.
    pub fn ask(&mut self, extension: Extension) {
        self.matches.push(extension);
    }

    /// The match of a name, made if it is not there.
    pub fn of_name(&mut self, name: &str) -> &mut Extension {
        let at = self.matches.iter().position(|known| &*known.name == name);
        let at = at.unwrap_or_else(|| {
            self.matches.push(Extension {
                name: name.into(),
                options: Vec::new(),
            });
            self.matches.len() - 1
        });
        &mut self.matches[at]
    }

    /// Whether it has a match of this name.
    pub fn has_match(&self, name: &str) -> bool {
        self.matches.iter().any(|known| &*known.name == name)
    }

    /// Whether it has a target.
    pub fn has_target(&self) -> bool {
        self.target.is_some()
    }

    /// As the tool prints it in a chain, from `-A` on. `index` has the table's chains by their names, and `named` gives them names.
    pub fn text<'a>(
        self,
        chain: usize,
        index: &HashMap<Box<str>, usize>,
        named: &dyn Fn(usize) -> Option<&'a str>,
    ) -> String {
        printed(chain, &self.rule(index), named)
    }

    fn rule(self, index: &HashMap<Box<str>, usize>) -> Rule {
        let matches = self.matches.into_iter();
        Rule {
            counters: self.counters,
            header: self.header,
            matches: matches
                .map(|found| Match::read(&found.name, found.options))
                .collect(),
            action: self.target.map_or(Action::None, |target| action(index, target)),
            written: None,
        }
    }

    /// Gives it a target: an extension, a verdict, or a chain's name.
    pub fn jump(&mut self, extension: Extension, is_goto: bool) {
        self.target = Some(Target { is_goto, extension });
    }
}

impl Extension {
    /// One without options.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            options: Vec::new(),
        }
    }

    /// Appends an option with text that people chose.
    pub fn push_text(&mut self, name: &str, text: &str) {
        self.options.push(Opt {
            negated: false,
            name: name.into(),
            values: vec![Value::of_text(text)],
        });
    }

    /// Appends an option, behind a `!` if it is negated.
    pub fn push(&mut self, negated: bool, name: &str, values: &[&str]) {
        let value = |text: &&str| Value {
            text: (*text).into(),
            quoted: false,
        };
        self.options.push(Opt {
            negated,
            name: name.into(),
            values: values.iter().map(value).collect(),
        });
    }
}

impl Value {
    /// Text that people chose, in quotes where the tools put them.
    pub fn of_text(text: &str) -> Self {
        Self {
            text: text.into(),
            quoted: !is_bare(text),
        }
    }
}

/// A table whose jumps are names yet.
#[derive(Debug)]
pub struct DraftTable {
    table: Table,
    rules: Pieces<(usize, Draft)>,
}

impl DraftTable {
    /// A table of nf_tables without chains.
    pub fn new(name: &str, family: Family) -> Self {
        Self {
            table: Table {
                name: name.into(),
                family: Some(family),
                is_nft: Some(true),
                ..Table::default()
            },
            rules: Pieces::default(),
        }
    }

    /// Appends a chain; its index, or `None` if there is one of this name.
    pub fn chain(&mut self, chain: Chain) -> Option<usize> {
        let index = self.table.chains.len();
        if self.table.index.insert(chain.name.clone(), index).is_some() {
            return None;
        }
        self.table.chains.push(chain);
        Some(index)
    }

    /// Appends a rule to the chain with this index.
    pub fn rule(&mut self, chain: usize, draft: Draft) {
        self.rules.push((chain, draft));
    }

    /// The table.
    pub fn finish(self) -> Table {
        let mut table = self.table;
        table.expect(self.rules.iter().map(|(chain, _)| *chain));
        for (chain, draft) in self.rules {
            let rule = draft.rule(&table.index);
            if let Some(chain) = table.chains.get_mut(chain) {
                chain.rules.push(rule);
            }
        }
        table
    }
}
