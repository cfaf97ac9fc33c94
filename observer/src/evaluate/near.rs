//! Near misses: of the rules that a packet met and did not match, those that would have let it live and failed by the
//! least.

use std::collections::HashSet;

use super::around::Surroundings;
use super::closeness::{FAR, distance, slip};
use super::condition::{Ask, Condition, End};
use super::packet::Packet;
use super::table::{Action, Rule, Table};
use super::truth::Truth;
use super::walk::{Bounds, Doubt, Met, Place, Verdict, retrace, walk_forced};
use crate::report::record::Hook;
use crate::ruleset::xtables::save::PortsOf;

/// A rule that would have let a packet live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// How far it was from matching: what looks like a slip of the pen is below 20, what may well be meant otherwise above
    /// [`NearMiss::TELLING`].
    pub distance: u32,
    /// Where it stands.
    pub place: Place,
    /// The conditions that failed.
    pub misses: Vec<Miss>,
    /// Where the packet would have been accepted, if not by this rule itself.
    pub accepted_by: Option<Place>,
    /// The rule before it, of the same chain, that takes every packet which it could accept: it is never asked.
    pub behind: Option<Place>,
}

impl NearMiss {
    /// Up to this distance a near miss is news to whoever did not ask for it.
    pub const TELLING: u32 = 36;
    /// What is so much farther away than the nearest is not told.
    pub const SPREAD: u32 = 20;
}

/// A condition that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What must be so.
    pub needs: String,
    /// What the packet has.
    pub has: Option<String>,
    /// What strikes the eye.
    pub remark: Option<String>,
}

/// Rules fail by so many conditions at most.
const MOST_FAILED: usize = 2;
/// What a second condition adds to the distance.
const SECOND: u32 = 60;
/// How far a condition is that held until the packet was translated.
const BEFORE_NAT: u32 = 12;
/// How far a rule is that would match, were it asked.
const NEVER_ASKED: u32 = 5;
/// So many that accept are kept while looking, and as many that lead elsewhere.
const KEPT: usize = 8;

/// A rule that may be one.
struct Candidate {
    place: Place,
    distance: u32,
    failed: Vec<usize>,
    packet: Packet,
}

/// Candidates, the nearest of them; whatever is farther than the farthest is let go.
#[derive(Default)]
struct Nearest {
    kept: Vec<Candidate>,
    seen: HashSet<Place>,
}

/// Finds near misses on one way through a table that ended in a drop: `packet` is as it came to the table, `doubts` are the
/// way's. The nearest first, at most `most`.
pub fn near_misses(
    table: &Table,
    hook: Hook,
    (packet, doubts): (&Packet, &[Doubt]),
    around: &dyn Surroundings,
    bounds: &mut Bounds,
    most: usize,
) -> Vec<NearMiss> {
    let (mut accepting, mut leading) = (Nearest::default(), Nearest::default());
    let mut ends: Vec<Place> = Vec::new();
    let mut look = |met: Met, rule: &Rule, packet: &Packet| {
        let place = met.place;
        if met.matched {
            if matches!(rule.action, Action::Return | Action::Drop) && ends.len() < KEPT {
                ends.push(place);
            }
            return;
        }
        let nearest = match rule.action {
            Action::Accept => &mut accepting,
            Action::Return
            | Action::Jump(_)
            | Action::Goto(_)
            | Action::Mark(_)
            | Action::RestoreMark(..)
                if !rule.is_inert(table) =>
            {
                &mut leading
            }
            _ => return,
        };
        nearest.look(place, rule, packet);
    };
    retrace(table, hook, packet, doubts, (around, bounds), &mut look);
    let mut found: Vec<NearMiss> = Vec::new();
    for candidate in accepting.kept {
        found.extend(told(table, candidate, None));
    }
    for candidate in leading.kept {
        let place = candidate.place;
        let force = (packet, Met { place, matched: true });
        let outcomes = walk_forced(table, hook, force, doubts, around, bounds);
        let accepted: Option<Vec<Place>> = outcomes.iter().map(|outcome| accepts(&outcome.verdict)).collect();
        if let Some(&[place, ..]) = accepted.as_deref() {
            found.extend(told(table, candidate, Some(place)));
        }
    }
    ends.retain(|place| has_shadowed(table, *place, &mut bounds.rules));
    for place in ends {
        let force = (
            packet,
            Met {
                place,
                matched: false,
            },
        );
        let outcomes = walk_forced(table, hook, force, doubts, around, bounds);
        let accepted: Option<Vec<Place>> = outcomes.iter().map(|outcome| accepts(&outcome.verdict)).collect();
        if let Some(&[by]) = accepted.as_deref() {
            found.extend(never_asked(table, place, by));
        }
    }
    found.sort_by_key(|miss| (miss.distance, miss.place.chain, miss.place.rule));
    let nearest = found.first().map_or(0, |miss| miss.distance);
    found.retain(|miss| miss.distance <= nearest + NearMiss::SPREAD);
    found.truncate(most);
    found
}

fn accepts(verdict: &Verdict) -> Option<Place> {
    match verdict {
        Verdict::Accept(place) => Some(*place),
        _ => None,
    }
}

