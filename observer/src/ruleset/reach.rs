//! From which hooks, and by which jumps, a chain is reached.
//!
//! A verdict map leads to chains that its elements name, and the elements are not read: a map may lead to any chain of
//! its table to which some map's element leads.

use super::{Chain, Step, Table};
use crate::report::record::Hook;

/// Deeper than any packet can go: `NFT_JUMP_STACK_SIZE` is 16, and x_tables refuses loops.
const DEEPEST: usize = 64;

impl Table {
    /// Indices of the base chains from which a chain is reached; itself, if it is one.
    pub fn bases_of(&self, chain: usize) -> Vec<usize> {
        let bases = self.bases();
        bases.filter(|base| self.reached(*base)[chain]).collect()
    }

    /// Hooks from which a chain is reached.
    pub fn hooks_of(&self, chain: usize) -> Vec<Hook> {
        self.bases_of(chain)
            .into_iter()
            .filter_map(|base| Some(self.chains[base].base.as_ref()?.hook))
            .collect()
    }

    /// For each chain what [`Self::bases_of`] says.
    pub(super) fn all_bases(&self) -> Vec<Vec<usize>> {
        let mut found = vec![Vec::new(); self.chains.len()];
        for base in self.bases() {
            let reached = self.reached(base).into_iter().enumerate();
            for (chain, _) in reached.filter(|(_, is_reached)| *is_reached) {
                found[chain].push(base);
            }
        }
        found
    }

    /// Indices of the chains that a packet can come to from a hook, in order.
    pub(super) fn reached_from(&self, hook: Hook) -> Vec<usize> {
        let is_of_hook = |chain: &usize| {
            let base = self.chains[*chain].base.as_ref();
            base.is_some_and(|base| base.hook == hook)
        };
        let reached: Vec<Vec<bool>> = self
            .bases()
            .filter(is_of_hook)
            .map(|base| self.reached(base))
            .collect();
        let by_any = |chain: &usize| reached.iter().any(|reached| reached[*chain]);
        (0..self.chains.len()).filter(by_any).collect()
    }

    fn bases(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.chains.len()).filter(|base| self.chains[*base].base.is_some())
    }

    /// For each chain whether a packet can come there from this one.
    fn reached(&self, from: usize) -> Vec<bool> {
        let mut reached = vec![false; self.chains.len()];
        let mut maps_followed = false;
        let mut queue = vec![from];
        while let Some(chain) = queue.pop() {
            if std::mem::replace(&mut reached[chain], true) {
                continue;
            }
            queue.extend(self.chains[chain].next().filter(|next| !reached[*next]));
            if !maps_followed && self.chains[chain].has_map() {
                maps_followed = true;
                queue.extend((0..self.chains.len()).filter(|to| self.chains[*to].mapped));
            }
        }
        reached
    }

    /// The chains from a base chain down to `chain`, if only one way leads there. Where a verdict map may lead to it,
    /// the way is not known.
    pub fn only_path(&self, base: usize, chain: usize) -> Option<Vec<usize>> {
        let reached = self.reached(base);
        let mut on_the_way = self.chains.iter().zip(&reached).filter(|(_, reached)| **reached);
        if base != chain && on_the_way.any(|(chain, _)| chain.has_map()) {
            return None;
        }
        let mut path = vec![chain];
        let mut at = chain;
        while at != base {
            let callers = self.callers(&reached, at);
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

    /// Chains that lead to `chain`, of those that are reached.
    fn callers(&self, reached: &[bool], chain: usize) -> Vec<usize> {
        let calls = |caller: &usize| self.chains[*caller].next().any(|next| next == chain);
        (0..self.chains.len())
            .filter(|caller| reached[*caller])
            .filter(calls)
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

    fn has_map(&self) -> bool {
        self.rules.iter().any(|rule| rule.step == Step::Map)
    }
}

#[cfg(test)]
mod tests;
