//! One packet through one table, from the chain that a hook calls to a verdict. Where a condition is not known both ways
//! are gone; how often is bounded, and said.

use super::around::Surroundings;
use super::condition::{Ask, Condition};
use super::effect::{change, learn};
use super::packet::Packet;
use super::table::{Action, Rule, Table};
use super::truth::Truth;
use crate::report::record::Hook;

/// What an evaluation may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Different ways through a table.
    pub ways: usize,
    /// Rules asked, over all ways.
    pub rules: usize,
    /// Whether ways through a table that come to the same are told as one.
    pub merges: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            ways: 64,
            rules: 4_000_000,
            merges: true,
        }
    }
}

/// More rules than any real packet matches in one table.
const MOST_STEPS: usize = 10_000;
/// Deeper than any kernel's stack of jumps.
const DEEPEST: usize = 4096;

/// Where in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the chain.
    pub chain: usize,
    /// Index of the rule; `None` for the policy.
    pub rule: Option<usize>,
}

/// What comes of a packet in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves the table alive.
    Accept(Place),
    /// It dies.
    Drop(Place),
    /// Not known: where, and why.
    Open(Option<Place>, String),
}

/// A rule that was met, or the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// Whether it certainly matched; a rule that changes nothing is passed without asking again.
    pub is_sure: bool,
}

/// A rule, and whether it matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The rule.
    pub place: Place,
    /// Whether it did.
    pub matched: bool,
}

/// What a rule is taken to do, whatever its conditions say.
pub type Force = Met;

/// A rule of which it is not known whether it matches, and what was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The rule.
    pub place: Place,
    /// Whether it was taken to match.
    pub matched: bool,
}

/// One way through a table.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What came of it.
    pub verdict: Verdict,
    /// The rules that matched, in order.
    pub steps: Vec<Step>,
    /// What it rests on beside the packet.
    pub doubts: Vec<Doubt>,
    /// The packet as it left.
    pub packet: Packet,
}

/// Walks a table from the chain that a hook calls; empty if none is.
pub fn walk(
    table: &Table,
    hook: Hook,
    packet: &Packet,
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> Vec<Outcome> {
    walk_guided((table, hook), packet, None, around, bounds)
}

/// As [`walk`], but one rule is taken to match, or not to, when it is met first, in the way that earlier doubts were
/// decided.
pub fn walk_forced(
    table: &Table,
    hook: Hook,
    (packet, force): (&Packet, Force),
    doubts: &[Doubt],
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> Vec<Outcome> {
    let guide = Guide {
        doubts,
        force: Some(force),
    };
    walk_guided((table, hook), packet, Some(guide), around, bounds)
}

fn walk_guided(
    (table, hook): (&Table, Hook),
    packet: &Packet,
    guide: Option<Guide<'_>>,
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> Vec<Outcome> {
    let Some(base) = table.base(hook) else {
        return Vec::new();
    };
    let walker = Walker {
        table,
        hook,
        base,
        around,
        guide,
        ways: bounds.ways,
    };
    walker.all(State::at(base, packet.clone()), bounds)
}

/// Goes one way again, the one in which doubts were decided so, and tells of each rule that surely matched or did not.
pub fn retrace(
    table: &Table,
    hook: Hook,
    packet: &Packet,
    doubts: &[Doubt],
    (around, bounds): (&dyn Surroundings, &mut Bounds),
    met: &mut dyn FnMut(Met, &Rule, &Packet),
) {
    let Some(base) = table.base(hook) else { return };
    let walker = Walker {
        table,
        hook,
        base,
        around,
        guide: Some(Guide { doubts, force: None }),
        ways: bounds.ways,
    };
    walker.one(
        State::at(base, packet.clone()),
        &mut bounds.rules,
        &mut Vec::new(),
        met,
    );
}

struct Walker<'a> {
    table: &'a Table,
    hook: Hook,
    base: usize,
    around: &'a dyn Surroundings,
    guide: Option<Guide<'a>>,
    ways: usize,
}

#[derive(Clone, Copy)]
struct Guide<'a> {
    doubts: &'a [Doubt],
    force: Option<Force>,
}

/// Where a way is.
#[derive(Clone, Debug)]
struct State {
    packet: Packet,
    chain: usize,
    rule: usize,
    stack: Vec<(usize, usize)>,
    steps: Vec<Step>,
    doubts: Vec<Doubt>,
    /// Conditions that were taken to hold or not, as chain, rule and index; good while the packet stays as it is.
    taken: Vec<(Place, usize, bool)>,
    is_forced: bool,
}

impl State {
    fn at(base: usize, packet: Packet) -> Self {
        Self {
            packet,
            chain: base,
            rule: 0,
            stack: Vec::new(),
            steps: Vec::new(),
            doubts: Vec::new(),
            taken: Vec::new(),
            is_forced: false,
        }
    }

    fn place(&self) -> Place {
        Place {
            chain: self.chain,
            rule: Some(self.rule),
        }
    }

    fn end(self, verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            steps: self.steps,
            doubts: self.doubts,
            packet: self.packet,
        }
    }

    /// What was concluded for the packet as it was.
    fn changed(&mut self) {
        self.taken.clear();
    }
}

