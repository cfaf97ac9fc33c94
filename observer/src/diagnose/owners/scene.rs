//! What is known of a drop when its owner is asked for.

use super::pattern::is_match;
use crate::report::record::{Backend, DropInfo, DropLine, Tool};
use crate::ruleset::{Chain, Step, Table};

/// A drop, and the ruleset that it was resolved against.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The drop.
    pub line: &'a DropLine,
    /// The tables of its namespace, as they were when it was named; none if those are gone.
    pub tables: &'a [Table],
    /// What must stand before a command so that it is run in the drop's network namespace; `None`: there is no way
    /// to say that.
    pub enter: Option<&'a str>,
}

impl<'a> Scene<'a> {
    /// What decided.
    pub fn drop(&self) -> &'a DropInfo {
        &self.line.drop
    }

    /// The table whose rule or policy it was.
    pub fn table(&self) -> Option<&'a Table> {
        let drop = self.drop();
        let is_it = |table: &&Table| {
            Some(table.backend) == drop.backend
                && Some(table.family) == drop.family
                && Some(&table.name) == drop.table.as_ref()
        };
        self.tables.iter().find(is_it)
    }

    /// The base chains that the packet can have come by.
    fn bases(&self) -> impl Iterator<Item = &'a Chain> {
        let drop = self.drop();
        let first = drop.chain_path.first();
        let is_it = move |chain: &&Chain| match (&chain.base, first) {
            (Some(_), Some(first)) => chain.name == *first,
            (Some(base), None) => drop.hook.is_none_or(|hook| hook == base.hook),
            (None, _) => false,
        };
        self.table()
            .into_iter()
            .flat_map(|table| &table.chains)
            .filter(is_it)
    }

    /// A jump from a base chain on the way to a chain whose name matches: both names.
    pub fn jump_to(&self, pattern: &str) -> Option<(&'a str, &'a str)> {
        let table = self.table()?;
        let target = |step: Step| match step {
            Step::Jump(to) | Step::Goto(to) => table.chains.get(to).map(|chain| chain.name.as_str()),
            _ => None,
        };
        self.bases().find_map(|base| {
            let mut targets = base.rules.iter().filter_map(|rule| target(rule.step));
            let to = targets.find(|name| is_match(pattern, name))?;
            Some((base.name.as_str(), to))
        })
    }

    /// The other iptables, if its table of the same name has rules at the hook where this one dropped.
    pub fn other_iptables(&self) -> Option<&'static str> {
        let drop = self.drop();
        let (backend, name) = match drop.tool? {
            Tool::IptablesLegacy => (Backend::Nft, "iptables-nft"),
            Tool::IptablesNft => (Backend::Legacy, "iptables-legacy"),
            Tool::Nft => return None,
        };
        let is_asked = |chain: &Chain| {
            let base = chain.base.as_ref();
            base.is_some_and(|base| Some(base.hook) == drop.hook) && !chain.rules.is_empty()
        };
        let is_other = |table: &Table| {
            table.backend == backend
                && Some(table.family) == drop.family
                && Some(&table.name) == drop.table.as_ref()
                && table.chains.iter().any(is_asked)
        };
        self.tables.iter().any(is_other).then_some(name)
    }

    /// Whether a chain, written `TABLE/CHAIN`, is in the ruleset, in a table like the drop's own.
    pub fn has_chain(&self, place: &str) -> bool {
        let Some((table, chain)) = place.split_once('/') else {
            return false;
        };
        let drop = self.drop();
        let is_like = |known: &&Table| {
            known.name == table
                && drop.backend.is_none_or(|backend| backend == known.backend)
                && drop.family.is_none_or(|family| family == known.family)
        };
        self.tables
            .iter()
            .filter(is_like)
            .any(|table| table.chain(chain).is_some())
    }
}
