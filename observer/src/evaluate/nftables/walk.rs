//! The way of a packet through a base chain: rules, jumps, returns, the policy. Where it is not known what happens, the
//! walk splits.

use super::change::changes;
use super::load::{At, Scene};
use super::packet::Packet;
use super::path::{Outcome, Path, Place, StepKind};
use super::prepared::{Known, PreparedTable};
use super::rule::{self, End, Final, RuleRun};
use crate::ruleset::nftables::listing::{Rule, Statement, Verdict};
use std::borrow::Cow;

/// `NFT_JUMP_STACK_SIZE`
const MOST_JUMPS: usize = 16;
/// More chains are not entered on one way: jumps that lead to each other do so for ever, which the kernel refuses.
const MOST_CHAINS: usize = 1 << 16;
/// More ways through one base chain are not followed.
const MOST_WAYS: usize = 64;
/// More rules are not asked in one base chain, over all ways.
const MOST_RULES: usize = 1 << 21;
/// More rules than any real packet matches.
const MOST_STEPS: usize = 10_000;
/// More rules that would have let the packet live are not remembered.
const MOST_MISSED: usize = 4096;

/// A base chain that is walked.
pub(super) struct Walk<'a> {
    pub(super) table: &'a PreparedTable<'a>,
    pub(super) table_index: usize,
    /// The index of the base chain.
    pub(super) base: usize,
    pub(super) at: At<'a>,
    /// Its policy accepts.
    pub(super) accepts: bool,
    /// A rule whose conditions are taken to hold when it is met first.
    pub(super) forced: Option<Place>,
}

/// What came of a rule; packets only where they are others than before.
struct Run {
    packet: Option<Packet>,
    otherwise: Option<Packet>,
    unsure: Vec<usize>,
    end: End,
}

impl Run {
    fn of(run: RuleRun<'_>) -> Self {
        let changed = |packet: Cow<'_, Packet>| match packet {
            Cow::Borrowed(_) => None,
            Cow::Owned(packet) => Some(packet),
        };
        Self {
            packet: changed(run.packet),
            otherwise: changed(run.otherwise),
            unsure: run.unsure,
            end: run.end,
        }
    }

    /// The same of a rule that asks more than is listed: whatever it does, it may not.
    fn doubted(mut self, before: &Packet) -> Self {
        if matches!(self.end, End::NoMatch) {
            return self;
        }
        let merged = |packet: &Option<Packet>| packet.as_ref().map(|packet| packet.merged(before));
        self.otherwise = merged(&self.otherwise).or_else(|| merged(&self.packet));
        if matches!(self.end, End::Through) {
            self.packet.clone_from(&self.otherwise);
        }
        if self.unsure.is_empty() {
            self.unsure.push(0);
        }
        self
    }
}

/// One of the ways, as far as it was followed.
#[derive(Clone)]
struct Way {
    path: Path,
    /// Where the calling chains go on.
    stack: Vec<(usize, usize)>,
    chain: usize,
    rule: usize,
    /// How many chains it has entered.
    entered: usize,
    /// Whether the forced rule was met.
    is_forced: bool,
}

impl<'a> Walk<'a> {
    /// Follows a path through the base chain. Each path that is returned has an outcome. `left` is how many rules may be asked.
    pub(super) fn follow(&self, path: Path, left: &mut usize) -> Vec<Path> {
        let ways = self.ways(path, left).into_iter();
        ways.map(|way| way.path).collect()
    }

    /// The same, and only those paths that came by the forced rule.
    pub(super) fn follow_forced(&self, path: Path, left: &mut usize) -> Vec<Path> {
        let ways = self.ways(path, left).into_iter();
        ways.filter(|way| way.is_forced).map(|way| way.path).collect()
    }

