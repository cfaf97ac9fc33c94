//! The lower rung of the ladder: where the kernel leaves several rules possible, the rules in force are asked which of them the
//! packet meets. What the kernel said stands: a replay only chooses among what it left possible.

use observer_common::{DropEvent, MAX_MOVED, flag};

use super::Site;
use super::culprit::{Culprit, Told, Verdict};
use super::droppers::is_on;
use super::scene::NFT_FREES;
use super::whole::is_whole;
use crate::report::record::{Backend, Confidence, Hook};
use crate::ruleset::nftables::is_nft_function;
use crate::ruleset::{Ending, HookFunction, Place, Snapshot};

/// What came of asking one base chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The rules and policies that the packet can have died by.
    pub places: Vec<Place>,
    /// Whether it surely died here if it came here, whatever the base chains behind this one have changed of it.
    pub kills: bool,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It has to have been this one.
    By(Verdict),
    /// That is not known.
    Open,
    /// It can have been only these, if any, and by the kernel's own state none of them was.
    Disagrees(Vec<Place>),
}

/// What is asked about a drop of which candidates are known.
#[derive(Debug)]
pub struct Question<'a> {
    candidates: &'a [Place],
    /// Whether the candidates are all that can have been it.
    is_complete: bool,
    /// The base chains that lead to candidates: priority, table and chain, in the order of their priorities.
    bases: Vec<(i32, usize, usize)>,
    /// Whether nothing but these base chains can have changed the packet in this hook.
    is_alone: bool,
}

impl<'a> Question<'a> {
    /// A question, if the rules can answer it: the snapshot was in force when the packet died, and nothing but rules that were
    /// read can have dropped it where it was freed.
    pub fn of(
        verdict: &'a Verdict,
        event: &DropEvent,
        snapshot: &Snapshot,
        site: Option<Site<'_>>,
        symbol: &str,
    ) -> Option<Self> {
        let Culprit::OneOf(candidates) = &verdict.culprit else {
            return None;
        };
        let was_in_force = event.flags & (flag::COMPARED | flag::STALE) == flag::COMPARED
            && event.generation == snapshot.generation;
        let site = site.filter(|_| was_in_force && !candidates.is_empty() && is_whole(event))?;
        let backend = |place: &Place| snapshot.tables.get(place.table).map(|table| table.backend);
        let all_of = |wanted| candidates.iter().all(|place| backend(place) == Some(wanted));
        let have_counted = candidates.iter().all(|place| snapshot.is_counted(place));
        let can_answer = if all_of(Backend::Nft) {
            symbol == NFT_FREES && all_read(event, snapshot, site)
        } else {
            let are_certain = candidates.iter().all(|place| place.ending == Ending::Certain);
            all_of(Backend::Legacy) && have_counted && are_certain
        };
        let bases = bases(candidates, snapshot, site);
        let all_seen = event.moved_count as usize <= MAX_MOVED;
        (can_answer && all_seen && !bases.is_empty()).then(|| Self {
            candidates,
            is_complete: !have_counted,
            is_alone: are_alone(&bases, event, snapshot, site),
            bases,
        })
    }

    /// The base chains to be asked, by table and chain, in their order.
    pub fn bases(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.bases.iter().map(|(_, table, chain)| (*table, *chain))
    }

    /// The rules and policies that can have been it.
    pub fn candidates(&self) -> &[Place] {
        self.candidates
    }

    /// All else that the answer depends on beside the packet.
    pub fn frame(&self) -> (bool, bool, &[(i32, usize, usize)]) {
        (self.is_complete, self.is_alone, &self.bases)
    }

    /// Concludes from what each base chain answered; `None` where it has no certain answer.
    pub fn answer(&self, asked: &[Option<Asked>]) -> Replayed {
        let mut places: Vec<Place> = Vec::new();
        let mut last = None;
        for ((priority, ..), asked) in self.bases.iter().zip(asked) {
            if last.is_some_and(|last| *priority > last) {
                break;
            }
            let Some(asked) = asked else {
                return Replayed::Open;
            };
            places.extend(&asked.places);
            if asked.kills && self.is_alone {
                last = Some(*priority);
            }
        }
        places.sort_by_key(key);
        places.dedup_by_key(|place| key(place));
        let is_possible = |candidate: &&Place| places.iter().any(|place| key(place) == key(candidate));
        let possible: Vec<&Place> = self.candidates.iter().filter(is_possible).collect();
        match possible[..] {
            [one] if self.is_complete || places.len() == 1 => Replayed::By(by_replay(*one)),
            [] if self.is_complete => Replayed::Disagrees(places),
            _ => Replayed::Open,
        }
    }
}

fn by_replay(place: Place) -> Verdict {
    Verdict {
        culprit: Culprit::Place(place),
        confidence: Confidence::Inferred,
        by_counter: false,
        told_by: Told::Replay,
        path: None,
        jumps_fit: false,
        note: None,
    }
}

/// One rule or policy, however it ends a packet.
fn key(place: &Place) -> (usize, usize, Option<usize>) {
    (place.table, place.chain, place.rule)
}

/// Whether every base chain of nf_tables that this hook calls was read: what was not is not among the candidates.
fn all_read(event: &DropEvent, snapshot: &Snapshot, site: Site<'_>) -> bool {
    let functions = snapshot.hooks.functions.iter();
    functions
        .filter(|function| is_nft_function(&function.name) && is_on(event, site, function))
        .all(|function| snapshot.nft_chain(function.private).is_some())
}

/// Whether this hook calls nothing else that may change a packet. NAT, and conntrack before it, work in the other hooks.
fn are_alone(bases: &[(i32, usize, usize)], event: &DropEvent, snapshot: &Snapshot, site: Site<'_>) -> bool {
    let is_known = |function: &HookFunction| {
        let chain = snapshot.nft_chain(function.private);
        chain.is_some_and(|(table, chain)| {
            let is_asked = bases.iter().any(|(_, of, base)| (*of, *base) == (table, chain));
            is_asked || snapshot.tables[table].chains[chain].rules.is_empty()
        })
    };
    let mut here = snapshot
        .hooks
        .functions
        .iter()
        .filter(|function| is_on(event, site, function));
    site.hook == Hook::Forward && here.all(is_known)
}

/// The base chains of this hook that lead to the candidates.
fn bases(candidates: &[Place], snapshot: &Snapshot, site: Site<'_>) -> Vec<(i32, usize, usize)> {
    let base = |table: usize, chain: usize| {
        let base = snapshot.tables.get(table)?.chains.get(chain)?.base.as_ref();
        base.filter(|base| base.hook == site.hook)
            .map(|base| (base.priority, table, chain))
    };
    let mut bases: Vec<(i32, usize, usize)> = candidates
        .iter()
        .flat_map(|place| {
            let of = snapshot.bases_of(place.table, place.chain).iter();
            of.filter_map(|chain| base(place.table, *chain))
        })
        .collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

#[cfg(test)]
mod tests;