impl Walker<'_> {
    fn all(&self, start: State, bounds: &mut Bounds) -> Vec<Outcome> {
        let mut waiting = vec![start];
        let mut outcomes = Vec::new();
        while let Some(state) = waiting.pop() {
            if outcomes.len() + 1 >= bounds.ways && !waiting.is_empty() {
                outcomes.push(state.end(self.too_many_ways()));
                return outcomes;
            }
            let outcome = self.one(state, &mut bounds.rules, &mut waiting, &mut |_, _, _| {});
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Goes one way to its end; where it parts, the other way waits.
    fn one(
        &self,
        mut state: State,
        rules: &mut usize,
        waiting: &mut Vec<State>,
        met: &mut dyn FnMut(Met, &Rule, &Packet),
    ) -> Outcome {
        loop {
            let Some(chain) = self.table.chains.get(state.chain) else {
                return state.end(Verdict::Open(
                    None,
                    "it leads to a chain that is not there".to_owned(),
                ));
            };
            let Some(rule) = chain.rules.get(state.rule) else {
                match self.leave(&mut state) {
                    Some(verdict) => return state.end(verdict),
                    None => continue,
                }
            };
            if *rules == 0 || state.steps.len() >= MOST_STEPS {
                let place = Some(state.place());
                return state.end(Verdict::Open(
                    place,
                    "more rules were asked than are allowed".to_owned(),
                ));
            }
            *rules -= 1;
            let place = state.place();
            match self.asks(rule, &mut state) {
                Truth::No => {
                    let matched = false;
                    met(Met { place, matched }, rule, &state.packet);
                    state.rule += 1;
                    continue;
                }
                Truth::Yes => {
                    let matched = true;
                    met(Met { place, matched }, rule, &state.packet);
                    state.steps.push(Step { place, is_sure: true });
                }
                Truth::Unknown if rule.is_inert(self.table) => {
                    state.steps.push(Step {
                        place,
                        is_sure: false,
                    });
                    state.rule += 1;
                    continue;
                }
                Truth::Unknown if waiting.len() >= self.ways => return state.end(self.too_many_ways()),
                Truth::Unknown => {
                    if !self.part(rule, &mut state, waiting) {
                        continue;
                    }
                }
            }
            if let Some(verdict) = self.act(rule, &mut state) {
                return state.end(verdict);
            }
        }
    }

    fn too_many_ways(&self) -> Verdict {
        let why = format!("there are more than {} ways through the table", self.ways);
        Verdict::Open(None, why)
    }

    /// Whether a rule matches.
    fn asks(&self, rule: &Rule, state: &mut State) -> Truth {
        let force = self.guide.and_then(|guide| guide.force);
        if let Some(force) = force.filter(|force| force.place == state.place() && !state.is_forced) {
            state.is_forced = true;
            return Truth::of(Some(force.matched));
        }
        let mut all = Truth::Yes;
        for condition in &rule.conditions {
            let truth = match condition.holds(&state.packet) {
                Truth::Unknown => self.taken(condition, state),
                truth => truth,
            };
            all = all.and(truth);
            if all == Truth::No {
                return all;
            }
        }
        all
    }

    /// What was taken for the same condition before, if it would be told the same again.
    fn taken(&self, condition: &Condition, state: &State) -> Truth {
        let is_steady = match &condition.ask {
            Ask::Open(open) => open.is_steady,
            Ask::Time(_) => false,
            _ => true,
        };
        if !is_steady {
            return Truth::Unknown;
        }
        let found = state.taken.iter().find_map(|(place, index, held)| {
            let known = self.condition(*place, *index)?;
            let is_opposite = known.negated != condition.negated;
            let tells = known.ask == condition.ask && (!is_opposite || condition.has_opposite(&state.packet));
            tells.then_some(*held != is_opposite)
        });
        Truth::of(found)
    }

    fn condition(&self, place: Place, index: usize) -> Option<&Condition> {
        let chain = self.table.chains.get(place.chain)?;
        chain.rules.get(place.rule?)?.conditions.get(index)
    }

    /// Decides a doubt: by what was decided before, or both ways, of which this state goes on with a match. Whether it does.
    fn part(&self, rule: &Rule, state: &mut State, waiting: &mut Vec<State>) -> bool {
        let place = state.place();
        let decided = self
            .guide
            .filter(|guide| guide.force.is_none() || !state.is_forced)
            .and_then(|guide| guide.doubts.get(state.doubts.len()));
        let open: Vec<usize> = (0..rule.conditions.len())
            .filter(|index| rule.conditions[*index].holds(&state.packet) == Truth::Unknown)
            .collect();
        let mut other = state.clone();
        other.doubts.push(Doubt {
            place,
            matched: false,
        });
        other.rule += 1;
        if let [only] = open.as_slice() {
            other.taken.push((place, *only, false));
        }
        state.doubts.push(Doubt { place, matched: true });
        state.steps.push(Step {
            place,
            is_sure: false,
        });
        for index in open {
            state.taken.push((place, index, true));
            learn(&rule.conditions[index], &mut state.packet);
        }
        match decided {
            Some(doubt) if doubt.matched => true,
            Some(_) => {
                *state = other;
                false
            }
            None => {
                waiting.push(other);
                true
            }
        }
    }

    /// At the end of a chain, or by RETURN: back to where the jump was, or to the policy.
    fn leave(&self, state: &mut State) -> Option<Verdict> {
        if let Some((chain, rule)) = state.stack.pop() {
            (state.chain, state.rule) = (chain, rule);
            return None;
        }
        let place = Place {
            chain: self.base,
            rule: None,
        };
        state.steps.push(Step { place, is_sure: true });
        let base = self.table.chains.get(self.base).and_then(|chain| chain.base);
        Some(if base.is_some_and(|base| base.accepts) {
            Verdict::Accept(place)
        } else {
            Verdict::Drop(place)
        })
    }

    /// Does what a rule does.
    fn act(&self, rule: &Rule, state: &mut State) -> Option<Verdict> {
        let place = state.place();
        match &rule.action {
            Action::Continue => state.rule += 1,
            Action::Accept => return Some(Verdict::Accept(place)),
            Action::Drop => return Some(Verdict::Drop(place)),
            Action::Return => return self.leave(state),
            Action::Jump(to) => {
                if state.stack.len() >= DEEPEST {
                    return Some(Verdict::Open(
                        Some(place),
                        "its chains call each other in a circle".to_owned(),
                    ));
                }
                state.stack.push((state.chain, state.rule + 1));
                (state.chain, state.rule) = (*to, 0);
            }
            Action::Goto(to) => (state.chain, state.rule) = (*to, 0),
            Action::Translate(translation) => {
                translation.apply(&mut state.packet, self.hook, self.around);
                return Some(Verdict::Accept(place));
            }
            Action::Open(target) => {
                let why = format!("{}: {}", target.name, target.why);
                return Some(Verdict::Open(Some(place), why));
            }
            action => {
                change(action, &mut state.packet);
                state.changed();
                state.rule += 1;
            }
        }
        None
    }
}