    fn ways(&self, path: Path, left: &mut usize) -> Vec<Way> {
        let mut open = vec![Way {
            path,
            stack: Vec::new(),
            chain: self.base,
            rule: 0,
            entered: 0,
            is_forced: false,
        }];
        let mut ended: Vec<Way> = Vec::new();
        let mut rules = 0;
        let mut known = Known::default();
        while let Some(mut way) = open.pop() {
            known.forget();
            while way.path.outcome.is_none() {
                rules += 1;
                let is_long = rules > MOST_RULES || way.path.steps.len() >= MOST_STEPS;
                if is_long || *left == 0 || open.len() + ended.len() > MOST_WAYS {
                    way.path.is_cut = true;
                    way.path.end(Outcome::Unknown, self.place(way.chain, None));
                } else {
                    *left -= 1;
                    self.advance(&mut way, &mut known, &mut open);
                }
            }
            ended.push(way);
        }
        ended
    }

    /// Asks the next rule, or leaves the chain.
    fn advance(&self, way: &mut Way, known: &mut Known, open: &mut Vec<Way>) {
        let chain = self.table.table.chains.get(way.chain);
        match chain.and_then(|chain| chain.rules.get(way.rule)) {
            Some(rule) => {
                let place = self.place(way.chain, Some(way.rule));
                way.rule += 1;
                if self.forced == Some(place) && !way.is_forced {
                    way.is_forced = true;
                    known.forget();
                    let run = Run::of(rule::run_forced(rule, &way.path.packet, self.table, self.at));
                    self.take_all(rule, place, run, way, open);
                    return;
                }
                if self.fails_at_once(way, place, known) {
                    miss(way, place, rule);
                    return;
                }
                // It may leave another packet behind.
                known.forget();
                let mut run = Run::of(rule::run(rule, &way.path.packet, self.table, self.at));
                if self.table.is_listed_in_part(rule) {
                    run = run.doubted(&way.path.packet);
                }
                self.take_all(rule, place, run, way, open);
            }
            None => self.leave(way),
        }
    }

    /// Whether a condition that a rule begins with surely does not hold: then nothing of it is done.
    fn fails_at_once(&self, way: &Way, place: Place, known: &mut Known) -> bool {
        let leading = place.rule.and_then(|rule| self.table.leading(place.chain, rule));
        leading.is_some_and(|leading| {
            let scene = Scene {
                packet: &way.path.packet,
                table: self.table,
                at: self.at,
            };
            leading.fails(scene, known)
        })
    }

    fn take_all(&self, rule: &Rule, place: Place, run: Run, way: &mut Way, open: &mut Vec<Way>) {
        match run.end {
            End::NoMatch => {
                miss(way, place, rule);
                change(way, place, run.packet);
            }
            End::Through => {
                let kind = match run.unsure.is_empty() {
                    true => StepKind::Matched,
                    false => StepKind::MayMatch,
                };
                way.path.step(place, kind, None);
                change(way, place, run.packet);
            }
            End::Final(end) if run.unsure.is_empty() => {
                self.take(way, place, run.packet, end, StepKind::Matched);
            }
            End::Final(end) => {
                let ends = vec![Some(end), None];
                self.split(place, &run.unsure, ends, (run.packet, run.otherwise), way, open);
            }
            End::OneOf(mut ends) => {
                if !run.unsure.is_empty() && !ends.contains(&None) {
                    ends.push(None);
                }
                let mut unsure = run.unsure;
                // The verdict is the last thing that a rule comes to.
                unsure.push(rule.statements.len().saturating_sub(1));
                self.split(place, &unsure, ends, (run.packet, run.otherwise), way, open);
            }
            End::Anything => {
                if !run.unsure.is_empty() {
                    let mut other = way.clone();
                    not_taken(&mut other, place, run.unsure, run.otherwise);
                    open.push(other);
                }
                way.path.step(place, StepKind::Unknown, None);
                way.path.end(Outcome::Unknown, place);
            }
        }
    }

