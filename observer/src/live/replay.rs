//! Asks the rules in force about a packet that has died: which of the rules that the kernel leaves possible it meets, and whether
//! they come to what the kernel has decided.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::budget::PerSecond;
use super::evaluators::Prepared;
use super::model::Model;
use super::near_misses;
use super::nft_misses;
use crate::attribute::{Asked, Question, Replayed, Site};
use crate::evaluate::nftables::{self, Device, Evaluator};
use crate::evaluate::{self, Bounds, Deaths, Unknown};
use crate::report::record::{Candidate, Disagreement, DropLine, Hint, Hook};
use crate::ruleset::nftables::listing::Family;
use crate::ruleset::{Ending, Place, Snapshot, Table};

/// So many answers are kept.
const MOST_KEPT: usize = 1024;
/// So many different lists of candidates, each of which may have thousands of rules.
const MOST_LISTS: usize = 16;
/// So much of a processor's time is taken for asking in a second of drops; what comes after that stays unknown. Answers that
/// are kept take none.
const ASKING_A_SECOND: Duration = Duration::from_millis(20);
/// So long is waited for tools that list rules in a second of drops.
const LISTING_A_SECOND: Duration = Duration::from_millis(200);
/// So many rules are asked in one base chain, over all ways.
const RULES: usize = 200_000;
/// Different ways through a table of iptables.
const WAYS: usize = 16;

/// What was looked up for a drop whose rule or policy is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looked {
    /// Rules that would have let it live.
    pub hints: Vec<Hint>,
    /// Where a replay comes to, if that is not what the kernel did; empty: the packet lives.
    pub instead: Option<Vec<Candidate>>,
}

impl Looked {
    /// Near misses, and no more.
    pub fn near(hints: Vec<Hint>) -> Self {
        Self { hints, instead: None }
    }
}

/// The rules of one table.
pub enum Listed {
    /// As nft lists them.
    Nft(Rc<Prepared>),
    /// As iptables saves them.
    Saved(Rc<Model>),
}

/// What was answered, and how long that may take.
pub struct Replay {
    /// By where the candidates are among the lists, and all else that is asked.
    kept: HashMap<(usize, String), Replayed>,
    /// Lists of candidates, each once.
    lists: foldhash::HashMap<Box<[Place]>, usize>,
    asking: PerSecond<Duration>,
    listing: PerSecond<Duration>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            kept: HashMap::new(),
            lists: foldhash::HashMap::default(),
            asking: PerSecond::new(ASKING_A_SECOND),
            listing: PerSecond::new(LISTING_A_SECOND),
        }
    }
}

