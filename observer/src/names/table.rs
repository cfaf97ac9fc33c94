//! Who had which address when. What ended is kept for a while, since lines come later than what they tell of; a name that two could
//! have had at that time is none.

mod claims;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;

use super::change::{Change, Id, Kind, Owner, Who};
use crate::report::record::{Named, NamesFrom, Time};
use claims::Claims;

/// So many owners are known at a time.
const MAX_OWNERS: usize = 100_000;
/// What ended is asked about for so long, in nanoseconds.
const KEPT_NS: u64 = 120_000_000_000;
/// So much of what ended is kept.
const MAX_ENDED: usize = 20_000;
/// A source that does not answer is believed for so long, in nanoseconds.
const BELIEVED_NS: u64 = 30_000_000_000;

/// What can be had by an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Address(IpAddr),
    Netns(u32),
}

/// An owner that is there.
struct Known {
    owner: Rc<Owner>,
    /// The list that it was told with, or after.
    list: u32,
}

/// The names.
#[derive(Default)]
pub(crate) struct Table {
    owners: HashMap<Id, Known>,
    places: HashMap<Place, Claims>,
    ended: VecDeque<(Time, Place)>,
    /// How many lists of a kind were begun.
    lists: HashMap<(NamesFrom, Kind), u32>,
    /// Kinds that have been told as a whole at least once.
    listed: HashSet<(NamesFrom, Kind)>,
    /// Since when a source does not answer.
    down: HashMap<NamesFrom, Time>,
    /// There were more owners than are kept.
    is_full: bool,
}

impl Table {
    /// Takes what a source tells; `now` is when.
    pub(crate) fn take(&mut self, change: Change, now: Time) {
        match change {
            Change::List(from, kind) => *self.lists.entry((from, kind)).or_default() += 1,
            Change::Has(owner) => self.has(*owner, now),
            Change::Gone(from, kind, uid) => {
                let uid = uid.into();
                self.gone(&Id { from, kind, uid }, now);
            }
            Change::Listed(from, kind) => self.sweep(from, kind, now),
            Change::Up(from) => {
                self.down.remove(&from);
            }
            Change::Down(from) => {
                self.down.entry(from).or_insert(now);
            }
            Change::Say(_) => {}
        }
        self.forget(now);
    }

    /// Whether all of this kind have been told at least once.
    pub(crate) fn has_listed(&self, from: NamesFrom, kind: Kind) -> bool {
        self.listed.contains(&(from, kind))
    }

    /// Whether owners were left out for want of room; asked once.
    pub(crate) fn has_become_full(&mut self) -> bool {
        std::mem::take(&mut self.is_full)
    }

    /// Whether this source has stopped answering.
    pub(crate) fn is_down(&self, from: NamesFrom) -> bool {
        self.down.contains_key(&from)
    }

    /// Who that is.
    pub(super) fn who(&self, from: NamesFrom, kind: Kind, uid: &str) -> Option<&Who> {
        let uid = uid.into();
        let known = self.owners.get(&Id { from, kind, uid })?;
        Some(&known.owner.who)
    }

    /// All that are there now.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.owners.values().map(|known| &*known.owner)
    }

    /// Who had this address then.
    pub(crate) fn of_address(&self, address: IpAddr, then: Time) -> Option<Named> {
        self.of(Place::Address(address), then)
    }

    /// Whose this network namespace was then.
    pub(crate) fn of_netns(&self, inode: u32, then: Time) -> Option<Named> {
        self.of(Place::Netns(inode), then)
    }

    fn of(&self, place: Place, then: Time) -> Option<Named> {
        let is_stale = |from: NamesFrom| {
            let down = self.down.get(&from);
            down.is_some_and(|since| then.nanos_since(*since) > BELIEVED_NS)
        };
        let mut in_force = self.places.get(&place)?.in_force(then);
        // Who still answers knows better than who does not.
        let is_any_fresh = in_force.iter().any(|owner| !is_stale(owner.from));
        in_force.retain(|owner| !is_any_fresh || !is_stale(owner.from));
        let mut named = claims::named(&in_force)?;
        named.stale = !is_any_fresh;
        Some(named)
    }

    fn has(&mut self, owner: Owner, now: Time) {
        let (from, kind) = (owner.from, owner.who.kind());
        let uid = Rc::from(&*owner.uid);
        let id = Id { from, kind, uid };
        let list = self.lists.get(&(from, kind)).copied().unwrap_or(0);
        let before = self.owners.get(&id).map(|known| known.owner.clone());
        if before.is_none() && self.owners.len() >= MAX_OWNERS {
            self.is_full = true;
            return;
        }
        // What the first list has was so before: this program came later.
        let since = if self.has_listed(from, kind) { now } else { Time(0) };
        let owner = Rc::new(owner);
        let places = places(&owner);
        for place in before.iter().flat_map(|before| places_of(before)) {
            if !places.contains(&place) {
                self.end(place, &id, now);
            }
        }
        for place in places {
            let claims = self.places.entry(place).or_default();
            claims.begin(id.clone(), owner.clone(), since);
        }
        self.owners.insert(id, Known { owner, list });
    }

    fn gone(&mut self, id: &Id, now: Time) {
        if let Some(known) = self.owners.remove(id) {
            for place in places(&known.owner) {
                self.end(place, id, now);
            }
        }
    }

    fn end(&mut self, place: Place, id: &Id, now: Time) {
        if self
            .places
            .get_mut(&place)
            .is_some_and(|claims| claims.end(id, now))
        {
            self.ended.push_back((now, place));
        }
    }

    /// Those that were not in the list are gone.
    fn sweep(&mut self, from: NamesFrom, kind: Kind, now: Time) {
        let list = self.lists.get(&(from, kind)).copied().unwrap_or(0);
        let is_missing = |id: &Id, known: &Known| id.from == from && id.kind == kind && known.list != list;
        let missing: Vec<Id> = self
            .owners
            .iter()
            .filter(|(id, known)| is_missing(id, known))
            .map(|(id, _)| id.clone())
            .collect();
        for id in missing {
            self.gone(&id, now);
        }
        self.listed.insert((from, kind));
    }

    /// Lets go what ended long ago, and of what ended since the oldest if it is too much.
    fn forget(&mut self, now: Time) {
        while let Some((at, place)) = self.ended.front().copied()
            && (self.ended.len() > MAX_ENDED || now.nanos_since(at) > KEPT_NS)
        {
            self.ended.pop_front();
            if let Some(claims) = self.places.get_mut(&place)
                && claims.forget(at)
            {
                self.places.remove(&place);
            }
        }
    }
}

fn places_of(owner: &Owner) -> impl Iterator<Item = Place> {
    let addresses = owner.addresses.iter().copied().map(Place::Address);
    addresses.chain(owner.netns.map(Place::Netns))
}

fn places(owner: &Owner) -> Vec<Place> {
    places_of(owner).collect()
}

#[cfg(test)]
mod tests;
