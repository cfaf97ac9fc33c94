//! What is looked up in a snapshot for each packet, and takes a walk through its tables to find: made once, when it is
//! first needed.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use super::{Snapshot, Step, Table};
use crate::report::record::{Backend, Hook};

/// Made from a snapshot's tables; they must not change afterwards.
#[derive(Debug, Default)]
pub struct Index {
    /// nf_tables' chains by the address of their `struct nft_chain`: table and chain.
    chains: OnceCell<HashMap<u64, (usize, usize)>>,
    /// For each table its rules by handle, sorted: handle, chain, rule. Handles are unique in a table.
    handles: OnceCell<Vec<Vec<(u64, usize, usize)>>>,
    /// For each table and chain the base chains that lead there.
    bases: OnceCell<Vec<Vec<Vec<usize>>>>,
    /// For each table whether a rule of it goes to a chain without a way back.
    gotos: OnceCell<Vec<bool>>,
    /// By table, base chain and chain the only way there, of those that were asked for.
    ways: RefCell<HashMap<[usize; 3], Option<Vec<usize>>>>,
}

impl Snapshot {
    /// Table and chain of the `struct nft_chain` at this address.
    pub fn nft_chain(&self, address: u64) -> Option<(usize, usize)> {
        let chains = self.index.chains.get_or_init(|| chains(&self.tables));
        chains.get(&address).copied()
    }

    /// Index of the rule with this handle in a chain.
    pub fn rule_by_handle(&self, table: usize, chain: usize, handle: u64) -> Option<usize> {
        let tables = self
            .index
            .handles
            .get_or_init(|| self.tables.iter().map(handles).collect());
        let rules = tables.get(table)?;
        let first = rules.partition_point(|(known, ..)| *known < handle);
        let (known, of, rule) = *rules.get(first)?;
        (known == handle && of == chain).then_some(rule)
    }

    /// Indices of the base chains from which a chain is reached; as [`Table::bases_of`].
    pub fn bases_of(&self, table: usize, chain: usize) -> &[usize] {
        let bases = self
            .index
            .bases
            .get_or_init(|| self.tables.iter().map(Table::all_bases).collect());
        bases
            .get(table)
            .and_then(|chains| chains.get(chain))
            .map_or(&[], Vec::as_slice)
    }

    /// The only way from a base chain to a chain; as [`Table::only_path`].
    pub fn only_path(&self, table: usize, base: usize, chain: usize) -> Option<Vec<usize>> {
        let find = || self.tables.get(table)?.only_path(base, chain);
        let mut ways = self.index.ways.borrow_mut();
        ways.entry([table, base, chain]).or_insert_with(find).clone()
    }

    /// Whether a table has a goto.
    pub fn has_goto(&self, table: usize) -> bool {
        let is_goto = |table: &Table| {
            let mut rules = table.chains.iter().flat_map(|chain| &chain.rules);
            rules.any(|rule| matches!(rule.step, Step::Goto(_)))
        };
        let gotos = self
            .index
            .gotos
            .get_or_init(|| self.tables.iter().map(is_goto).collect());
        gotos.get(table).copied().unwrap_or(false)
    }

    /// Whether a packet in this hook can come to a chain.
    pub fn is_reached_from(&self, table: usize, chain: usize, hook: Hook) -> bool {
        let hook_of = |base: &usize| {
            let base = self.tables.get(table)?.chains.get(*base)?;
            Some(base.base.as_ref()?.hook)
        };
        self.bases_of(table, chain)
            .iter()
            .any(|base| hook_of(base) == Some(hook))
    }
}

fn chains(tables: &[Table]) -> HashMap<u64, (usize, usize)> {
    let of_nft = tables
        .iter()
        .enumerate()
        .filter(|(_, table)| table.backend == Backend::Nft);
    of_nft
        .flat_map(|(index, table)| {
            let chains = table.chains.iter().enumerate();
            chains.map(move |(chain, known)| (known.address, (index, chain)))
        })
        .filter(|(address, _)| *address != 0)
        .collect()
}

fn handles(table: &Table) -> Vec<(u64, usize, usize)> {
    let mut found = Vec::new();
    for (index, chain) in table.chains.iter().enumerate() {
        let rules = chain
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.handle != 0);
        found.extend(rules.map(|(number, rule)| (rule.handle, index, number)));
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::TableFamily;
    use crate::ruleset::{Base, Chain, Policy, Rule};

    /// A chain of many rules, in each of which the handle is twice its index and one, and a base chain without any.
    fn snapshot() -> Snapshot {
        let rules = (0..20_000).map(|index| Rule {
            handle: 2 * index + 1,
            ..Rule::default()
        });
        let base = Base {
            hook: Hook::Forward,
            priority: 0,
            policy: Policy::Accept,
            counter: None,
        };
        let long = Chain {
            rules: rules.rev().collect(),
            address: 0x1000,
            ..Chain::default()
        };
        let empty = Chain {
            base: Some(base),
            address: 0x2000,
            ..Chain::default()
        };
        let table = Table {
            backend: Backend::Nft,
            family: TableFamily::Ip,
            name: "t".to_owned(),
            chains: vec![long, empty],
            hash: 0,
            address: 0x3000,
        };
        Snapshot {
            tables: vec![table],
            ..Snapshot::default()
        }
    }

    #[test]
    fn chains_are_found_by_address_and_rules_by_handle() {
        let snapshot = snapshot();
        assert_eq!(snapshot.nft_chain(0x1000), Some((0, 0)));
        assert_eq!(snapshot.nft_chain(0x2000), Some((0, 1)));
        assert_eq!(snapshot.nft_chain(0x3000), None);
        assert_eq!(snapshot.rule_by_handle(0, 0, 1), Some(19_999));
        assert_eq!(snapshot.rule_by_handle(0, 0, 39_999), Some(0));
        assert_eq!(snapshot.rule_by_handle(0, 0, 2), None);
        assert_eq!(snapshot.rule_by_handle(0, 0, 40_001), None);
        assert_eq!(snapshot.rule_by_handle(0, 1, 1), None, "another chain's");
        assert_eq!(snapshot.rule_by_handle(1, 0, 1), None);
    }

    #[test]
    fn the_only_way_is_the_same_however_often_it_is_asked_for() {
        let mut snapshot = snapshot();
        snapshot.tables[0].chains[1].rules = vec![Rule {
            step: Step::Goto(0),
            ..Rule::default()
        }];
        for _ in 0..2 {
            assert_eq!(snapshot.only_path(0, 1, 0), Some(vec![1, 0]));
            assert_eq!(snapshot.only_path(0, 1, 1), Some(vec![1]));
            assert_eq!(snapshot.only_path(0, 0, 1), None, "nothing leads back");
            assert_eq!(snapshot.only_path(1, 1, 0), None, "there is no such table");
            assert!(snapshot.has_goto(0));
            assert!(!snapshot.has_goto(1));
        }
    }

    #[test]
    fn a_chain_is_reached_from_the_hooks_of_its_base_chains() {
        let snapshot = snapshot();
        assert!(snapshot.is_reached_from(0, 1, Hook::Forward));
        assert!(!snapshot.is_reached_from(0, 1, Hook::Input));
        assert!(!snapshot.is_reached_from(0, 0, Hook::Forward));
        assert!(!snapshot.is_reached_from(7, 0, Hook::Forward));
    }
}
