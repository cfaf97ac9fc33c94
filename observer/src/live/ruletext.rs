//! What the tools print of a namespace's rules, and the Services in it: asked for once for each ruleset, when a drop first
//! needs it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

use super::allowance::Allowance;
use super::clock;
use super::last::{Last, Wanted};
use super::line::Known;
use super::memory::release_after;
use super::model::Model;
use crate::attribute::tool;
use crate::report::record::{Backend, Flow, Packet, TableFamily, Tool};
use crate::ruleset::nftables::listing::{Family, InForce, ListedBy, Ruleset};
use crate::ruleset::text::Saved;
use crate::ruleset::{Place, Snapshot, Table};
use crate::trace::{KUBE_PROXY_MAPS, KUBE_PROXY_TABLE, Services};

/// So many outputs are kept.
const MOST: usize = 64;

/// So many models: of large rulesets they are large.
const MOST_MODELS: usize = 4;

/// So much is remembered to have been listed.
const MOST_SEEN: usize = 4096;

/// The outputs.
pub struct Ruletexts {
    serial: u64,
    known: Last<Rc<Ruletext>>,
    /// Tables of nf_tables' own.
    tables: Last<Rc<Ruletext>>,
    /// Large ones, which keep their model.
    large: Last<Rc<Ruletext>>,
    /// The same as models.
    models: Last<Listing>,
    /// Services of kube-proxy's tables in its nftables mode.
    kube_proxy: Last<Rc<Services>>,
    /// For all of these, when they are listed first, and later.
    allowances: [Allowance; 2],
    /// What was listed before.
    seen: HashSet<Wanted>,
}

/// A table of nf_tables as a model.
#[derive(Clone, Default)]
struct Listing {
    ruleset: Rc<Ruleset>,
    /// Whether the kernel listed it, and nothing of it is unknown.
    is_whole: bool,
}

/// One output, the Services in it, and its tables as they are evaluated.
#[derive(Default)]
pub struct Ruletext {
    /// The rules.
    pub saved: Saved,
    /// Another number than any other output's.
    pub serial: u64,
    services: Services,
    models: RefCell<HashMap<String, Option<Rc<Model>>>>,
    /// Whether it shows the snapshot's tables, by their index.
    fits: RefCell<HashMap<usize, bool>>,
}

impl Ruletext {
    #[cfg(test)]
    pub(super) fn of(saved: Saved) -> Self {
        Self {
            saved,
            ..Self::default()
        }
    }

    /// Whether it shows a table of its snapshot as it was read.
    fn fits(&self, index: usize, table: &Table) -> bool {
        let mut known = self.fits.borrow_mut();
        *known.entry(index).or_insert_with(|| self.saved.fits(table))
    }

    /// A table as a model, made when it is first asked for; `None` if it is none of iptables'.
    pub fn model(&self, table: &str) -> Option<Rc<Model>> {
        let mut models = self.models.borrow_mut();
        if let Some(known) = models.get(table) {
            return known.clone();
        }
        let texts = self.saved.table(table);
        let model = texts.and_then(|texts| Model::of(table, Rc::clone(texts)).map(Rc::new));
        models.insert(table.to_owned(), model.clone());
        model
    }
}

impl Default for Ruletexts {
    fn default() -> Self {
        Self {
            serial: 0,
            known: Last::new(MOST),
            tables: Last::new(MOST),
            large: Last::new(MOST_MODELS),
            models: Last::new(MOST_MODELS),
            kube_proxy: Last::new(MOST),
            allowances: [Allowance::default(), Allowance::again()],
            seen: HashSet::new(),
        }
    }
}

impl Ruletexts {
    /// For each table of a snapshot the output that shows it, for those tables that `places` speak of.
    pub fn of_places(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        places: &[Place],
    ) -> Vec<Option<Rc<Ruletext>>> {
        let mut texts: Vec<Option<Rc<Ruletext>>> = snapshot.tables.iter().map(|_| None).collect();
        for place in places {
            let Some(table) = snapshot.tables.get(place.table) else {
                continue;
            };
            if texts[place.table].is_none() {
                let text = if tool(table) == Tool::Nft || is_beyond_iptables(places, place.table, table) {
                    self.listed(known, snapshot, place.table, table)
                } else {
                    self.of(known, snapshot, table.backend, table.family)
                };
                texts[place.table] = Some(text).filter(|text| text.fits(place.table, table));
            }
        }
        texts
    }

