//! Rulesets of nft made ready for being asked: once for each, however many drops ask.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::rc::Rc;

use self_cell::self_cell;

use super::memory::release_after;
use crate::evaluate::nftables::Evaluator;
use crate::ruleset::nftables::listing::Ruleset;

/// So many are kept: of large rulesets they are large.
const MOST: usize = 4;

self_cell!(
    struct Ready {
        owner: Rc<Ruleset>,
        #[covariant]
        dependent: Both,
    }
);

/// They share what is large.
struct Both<'a> {
    now: Evaluator<'a>,
    past: Evaluator<'a>,
}

/// A ruleset, and what it is asked by.
pub struct Prepared {
    ruleset: Rc<Ruleset>,
    in_part: HashSet<u64>,
    ready: OnceCell<Ready>,
}

impl Prepared {
    /// Rules with the handles `in_part` ask more than is listed.
    pub fn new(ruleset: Rc<Ruleset>, in_part: HashSet<u64>) -> Self {
        Self {
            ruleset,
            in_part,
            ready: OnceCell::new(),
        }
    }

    /// The ruleset as it is listed.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// As its reader takes it ([`Evaluator::new`]).
    pub fn now(&self) -> &Evaluator<'_> {
        &self.both().now
    }

    /// For packets that came before it was listed ([`Evaluator::past`]).
    pub fn past(&self) -> &Evaluator<'_> {
        &self.both().past
    }

    /// Whether nobody else has the ruleset.
    fn is_let_go(&self) -> bool {
        Rc::strong_count(&self.ruleset) == 1 + usize::from(self.ready.get().is_some())
    }

    fn both(&self) -> &Both<'_> {
        let ready = || {
            Ready::new(Rc::clone(&self.ruleset), |ruleset| {
                let now = Evaluator::new(ruleset);
                let past = now.past(&self.in_part);
                Both { now, past }
            })
        };
        let is_new = self.ready.get().is_none();
        let ready = self.ready.get_or_init(ready);
        if is_new {
            let chains = self.ruleset.tables.iter().flat_map(|table| &table.chains);
            release_after(chains.map(|chain| chain.rules.len()).sum());
        }
        ready.borrow_dependent()
    }
}

/// Those that were asked for last.
#[derive(Default)]
pub struct Evaluators {
    kept: Vec<Rc<Prepared>>,
}

impl Evaluators {
    /// A ruleset made ready, the same one for the same list. `in_part` finds the handles of rules that ask more than is listed.
    pub fn of(&mut self, ruleset: Rc<Ruleset>, in_part: impl FnOnce() -> HashSet<u64>) -> Rc<Prepared> {
        // What is kept here holds its ruleset: no other can have its address.
        let mut kept = self.kept.iter();
        if let Some(known) = kept.find(|known| Rc::ptr_eq(&known.ruleset, &ruleset)) {
            return Rc::clone(known);
        }
        if self.kept.len() >= MOST {
            self.kept.remove(0);
        }
        let prepared = Rc::new(Prepared::new(ruleset, in_part()));
        self.kept.push(Rc::clone(&prepared));
        prepared
    }

    /// Forgets those whose ruleset nobody else has any more: another is in force.
    pub fn forget_let_go(&mut self) {
        self.kept.retain(|known| !known.is_let_go());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_is_made_ready_once_and_few_are_kept() {
        let mut evaluators = Evaluators::default();
        let of = |evaluators: &mut Evaluators, ruleset: &Rc<Ruleset>| {
            evaluators.of(Rc::clone(ruleset), HashSet::new)
        };
        let rulesets: Vec<Rc<Ruleset>> = (0..=MOST).map(|_| Rc::default()).collect();
        let first = of(&mut evaluators, &rulesets[0]);
        assert!(std::ptr::eq(first.now(), first.now()) && std::ptr::eq(first.past(), first.past()));
        assert!(Rc::ptr_eq(&first, &of(&mut evaluators, &rulesets[0])));
        for ruleset in &rulesets {
            of(&mut evaluators, ruleset);
        }
        assert_eq!(evaluators.kept.len(), MOST);
        evaluators.forget_let_go();
        assert_eq!(evaluators.kept.len(), MOST, "somebody has them");
        assert!(
            !Rc::ptr_eq(&first, &of(&mut evaluators, &rulesets[0])),
            "it was let go"
        );
    }

    #[test]
    fn a_ruleset_that_was_let_go_is_not_kept() {
        let mut evaluators = Evaluators::default();
        let asked = evaluators.of(Rc::default(), HashSet::new);
        asked.now();
        evaluators.of(Rc::default(), HashSet::new);
        evaluators.forget_let_go();
        assert!(evaluators.kept.is_empty());
    }
}
