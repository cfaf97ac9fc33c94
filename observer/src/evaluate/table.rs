//! A table as it is evaluated: chains of conditions and actions, whichever backend they were written for. Its rules have
//! the same indexes as in the model that it was made from.

use super::condition::{Ask, Condition};
use super::translation::Translation;
use crate::report::record::Hook;
use crate::ruleset::xtables::save::MarkChange;

/// Chains that call chains that call chains, of which it is found out whether they are inert.
const DEEPEST_INERT: usize = 16;

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Whether its family is IPv6; `None` where that is not known.
    pub is_v6: Option<bool>,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// A chain.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Present if a hook calls it.
    pub base: Option<Base>,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// Whether walking it changes nothing, whatever matches: only then it does not matter if a jump to it is taken.
    pub is_inert: bool,
}

/// What makes a chain a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The hook that calls it.
    pub hook: Hook,
    /// Among the hook's functions.
    pub priority: i32,
    /// Whether a packet at its end lives.
    pub accepts: bool,
    /// Whether only a connection's first packet is asked, to translate it.
    pub is_nat: bool,
}

/// A rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// All must hold.
    pub conditions: Box<[Condition]>,
    /// What happens then.
    pub action: Action,
}

/// What a rule does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing that matters to the packet: counts, logs, changes what no rule asks for.
    #[default]
    Continue,
    /// The packet leaves the table alive.
    Accept,
    /// The packet dies.
    Drop,
    /// The calling chain goes on.
    Return,
    /// Another chain is walked, then this one goes on.
    Jump(usize),
    /// Another chain is walked instead of this one.
    Goto(usize),
    /// The packet's mark changes.
    Mark(MarkChange),
    /// The packet's mark becomes one that is not known.
    ForgetMark,
    /// The time to live becomes one that is not known.
    ForgetTtl,
    /// The connection's mark changes.
    Connmark(MarkChange),
    /// The packet's mark goes to the connection: masks of both.
    SaveMark(u32, u32),
    /// The connection's mark goes to the packet: masks of both.
    RestoreMark(u32, u32),
    /// Conntrack will not look at the packet.
    Untrack,
    /// Addresses or ports change, and the packet leaves the table alive.
    Translate(Box<Translation>),
    /// What happens is not known.
    Open(Box<OpenTarget>),
}

/// A target of which it is not known what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTarget {
    /// Its name.
    pub name: Box<str>,
    /// Why that is not known.
    pub why: &'static str,
}

impl Table {
    /// The index of the chain that a hook calls.
    pub fn base(&self, hook: Hook) -> Option<usize> {
        let is_base = |chain: &Chain| chain.base.is_some_and(|base| base.hook == hook);
        self.chains.iter().position(is_base)
    }

    /// Finds the chains that are inert. To be called once all chains are there.
    pub fn find_inert(&mut self) {
        // Chains that call each other in a circle, or deeper than this, are not taken to be inert.
        for _ in 0..DEEPEST_INERT {
            let inert: Vec<bool> = self
                .chains
                .iter()
                .map(|chain| self.would_be_inert(chain))
                .collect();
            let mut changed = false;
            for (chain, inert) in self.chains.iter_mut().zip(inert) {
                changed |= inert != chain.is_inert;
                chain.is_inert = inert;
            }
            if !changed {
                return;
            }
        }
    }

    fn would_be_inert(&self, chain: &Chain) -> bool {
        chain.rules.iter().all(|rule| match rule.action {
            Action::Continue | Action::Return => true,
            Action::Jump(to) | Action::Goto(to) => self.chains.get(to).is_some_and(|chain| chain.is_inert),
            _ => false,
        })
    }
}

/// Whether conntrack works because of a table: one of its rules asks it, or has it change something.
pub fn needs_conntrack(table: &Table) -> bool {
    let mut rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules.any(|rule| {
        let asks =
            |condition: &Condition| matches!(condition.ask, Ask::State(_) | Ask::Conn(_) | Ask::Connmark(..));
        rule.conditions.iter().any(asks)
            || matches!(
                rule.action,
                Action::Translate(_) | Action::Connmark(_) | Action::SaveMark(..) | Action::RestoreMark(..)
            )
    })
}

impl Rule {
    /// Whether it does not matter if it matches.
    pub fn is_inert(&self, table: &Table) -> bool {
        match self.action {
            Action::Continue => true,
            // Through a goto the rest of this chain is left out.
            Action::Jump(to) => table.chains.get(to).is_some_and(|chain| chain.is_inert),
            _ => false,
        }
    }
}
