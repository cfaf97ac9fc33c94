//! What came of a packet: steps, verdict, and what they depend on.

use super::packet::Packet;
pub use super::rule::Final;

/// A rule, or the policy of a base chain, by indices in the ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The table.
    pub table: usize,
    /// The chain.
    pub chain: usize,
    /// The rule; none for the policy.
    pub rule: Option<usize>,
}

/// What becomes of a packet at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It lives on.
    Accept,
    /// It dies.
    Drop,
    /// A program decides.
    Queue,
    /// It goes another way.
    Stolen,
    /// That is not known.
    Unknown,
}

/// A rule that a packet matched, or may have, or the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// How sure that is.
    pub kind: StepKind,
    /// What the rule did at its end, if anything.
    pub end: Option<Final>,
}

/// How sure a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// The rule matched.
    Matched,
    /// It is not known whether it matched, nor does it matter for the way.
    MayMatch,
    /// This way is taken if it matched: see the assumptions.
    Assumed,
    /// What the rule does is not known.
    Unknown,
    /// The policy decided.
    Policy,
}

/// What must hold for a path to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// The rule.
    pub place: Place,
    /// Its statements of which it is not known whether they hold.
    pub statements: Vec<usize>,
    /// Whether they all hold, with the verdict of the step, or one of them does not.
    pub holds: bool,
}

/// A change of the packet by a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The rule.
    pub place: Place,
    /// What was changed.
    pub field: &'static str,
    /// As it was.
    pub from: String,
    /// As it is.
    pub to: String,
}

/// One of the ways that a packet may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// What becomes of it; none only while the path is followed.
    pub outcome: Option<Outcome>,
    /// The rule or policy that decided; none if no chain was asked.
    pub decided_by: Option<Place>,
    /// The rules on the way, in order, over all base chains of the hook.
    pub steps: Vec<Step>,
    /// What must hold for it.
    pub assumptions: Vec<Assumption>,
    /// The packet as it leaves.
    pub packet: Packet,
    /// What was changed on the way.
    pub changes: Vec<Change>,
    /// Whether there was too much to follow it to its end.
    pub is_cut: bool,
    /// Whether a rule translated its connection.
    pub is_translated: bool,
    /// Rules of the last base chain that would have let it live, had it matched them.
    pub(super) missed: Vec<Place>,
    /// Rules of the last base chain that would have sent it another way, had it matched them.
    pub(super) led: Vec<Place>,
    /// The packet as it came to the last base chain, and that chain's table and index.
    pub(super) came: Option<(Packet, usize, usize)>,
}

impl Path {
    pub(super) fn end(&mut self, outcome: Outcome, place: Place) {
        self.outcome = Some(outcome);
        self.decided_by = Some(place);
    }

    pub(super) fn step(&mut self, place: Place, kind: StepKind, end: Option<Final>) {
        self.steps.push(Step { place, kind, end });
    }

    pub(super) fn assume(&mut self, place: Place, statements: Vec<usize>, holds: bool) {
        self.assumptions.push(Assumption {
            place,
            statements,
            holds,
        });
    }
}

/// All the ways that a packet may take through a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// One, if everything is known that matters.
    pub paths: Vec<Path>,
}

impl Evaluation {
    /// What becomes of the packet, if that is certain.
    pub fn outcome(&self) -> Option<Outcome> {
        let (first, others) = self.paths.split_first()?;
        let outcome = first.outcome?;
        let is_same = others.iter().all(|path| path.outcome == Some(outcome));
        (is_same && outcome != Outcome::Unknown).then_some(outcome)
    }

    /// What may become of it.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for outcome in self.paths.iter().filter_map(|path| path.outcome) {
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
        }
        outcomes
    }
}