    /// Name of the Service that a connection is for.
    pub fn service(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        flow: &Flow,
        packet: &Packet,
        family: TableFamily,
    ) -> Option<String> {
        let is_kube = |table: &&Table| {
            table.family == family && table.name == "nat" && table.chain("KUBE-SERVICES").is_some()
        };
        let mut tables = snapshot.tables.iter().filter(is_kube);
        tables
            .find_map(|table| {
                let text = self.of(known, snapshot, table.backend, family);
                text.services.of(flow, packet).map(str::to_owned)
            })
            .or_else(|| {
                let is_it = |(_, table): &(usize, &Table)| is_kube_proxy(table) && table.family == family;
                let (index, table) = snapshot.tables.iter().enumerate().find(is_it)?;
                let services = self.kube_proxy(known, snapshot, index, table)?;
                services.of(flow, packet).map(str::to_owned)
            })
    }

    /// The addresses of a Service in all of a snapshot's tables, also of one without endpoints; `None` where one of these cannot be listed
    /// now.
    pub fn addresses_of(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        service: &str,
    ) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for (index, table) in snapshot.tables.iter().enumerate() {
            if table.name == "nat" && table.chain("KUBE-SERVICES").is_some() {
                let text = self.of(known, snapshot, table.backend, table.family);
                if text.serial == 0 {
                    return None;
                }
                let mut without_endpoints = Services::default();
                without_endpoints.add(text.saved.rules("filter"));
                addresses.extend(text.services.addresses_of(service));
                addresses.extend(without_endpoints.addresses_of(service));
            } else if is_kube_proxy(table) {
                let services = self.kube_proxy(known, snapshot, index, table)?;
                addresses.extend(services.addresses_of(service));
            }
        }
        Some(addresses)
    }

    /// Services of kube-proxy's own table; `None` if it cannot be listed now.
    fn kube_proxy(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        index: usize,
        table: &Table,
    ) -> Option<Rc<Services>> {
        let wanted = one(snapshot, table);
        if let Some(services) = self.kube_proxy.get(&wanted, snapshot.generation) {
            return Some(services);
        }
        let listing = self.listing(known, snapshot, index)?;
        let mut services = Services::default();
        services.add_chains(table.chains.iter().map(|chain| chain.name.as_str()));
        let listed = listing.ruleset.tables.first();
        let maps = KUBE_PROXY_MAPS.iter().filter_map(|map| listed?.set(map));
        maps.for_each(|map| services.add_map(map));
        let services = Rc::new(services);
        self.kube_proxy
            .put(wanted, snapshot.generation, Rc::clone(&services));
        Some(services)
    }

    /// A table of nf_tables' own as a model; `None` if it cannot be listed, or is not in force any more.
    pub fn model(&mut self, known: &Known<'_>, snapshot: &Snapshot, index: usize) -> Option<Rc<Ruleset>> {
        self.listing(known, snapshot, index)
            .map(|listing| listing.ruleset)
    }

    /// Forgets the model of a table that was replaced, if this snapshot's is not known yet.
    pub fn forget_replaced(&mut self, known: &Known<'_>, snapshot: &Snapshot, table: &Table) {
        let wanted = one(snapshot, table);
        if self.models.get(&wanted, snapshot.generation).is_none() && known.is_in_force(snapshot) {
            self.models.forget(&wanted);
            self.large.forget(&wanted);
        }
    }

    fn listing(&mut self, known: &Known<'_>, snapshot: &Snapshot, index: usize) -> Option<Listing> {
        let table = snapshot.tables.get(index)?;
        if table.name.contains(char::REPLACEMENT_CHARACTER) {
            // That is not its name, but may be another table's.
            return None;
        }
        let wanted = one(snapshot, table);
        if let Some(listing) = self.models.get(&wanted, snapshot.generation) {
            return Some(listing);
        }
        let family = Family::named(table.family.name())?;
        let list = || InForce::of_table(snapshot.inode, family, &table.name);
        let listed = self.list(known, snapshot, wanted.clone(), list)?;
        let is_whole = |listed: &InForce| listed.by == ListedBy::Kernel && listed.unread.is_none();
        let listing = listed.map_or_else(Listing::default, |listed| Listing {
            is_whole: is_whole(&listed),
            ruleset: Rc::new(listed.ruleset),
        });
        self.models.put(wanted, snapshot.generation, listing.clone());
        release_after(table.rule_count());
        Some(listing)
    }

    /// A table of nf_tables as nft lists it: put together from the model; by nft itself where that is not whole, and where rules ask
    /// extensions of iptables, whose contents nft can tell. As for [`Self::of`].
    fn listed(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        index: usize,
        table: &Table,
    ) -> Rc<Ruletext> {
        let wanted = one(snapshot, table);
        let in_place = |of: &Last<Rc<Ruletext>>| of.get(&wanted, snapshot.generation);
        if let Some(text) = in_place(&self.tables).or_else(|| in_place(&self.large)) {
            return text;
        }
        self.forget_replaced(known, snapshot, table);
        let Some(listing) = self.listing(known, snapshot, index) else {
            return Rc::default();
        };
        let whole = Some(&listing.ruleset).filter(|_| listing.is_whole);
        let saved = match whole.and_then(|ruleset| Saved::of_ruleset(ruleset, table)) {
            Some((saved, false)) => saved,
            of_kernel => {
                let run = || Saved::run_nft(snapshot.inode, table);
                let Some(run) = self.list(known, snapshot, wanted.clone(), run) else {
                    return Rc::default();
                };
                run.or(of_kernel.map(|(saved, _)| saved)).unwrap_or_default()
            }
        };
        self.serial += 1;
        let text = Rc::new(Ruletext {
            saved,
            serial: self.serial,
            ..Ruletext::default()
        });
        let kept = if text.saved.keeps_model() {
            &mut self.large
        } else {
            &mut self.tables
        };
        kept.put(wanted, snapshot.generation, Rc::clone(&text));
        text
    }

    /// As [`in_force`], if there is time left for it.
    fn list<T>(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        wanted: Wanted,
        run: impl FnOnce() -> T,
    ) -> Option<T> {
        let [first, again] = &mut self.allowances;
        let is_again = self.seen.contains(&wanted);
        let allowance = if is_again { again } else { first };
        let began = clock::monotonic_ns();
        if !allowance.has_left(began) || !known.is_in_force(snapshot) {
            return None;
        }
        if self.seen.len() > MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(wanted);
        let listed = run();
        let spent = clock::monotonic_ns().saturating_sub(began);
        if known.is_in_force(snapshot) {
            allowance.spend(spent);
            return Some(listed);
        }
        allowance.spend_in_vain(spent);
        None
    }

    /// Empty if it cannot be asked for. It is what is in force now, so it says something of a snapshot only if that
    /// was in force before and still is.
    fn of(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        backend: Backend,
        family: TableFamily,
    ) -> Rc<Ruletext> {
        let wanted = (snapshot.inode, backend, family, String::new());
        if let Some(text) = self.known.get(&wanted, snapshot.generation) {
            return text;
        }
        if known.is_in_force(snapshot) {
            self.known.forget(&wanted);
        }
        let ask = || Saved::of(snapshot.inode, backend, family).unwrap_or_default();
        let Some(saved) = self.list(known, snapshot, wanted.clone(), ask) else {
            return Rc::default();
        };
        let mut services = Services::default();
        services.add(saved.rules("nat"));
        self.serial += 1;
        let text = Rc::new(Ruletext {
            saved,
            serial: self.serial,
            services,
            ..Ruletext::default()
        });
        self.known.put(wanted, snapshot.generation, Rc::clone(&text));
        text
    }
}

/// One table of a snapshot.
fn one(snapshot: &Snapshot, table: &Table) -> Wanted {
    (snapshot.inode, table.backend, table.family, table.name.clone())
}

/// Whether it is the table of kube-proxy's nftables mode.
fn is_kube_proxy(table: &Table) -> bool {
    table.backend == Backend::Nft && table.name == KUBE_PROXY_TABLE
}

/// Whether iptables-nft-save may show one of these rules of the table as if it asked less than it does: nft put it there.
fn is_beyond_iptables(places: &[Place], index: usize, table: &Table) -> bool {
    let its = places.iter().filter(|place| place.table == index);
    let mut rules = its.filter_map(|place| table.chains.get(place.chain)?.rules.get(place.rule?));
    rules.any(|rule| rule.beyond_iptables)
}

/// What a tool prints, if the snapshot was in force before it ran and still is.
pub fn in_force<T>(known: &Known<'_>, snapshot: &Snapshot, run: impl FnOnce() -> T) -> Option<T> {
    if !known.is_in_force(snapshot) {
        return None;
    }
    let saved = run();
    known.is_in_force(snapshot).then_some(saved)
}