    /// A way for each of the ends.
    fn split(
        &self,
        place: Place,
        unsure: &[usize],
        ends: Vec<Option<Final>>,
        (packet, otherwise): (Option<Packet>, Option<Packet>),
        way: &mut Way,
        open: &mut Vec<Way>,
    ) {
        let before = way.clone();
        let mut ways = ends.into_iter().map(|end| {
            let mut way = before.clone();
            match end {
                None => not_taken(&mut way, place, unsure.to_vec(), otherwise.clone()),
                Some(end) => {
                    way.path.assume(place, unsure.to_vec(), true);
                    self.take(&mut way, place, packet.clone(), end, StepKind::Assumed);
                }
            }
            way
        });
        if let Some(first) = ways.next() {
            *way = first;
        }
        open.extend(ways);
    }

    /// Follows a verdict.
    fn take(&self, way: &mut Way, place: Place, packet: Option<Packet>, end: Final, kind: StepKind) {
        way.path.step(place, kind, Some(end.clone()));
        change(way, place, packet);
        match end {
            Final::Translated => {
                way.path.is_translated = true;
                way.path.end(Outcome::Accept, place);
            }
            Final::Reject => way.path.end(Outcome::Drop, place),
            Final::Queue => way.path.end(Outcome::Queue, place),
            Final::Stolen => way.path.end(Outcome::Stolen, place),
            Final::Verdict(verdict) => self.go(way, place, &verdict),
        }
    }

    fn go(&self, way: &mut Way, place: Place, verdict: &Verdict) {
        match verdict {
            Verdict::Accept => way.path.end(Outcome::Accept, place),
            Verdict::Drop => way.path.end(Outcome::Drop, place),
            Verdict::Continue => {}
            Verdict::Return => self.leave(way),
            Verdict::Jump(chain) | Verdict::Goto(chain) => {
                let is_jump = matches!(verdict, Verdict::Jump(_));
                match self.table.chain(chain) {
                    Some(_) if way.entered >= MOST_CHAINS || (is_jump && way.stack.len() >= MOST_JUMPS) => {
                        way.path.end(Outcome::Unknown, place);
                    }
                    Some(index) => {
                        if is_jump {
                            way.stack.push((way.chain, way.rule));
                        }
                        way.entered += 1;
                        way.chain = index;
                        way.rule = 0;
                    }
                    // A chain that is not listed.
                    None => way.path.end(Outcome::Unknown, place),
                }
            }
        }
    }

    /// The calling chain goes on; without one, the policy decides.
    fn leave(&self, way: &mut Way) {
        if let Some((chain, rule)) = way.stack.pop() {
            way.chain = chain;
            way.rule = rule;
            return;
        }
        let place = self.place(self.base, None);
        way.path.step(place, StepKind::Policy, None);
        let outcome = if self.accepts {
            Outcome::Accept
        } else {
            Outcome::Drop
        };
        way.path.end(outcome, place);
    }

    fn place(&self, chain: usize, rule: Option<usize>) -> Place {
        Place {
            table: self.table_index,
            chain,
            rule,
        }
    }
}

/// Remembers a rule that was not matched, if it would have let the packet live, or sent it another way.
fn miss(way: &mut Way, place: Place, rule: &Rule) {
    let missed = match rule.statements.last() {
        Some(Statement::Verdict(Verdict::Accept)) => &mut way.path.missed,
        Some(Statement::Verdict(Verdict::Jump(_) | Verdict::Goto(_) | Verdict::Return)) => &mut way.path.led,
        _ => return,
    };
    if missed.len() < MOST_MISSED {
        missed.push(place);
    }
}

fn not_taken(way: &mut Way, place: Place, unsure: Vec<usize>, packet: Option<Packet>) {
    way.path.assume(place, unsure, false);
    change(way, place, packet);
}

fn change(way: &mut Way, place: Place, packet: Option<Packet>) {
    let Some(packet) = packet else { return };
    way.path.changes.extend(changes(place, &way.path.packet, &packet));
    way.path.packet = packet;
}
