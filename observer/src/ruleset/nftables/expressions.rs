//! Where the rules of nf_tables lie in memory, and which functions evaluate them: what an expression's address says.

use std::collections::BTreeSet;

use crate::ruleset::Snapshot;

/// Length of `struct nft_rule_dp`, which stands before a rule's expressions.
const HEADER_BYTES: u64 = 8;

/// The rules of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableExpressions {
    /// For each chain where its rules begin and end.
    blobs: Vec<[u64; 2]>,
    /// The functions that evaluate its expressions, by address.
    functions: BTreeSet<u64>,
}

impl TableExpressions {
    /// Of a table whose chains' rules begin and end there, in the order of its chains.
    pub fn new(blobs: Vec<[u64; 2]>, functions: BTreeSet<u64>) -> Self {
        Self { blobs, functions }
    }
}

/// The rules of a snapshot's tables.
#[derive(Debug, Default)]
pub struct Expressions {
    /// Sorted by address.
    blobs: Vec<Blob>,
    /// For each table the functions that evaluate its expressions.
    functions: Vec<BTreeSet<u64>>,
}

/// The rules of a chain.
#[derive(Clone, Copy, Debug)]
struct Blob {
    start: u64,
    end: u64,
    table: usize,
    chain: usize,
}

impl Expressions {
    /// Of nf_tables' tables, of which the first has this index.
    pub fn new(first: usize, tables: Vec<TableExpressions>) -> Self {
        let mut blobs = Vec::new();
        let mut functions = vec![BTreeSet::new(); first];
        for (table, of) in (first..).zip(tables) {
            let chains = of.blobs.iter().enumerate();
            blobs.extend(chains.map(|(chain, [start, end])| Blob {
                start: *start,
                end: *end,
                table,
                chain,
            }));
            functions.push(of.functions);
        }
        blobs.retain(|blob| blob.start < blob.end);
        blobs.sort_unstable_by_key(|blob| blob.start);
        Self { blobs, functions }
    }

    /// The functions that evaluate a table's expressions.
    pub fn functions_of(&self, table: usize) -> impl Iterator<Item = u64> + '_ {
        self.functions.get(table).into_iter().flatten().copied()
    }

    /// The functions that evaluate any expression.
    pub fn functions(&self) -> impl Iterator<Item = u64> + '_ {
        self.functions.iter().flatten().copied()
    }
}

impl Snapshot {
    /// Table, chain and rule of the expression at this address.
    pub fn rule_of_expression(&self, address: u64) -> Option<(usize, usize, usize)> {
        let blobs = &self.expressions.blobs;
        let blob = blobs
            .partition_point(|blob| blob.start <= address)
            .checked_sub(1)?;
        let blob = blobs.get(blob).filter(|blob| address < blob.end)?;
        let rules = &self.tables.get(blob.table)?.chains.get(blob.chain)?.rules;
        let start = |offset: u32| blob.start + u64::from(offset);
        let rule = rules
            .partition_point(|rule| start(rule.offset) <= address)
            .checked_sub(1)?;
        let is_within = address >= start(rules.get(rule)?.offset) + HEADER_BYTES;
        is_within.then_some((blob.table, blob.chain, rule))
    }
}