/// Whether a rule takes all that some rule which accepts behind it could match. `rules` is how many may still be looked at.
fn has_shadowed(table: &Table, before: Place, rules: &mut usize) -> bool {
    let number = table
        .chains
        .get(before.chain)
        .map_or(0, |chain| chain.rules.len());
    let behind = before.rule.map_or(number, |rule| rule + 1)..number;
    if *rules < behind.len() {
        return false;
    }
    *rules -= behind.len();
    let mut behind = behind.map(|rule| Place {
        rule: Some(rule),
        ..before
    });
    behind.any(|place| never_asked(table, before, place).is_some())
}

/// A rule that accepts, if another of its chain stands before it and takes whatever it would match.
fn never_asked(table: &Table, before: Place, by: Place) -> Option<NearMiss> {
    let rules = &table.chains.get(by.chain)?.rules;
    let (first, accepting) = (rules.get(before.rule?)?, rules.get(by.rule?)?);
    let is_asked = |condition: &Condition| accepting.conditions.contains(condition);
    let is_behind = before.chain == by.chain && before.rule < by.rule;
    let takes_all = accepting.action == Action::Accept && first.conditions.iter().all(is_asked);
    (is_behind && takes_all).then(|| NearMiss {
        distance: NEVER_ASKED,
        place: by,
        misses: Vec::new(),
        accepted_by: None,
        behind: Some(before),
    })
}

impl Nearest {
    fn look(&mut self, place: Place, rule: &Rule, packet: &Packet) {
        let Some((distance, failed)) = failed(rule, packet) else {
            return;
        };
        let farthest = self.kept.last().map_or(0, |last| last.distance);
        if (self.kept.len() >= KEPT && distance >= farthest) || !self.seen.insert(place) {
            return;
        }
        let at = self.kept.partition_point(|known| known.distance <= distance);
        self.kept.insert(
            at,
            Candidate {
                place,
                distance,
                failed,
                packet: packet.clone(),
            },
        );
        self.kept.truncate(KEPT);
    }
}

/// How far a rule is from matching, and which of its conditions fail; `None` if too many do, or that is not known.
fn failed(rule: &Rule, packet: &Packet) -> Option<(u32, Vec<usize>)> {
    let mut failed = Vec::new();
    let mut sum = 0;
    for (index, condition) in rule.conditions.iter().enumerate() {
        match condition.holds(packet) {
            Truth::Yes => {}
            Truth::Unknown => return None,
            Truth::No if failed.len() == MOST_FAILED => return None,
            Truth::No => {
                let held = before_nat(condition, packet).is_some();
                let apart = if held {
                    BEFORE_NAT
                } else {
                    distance(condition, packet)
                };
                if apart >= FAR {
                    return None;
                }
                sum += apart + if failed.is_empty() || held { 0 } else { SECOND };
                failed.push(index);
            }
        }
    }
    (!failed.is_empty()).then_some((sum, failed))
}

fn told(table: &Table, candidate: Candidate, accepted_by: Option<Place>) -> Option<NearMiss> {
    let rules = &table.chains.get(candidate.place.chain)?.rules;
    let rule = rules.get(candidate.place.rule?)?;
    let failed = candidate
        .failed
        .iter()
        .filter_map(|index| rule.conditions.get(*index));
    let misses = failed
        .map(|condition| miss(condition, &candidate.packet))
        .collect();
    let miss = NearMiss {
        distance: candidate.distance,
        place: candidate.place,
        misses,
        accepted_by: accepted_by.filter(|place| *place != candidate.place),
        behind: None,
    };
    Some(miss)
}

/// The option that asks for what a first packet's destination was, where only DNAT keeps a condition from holding.
fn before_nat(condition: &Condition, packet: &Packet) -> Option<&'static str> {
    let conn = &packet.conn;
    let original = conn.original.as_ref()?;
    if conn.dnat != Some(true) || conn.is_reply != Some(false) || condition.negated {
        return None;
    }
    let option = match &condition.ask {
        Ask::Net4(End::Destination, ..) | Ask::Net6(End::Destination, _) => "--ctorigdst",
        Ask::Port(PortsOf::Destination, _) | Ask::Ports(PortsOf::Destination, _) => "--ctorigdstport",
        _ => return None,
    };
    let before = Packet {
        dst: Some(original.dst),
        dport: original.dport,
        ..packet.clone()
    };
    (condition.holds(&before) == Truth::Yes).then_some(option)
}

fn miss(condition: &Condition, packet: &Packet) -> Miss {
    let net = condition.ask.net();
    let remark = net
        .filter(|_| !condition.negated)
        .and_then(|(end, net)| slip(&net, end.address(packet)?));
    // Of whole addresses both are there to be compared already.
    let remark = remark.map(|(needs, has)| {
        if net.is_some_and(|(_, net)| net.is_whole()) {
            "one digit differs".to_owned()
        } else {
            format!("one digit differs: {needs}, {has}")
        }
    });
    let translated = before_nat(condition, packet);
    let remark = translated.map_or(remark, |option| {
        Some(format!(
            "it was so before DNAT, which -m conntrack {option} asks for"
        ))
    });
    Miss {
        needs: condition.needs(),
        has: condition.has(packet),
        remark,
    }
}
