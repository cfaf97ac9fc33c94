//! From which hooks, and by which jumps, a chain is reached.

use std::collections::BTreeSet;

use super::{Chain, Step, Table};
use crate::report::record::Hook;

/// Deeper than any packet can go: `NFT_JUMP_STACK_SIZE` is 16, and x_tables refuses loops.
const DEEPEST: usize = 64;

impl Table {
    /// Indices of the base chains from which a chain is reached; itself, if it is one.
    pub fn bases_of(&self, chain: usize) -> Vec<usize> {
        let bases = (0..self.chains.len()).filter(|base| self.chains[*base].base.is_some());
        bases.filter(|base| self.reaches(*base, chain)).collect()
    }

    /// Hooks from which a chain is reached.
    pub fn hooks_of(&self, chain: usize) -> Vec<Hook> {
        self.bases_of(chain)
            .into_iter()
            .filter_map(|base| Some(self.chains[base].base.as_ref()?.hook))
            .collect()
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut queue = vec![from];
        while let Some(chain) = queue.pop() {
            if chain == to {
                return true;
            }
            queue.extend(self.chains[chain].next().filter(|next| seen.insert(*next)));
        }
        false
    }

    /// The chains from a base chain down to `chain`, if only one way leads there. A verdict map may lead anywhere.
    pub fn only_path(&self, base: usize, chain: usize) -> Option<Vec<usize>> {
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        if base != chain && rules.any(|rule| rule.step == Step::Map) {
            return None;
        }
        let mut path = vec![chain];
        let mut at = chain;
        while at != base {
            let callers = self.callers(base, at);
            let [caller] = callers[..] else { return None };
            if path.len() > DEEPEST {
                return None;
            }
            at = caller;
            path.push(at);
        }
        path.reverse();
        Some(path)
    }
}

impl Table {
    /// Chains that lead to `chain` and that `base` leads to.
    fn callers(&self, base: usize, chain: usize) -> Vec<usize> {
        let calls = |caller: &usize| self.chains[*caller].next().any(|next| next == chain);
        (0..self.chains.len())
            .filter(calls)
            .filter(|caller| self.reaches(base, *caller))
            .collect()
    }
}

impl Chain {
    /// Indices of the chains it jumps or goes to; one may come twice.
    pub fn next(&self) -> impl Iterator<Item = usize> + '_ {
        self.rules.iter().filter_map(|rule| match rule.step {
            Step::Jump(to) | Step::Goto(to) => Some(to),
            _ => None,
        })
    }
}