impl Replay {
    /// What the rules say of a drop at `time_ns`. `list` finds the rules of a table by its index in the snapshot.
    pub fn ask(
        &mut self,
        question: &Question<'_>,
        drop: &DropLine,
        (snapshot, site): (&Snapshot, Site<'_>),
        time_ns: u64,
        list: impl FnMut(usize) -> Option<Listed>,
    ) -> Replayed {
        let rest = format!(
            "{} {:?} {:?} {} {:?}",
            snapshot.generation,
            question.frame(),
            site.family,
            site.bridged,
            nft_misses::packet(drop, site.hook)
        );
        let key = (self.list(question.candidates()), rest);
        if let Some(known) = self.kept.get(&key) {
            return known.clone();
        }
        if !self.asking.has_left(time_ns) || !self.listing.has_left(time_ns) {
            return Replayed::Open;
        }
        let begun = Instant::now();
        let listed = listed(question, list);
        self.listing.spend(begun.elapsed());
        // The rules are not to be had now, and may be for the next.
        let Some(listed) = listed else {
            return Replayed::Open;
        };
        let begun = processor_time();
        let answered = answer(question, drop, snapshot, site, &listed);
        self.asking.spend(processor_time().saturating_sub(begun));
        if self.kept.len() >= MOST_KEPT {
            self.kept.clear();
        }
        self.kept.insert(key, answered.clone());
        answered
    }

    /// The number of a list of candidates.
    fn list(&mut self, candidates: &[Place]) -> usize {
        if let Some(known) = self.lists.get(candidates) {
            return *known;
        }
        if self.lists.len() >= MOST_LISTS {
            self.lists.clear();
            self.kept.clear();
        }
        let number = self.lists.len();
        self.lists.insert(candidates.into(), number);
        number
    }
}

/// What this thread has taken so far: however busy the machine is otherwise.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

/// The tables that are asked; `None` if one is not to be had.
fn listed(
    question: &Question<'_>,
    mut list: impl FnMut(usize) -> Option<Listed>,
) -> Option<HashMap<usize, Listed>> {
    let mut listed: HashMap<usize, Listed> = HashMap::new();
    for (table, _) in question.bases() {
        if let Entry::Vacant(entry) = listed.entry(table) {
            entry.insert(list(table)?);
        }
    }
    Some(listed)
}

fn answer(
    question: &Question<'_>,
    drop: &DropLine,
    snapshot: &Snapshot,
    site: Site<'_>,
    listed: &HashMap<usize, Listed>,
) -> Replayed {
    let of_nft = listed.iter().filter_map(|(index, listed)| match listed {
        Listed::Nft(prepared) => Some((*index, prepared.past())),
        Listed::Saved(_) => None,
    });
    let evaluators: HashMap<usize, &Evaluator<'_>> = of_nft.collect();
    let packet = nft_packet(drop, site);
    let bases: Vec<(usize, usize)> = question.bases().collect();
    let with_all = before_all(&bases, &evaluators, snapshot, &packet);
    let asked: Vec<Option<Asked>> = bases
        .iter()
        .map(|(table, base)| match listed.get(table)? {
            Listed::Nft(_) => {
                let of = (*table, *base);
                ask_nft(evaluators.get(table)?, of, snapshot, &packet, with_all.as_ref())
            }
            Listed::Saved(model) => ask_saved(model, *table, snapshot, drop, site.hook),
        })
        .collect();
    question.answer(&asked)
}

/// Handles of the rules of a table that nft may list in part only.
pub fn in_part(table: &Table) -> HashSet<u64> {
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    let in_part = rules.filter(|rule| rule.in_part);
    in_part.map(|rule| rule.handle).collect()
}

/// The packet as rules of nft see it in this hook.
fn nft_packet(drop: &DropLine, site: Site<'_>) -> nftables::Packet {
    let mut packet = nft_misses::packet(drop, site.hook);
    // Of a frame on a bridge the ports are known, and the rules see the bridge.
    if site.bridged {
        (packet.input, packet.output) = (Device::Unknown, Device::Unknown);
    }
    packet
}

/// Family, table and chain as nft names a base chain.
fn names(snapshot: &Snapshot, (table, chain): (usize, usize)) -> Option<(Family, &str, &str)> {
    let table = snapshot.tables.get(table)?;
    let chain = table.chains.get(chain)?;
    Some((Family::named(table.family.name())?, &table.name, &chain.name))
}

/// The packet without what any of several base chains may have changed, if there are several.
fn before_all(
    bases: &[(usize, usize)],
    evaluators: &HashMap<usize, &Evaluator<'_>>,
    snapshot: &Snapshot,
    packet: &nftables::Packet,
) -> Option<nftables::Packet> {
    if bases.len() < 2 {
        return None;
    }
    let mut before = packet.clone();
    for base in bases {
        before = evaluators
            .get(&base.0)?
            .before(names(snapshot, *base)?, &before)?;
    }
    Some(before)
}

fn ask_nft(
    evaluator: &Evaluator<'_>,
    base: (usize, usize),
    snapshot: &Snapshot,
    packet: &nftables::Packet,
    with_all: Option<&nftables::Packet>,
) -> Option<Asked> {
    let name = names(snapshot, base)?;
    let died = |packet| {
        let deaths = evaluator.deaths(name, packet, &mut RULES.clone());
        deaths.filter(|deaths| !deaths.is_open)
    };
    let deaths = died(packet)?;
    let kills = with_all
        .and_then(died)
        .is_some_and(|deaths| !deaths.survives && !deaths.places.is_empty());
    let places = deaths
        .places
        .iter()
        .map(|place| of_nft(evaluator, *place, base.0, snapshot));
    Some(Asked {
        places: places.collect::<Option<_>>()?,
        kills,
    })
}

/// A place of nft's list in the snapshot.
fn of_nft(
    evaluator: &Evaluator<'_>,
    place: nftables::Place,
    table: usize,
    snapshot: &Snapshot,
) -> Option<Place> {
    let name = &evaluator.chain(place)?.name;
    let mut chains = snapshot.tables.get(table)?.chains.iter();
    let chain = chains.position(|chain| chain.name == *name)?;
    let rule = match place.rule {
        None => None,
        Some(_) => Some(snapshot.rule_by_handle(table, chain, evaluator.rule(place)?.handle?)?),
    };
    Some(Place {
        table,
        chain,
        rule,
        ending: Ending::Certain,
    })
}

fn ask_saved(model: &Model, table: usize, snapshot: &Snapshot, drop: &DropLine, hook: Hook) -> Option<Asked> {
    let mut bounds = Bounds {
        ways: WAYS,
        rules: RULES,
        ..Bounds::default()
    };
    let deaths = saved_deaths(model, drop, hook, &mut bounds);
    let places = deaths.places.iter().map(|place| {
        let name = model.chain_name(place.chain)?;
        let mut chains = snapshot.tables.get(table)?.chains.iter();
        Some(Place {
            table,
            chain: chains.position(|chain| chain.name == name)?,
            rule: place.rule,
            ending: Ending::Certain,
        })
    });
    (!deaths.is_open).then_some(Asked {
        places: places.collect::<Option<_>>()?,
        kills: false,
    })
}

fn saved_deaths(model: &Model, drop: &DropLine, hook: Hook, bounds: &mut Bounds) -> Deaths {
    let packet = near_misses::packet(drop, hook);
    evaluate::deaths(&model.table, hook, &packet, &Unknown, bounds)
}

/// Where a table of iptables comes to, if that is surely not what the kernel did.
pub fn saved_instead(
    model: &Model,
    drop: &DropLine,
    hook: Hook,
    by: evaluate::Place,
    bounds: &mut Bounds,
) -> Option<Vec<Candidate>> {
    let deaths = saved_deaths(model, drop, hook, bounds);
    if deaths.is_open || deaths.places.contains(&by) {
        return None;
    }
    let told = deaths.places.iter().filter_map(|place| {
        Some(Candidate {
            table: model.name().to_owned(),
            chain: model.chain_name(place.chain)?.to_owned(),
            rule: place.rule.and_then(|rule| u32::try_from(rule + 1).ok()),
            policy: place.rule.is_none().then(|| "DROP".to_owned()),
            text: model.text(*place).map(str::to_owned),
        })
    });
    Some(told.collect())
}

/// Where a base chain of nft's comes to, if that is surely not what the kernel did. `is_it`: whether a place is.
pub fn nft_instead(
    evaluator: &Evaluator<'_>,
    base: (Family, &str, &str),
    packet: &nftables::Packet,
    is_it: impl Fn(nftables::Place) -> bool,
) -> Option<Vec<Candidate>> {
    let deaths = evaluator.deaths(base, packet, &mut RULES.clone())?;
    if deaths.is_open || deaths.places.iter().any(|place| is_it(*place)) {
        return None;
    }
    let told = deaths.places.iter().filter_map(|place| {
        Some(Candidate {
            table: base.1.to_owned(),
            chain: evaluator.chain(*place)?.name.clone(),
            rule: place.rule.and_then(|rule| u32::try_from(rule + 1).ok()),
            policy: place.rule.is_none().then(|| "drop".to_owned()),
            text: place.rule.and_then(|_| evaluator.text(*place)),
        })
    });
    Some(told.collect())
}

/// A disagreement in the words of the trace. `known`: whether the kernel named somebody; else it excluded what is replayed.
pub fn disagreement(replayed: Vec<Candidate>, known: bool) -> Disagreement {
    let to = match &replayed[..] {
        [] => "let this packet live".to_owned(),
        [one] => format!("drop it by {}", place(one)),
        several => {
            let places: Vec<String> = several.iter().map(place).collect();
            format!("drop it by one of {}", places.join(", "))
        }
    };
    let kernel = match known {
        true => "the kernel is right",
        false => "by the kernel's own state that was not it",
    };
    Disagreement {
        text: format!(
            "asked once more, the rules {to}; {kernel}: a bug of observer's, worth \
             reporting (watch with --keep-disagreements DIR keeps what it takes to see it again)"
        ),
        replayed,
        command: None,
    }
}

fn place(candidate: &Candidate) -> String {
    let chain = format!("{} {}", candidate.table, candidate.chain);
    match candidate.rule {
        Some(rule) => format!("rule {rule} of {chain}"),
        None => format!("the policy of {chain}"),
    }
}

#[cfg(test)]
mod tests;
