//! What one namespace had in force at one moment, and what the kernel side must know of it.

use std::collections::BTreeSet;

use observer_common::{HookRuns, LegacyTable, MAX_TABLES, NO_TABLE, NetState};

use super::groups::Groups;
use super::hooks::{HookFunction, Hooks};
use super::layout::{Layout, NetLayout, NftLayout, SeqLayout, XtLayout};
use super::nftables::Expressions;
use super::runs::Runs;
use super::xtables::Location;
use super::{Counter, Ending, Index, Policy, Step, Table, nftables, xtables};
use crate::kernel::raw::u64_at;
use crate::kernel::{Reader, Symbols};
use crate::report::record::Backend;

/// A ruleset that changes while it is read is read again this often.
const TRIES: usize = 4;
/// More counters of nf_tables than this are not watched one by one, where only they say that a ruleset is another.
const MOST_WATCHED: usize = 8192;
/// Where its generation says so at each drop, so many of those that cannot drop are enough: the first that is freed calls for a look.
const FEW_WATCHED: usize = 128;
/// `XT_PCPU_BLOCK_SIZE`: legacy counters lie in blocks of this size, aligned to it.
const XT_BLOCK_BYTES: u64 = 4096;

/// What a namespace had in force.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Address of its `struct net`.
    pub net: u64,
    /// Its inode.
    pub inode: u32,
    /// Which reading this is; set when it is put in force.
    pub generation: u32,
    /// Index of its first group of counters in the kernel's map, and how many there are; set when it is put in force.
    pub groups: (u32, u32),
    /// By the number that the kernel side gives a counter: whose it is, an index of `places`; set when it is put in force.
    pub order: Vec<usize>,
    /// Its hooks.
    pub hooks: Hooks,
    /// Its tables, legacy ones first.
    pub tables: Vec<Table>,
    /// Where each legacy table lies; `None` for nf_tables.
    pub locations: Vec<Option<Location>>,
    /// Legacy tables that hooks call and that could not be read: where the pointer to what each holds lies, and its value from before
    /// the attempt. Most often the table was being replaced: then the pointer says so.
    pub unread: Vec<(u64, u64)>,
    /// What can end a packet and has a counter.
    pub places: Vec<Place>,
    /// What can end a packet and has no counter.
    pub uncounted: Vec<Place>,
    /// Address and value of the nf_tables generation; address 0 if unknown.
    pub nft_seq: (u64, u32),
    /// `net.nft.gencursor`: which of each chain's two sets of rules is in force. A commit counts the generation first, and
    /// turns this over a moment later (`nf_tables_commit`, net/netfilter/nf_tables_api.c).
    pub nft_cursor: u8,
    /// Index of its first run in the kernel's map.
    pub first_run: u32,
    /// What is compared while a packet is in a hook.
    pub runs: Runs,
    /// Whether nf_tables frees by itself what it drops.
    pub nft_frees: bool,
    /// Where nf_tables' rules lie, and what evaluates them.
    pub expressions: Expressions,
    /// What is looked up in its tables.
    pub index: Index,
    /// Per-CPU allocations that are watched: their freeing says that this is no longer in force. Of x_tables all of them, of nf_tables
    /// the counters of what surely drops, and of the others the first.
    pub blocks: BTreeSet<u64>,
}

/// A rule, or a base chain's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of its table.
    pub table: usize,
    /// Index of its chain.
    pub chain: usize,
    /// Index of the rule; `None`: the policy.
    pub rule: Option<usize>,
    /// Whether every packet that it counts dies.
    pub ending: Ending,
}

/// What is needed to read a namespace.
pub struct Source<'a, R> {
    /// Kernel memory.
    pub memory: &'a R,
    /// Names of functions.
    pub symbols: &'a Symbols,
    /// Offsets.
    pub layout: &'a Layout,
    /// `*nf_tables_net_id`, if it is known.
    pub nft_net_id: Option<u32>,
    /// Whether only one CPU is possible.
    pub one_cpu: bool,
    /// Whether nf_tables frees by itself what it drops.
    pub nft_frees: bool,
}

impl Snapshot {
    /// Reads the namespace at `net`; `None` if there is none, or it does not stand still.
    pub fn read(source: &Source<'_, impl Reader>, net: u64) -> Option<Self> {
        (0..TRIES).find_map(|_| Self::try_read(source, net, None))
    }

    /// Reads the namespace once more. What nf_tables has there is taken over if its generation says that it is the same: a commit
    /// counts it before anything of the old rules is freed, and no number comes twice. x_tables has no such number: its tables are
    /// taken over if every byte is the same.
    pub fn read_again(source: &Source<'_, impl Reader>, before: Self) -> Option<Self> {
        let net = before.net;
        let is_numbered = before.nft_seq.0 != 0 && before.legacy_count() == 0;
        if is_numbered && !before.is_stale(source) {
            return Some(before);
        }
        Self::try_read(source, net, Some(before)).or_else(|| Self::read(source, net))
    }

    fn try_read(source: &Source<'_, impl Reader>, net: u64, before: Option<Self>) -> Option<Self> {
        let layout = source.layout.net.as_ref()?;
        let mut before = before;
        let mut snapshot = Self {
            net,
            inode: source.memory.u32(net + layout.inum)?,
            hooks: Hooks::read(source.memory, source.symbols, layout, net)?,
            nft_seq: source.nft_seq(net),
            nft_cursor: source.nft_cursor(net),
            nft_frees: source.nft_frees,
            ..Self::default()
        };
        snapshot.read_legacy(source, before.as_mut());
        match before.filter(|before| snapshot.has_nft_of(before)) {
            Some(before) => snapshot.take_nft(before),
            None => snapshot.read_nft(source),
        }
        snapshot.collect();
        snapshot.blocks = snapshot.choose_blocks();
        snapshot.is_current(source, layout).then_some(snapshot)
    }

    /// Reads the tables of x_tables, or takes them out of an earlier reading.
    fn read_legacy(&mut self, source: &Source<'_, impl Reader>, mut before: Option<&mut Self>) {
        let Some(layout) = &source.layout.xtables else {
            return;
        };
        let mut seen = BTreeSet::new();
        for function in self
            .hooks
            .functions
            .iter()
            .filter(|function| is_legacy(&function.name))
        {
            if !seen.insert(function.private) {
                continue;
            }
            let before = before
                .as_mut()
                .and_then(|before| before.take_legacy(source, layout, function));
            let pointer = xtables::pointer(source.memory, layout, function.private);
            let read = before.or_else(|| {
                xtables::read(
                    source.memory,
                    layout,
                    function.private,
                    function.family,
                    source.one_cpu,
                )
            });
            match read {
                Some((mut table, location)) => {
                    set_priorities(&mut table, &self.hooks, function.private);
                    self.tables.push(table);
                    self.locations.push(Some(location));
                }
                None => self.unread.push(pointer),
            }
        }
    }

    /// Takes out the table of a function, if it is the same still. What is left in its place is no table of it any more.
    fn take_legacy(
        &mut self,
        source: &Source<'_, impl Reader>,
        layout: &XtLayout,
        function: &HookFunction,
    ) -> Option<(Table, Location)> {
        let mut places = self.locations.iter_mut().zip(&mut self.tables);
        let (location, table) = places.find(|(location, table)| {
            table.family == function.family
                && location.as_ref().is_some_and(|location| {
                    xtables::is_same(source.memory, layout, function.private, location)
                })
        })?;
        let rules = std::mem::take(&mut table.chains);
        let table = Table {
            chains: rules,
            ..table.clone()
        };
        Some((table, location.take()?))
    }

    fn read_nft(&mut self, source: &Source<'_, impl Reader>) {
        let Some(layout) = &source.layout.nft else { return };
        let xtables = source.layout.xtables.as_ref();
        let reading = nftables::read(
            source.memory,
            source.symbols,
            layout,
            xtables,
            self.net,
            &self.hooks.functions,
        );
        self.expressions = Expressions::new(self.tables.len(), reading.expressions);
        self.locations.extend(reading.tables.iter().map(|_| None));
        self.tables.extend(reading.tables);
    }

    /// Whether nf_tables' rules are surely those of an earlier reading. A socket that closes takes its tables with it and counts no
    /// generation (`nft_rcv_nl_event`), but their hooks go.
    fn has_nft_of(&self, before: &Self) -> bool {
        self.nft_seq.0 != 0
            && (self.nft_seq, self.nft_cursor) == (before.nft_seq, before.nft_cursor)
            && self.hooks == before.hooks
            && self.tables.len() == before.legacy_count()
    }

    fn legacy_count(&self) -> usize {
        let legacy = self
            .tables
            .iter()
            .filter(|table| table.backend == Backend::Legacy);
        legacy.count()
    }

    fn take_nft(&mut self, mut before: Self) {
        let tables = before.tables.split_off(self.tables.len());
        self.locations.extend(tables.iter().map(|_| None));
        self.tables.extend(tables);
        self.expressions = before.expressions;
    }

    /// Finds what can end a packet.
    fn collect(&mut self) {
        for (table_index, table) in self.tables.iter().enumerate() {
            for (chain_index, chain) in table.chains.iter().enumerate() {
                for (rule_index, rule) in chain
                    .rules
                    .iter()
                    .enumerate()
                    .filter(|(_, rule)| rule.step.can_drop())
                {
                    let ending = if rule.step == Step::Drop {
                        Ending::Certain
                    } else {
                        Ending::Possible
                    };
                    let place = Place {
                        table: table_index,
                        chain: chain_index,
                        rule: Some(rule_index),
                        ending,
                    };
                    if rule.counter.is_some() {
                        &mut self.places
                    } else {
                        &mut self.uncounted
                    }
                    .push(place);
                }
                if let Some(base) = chain.base.as_ref().filter(|base| base.policy == Policy::Drop) {
                    let place = Place {
                        table: table_index,
                        chain: chain_index,
                        rule: None,
                        ending: Ending::Certain,
                    };
                    if base.counter.is_some() {
                        &mut self.places
                    } else {
                        &mut self.uncounted
                    }
                    .push(place);
                }
            }
        }
    }

    /// Whether the namespace is still as it was read.
    fn is_current(&self, source: &Source<'_, impl Reader>, layout: &NetLayout) -> bool {
        let lists = (0..).zip(self.hooks.lists);
        let lists = lists.map(|(index, list)| (self.net + layout.hooks + 8 * index, list));
        let locations = self.locations.iter().flatten();
        let tables = locations.map(|location| (location.legacy.private_at, location.legacy.private));
        let words: Vec<(u64, u64)> = lists
            .chain(self.hooks.others.iter().copied())
            .chain(tables)
            .chain(self.unread.iter().copied())
            .collect();
        let pieces: Vec<(u64, usize)> = words.iter().map(|(at, _)| (*at, 8)).collect();
        let now = source.memory.gather(&pieces);
        // What cannot be read is no list and no table.
        let word = |index| now.get(index).and_then(|bytes| u64_at(bytes, 0)).unwrap_or(0);
        let mut words = words.iter().enumerate();
        words.all(|(index, (_, read))| word(index) == *read)
            && source.nft_seq(self.net) == self.nft_seq
            && source.nft_cursor(self.net) == self.nft_cursor
            && source
                .layout
                .nft
                .as_ref()
                .is_none_or(|nft| nftables::has_bases(source.memory, nft, &self.tables))
    }

    /// Whether it is worth reading again.
    pub fn is_stale(&self, source: &Source<'_, impl Reader>) -> bool {
        source
            .layout
            .net
            .as_ref()
            .is_some_and(|layout| !self.is_current(source, layout))
    }

    /// Whether a place is one of those with a counter. They are in order, policies behind the rules of their chains.
    pub fn is_counted(&self, place: &Place) -> bool {
        let key = |place: &Place| (place.table, place.chain, place.rule.unwrap_or(usize::MAX));
        let found = self.places.binary_search_by_key(&key(place), key);
        found.is_ok_and(|at| self.places.get(at) == Some(place))
    }

    /// The places' counters as the kernel side compares them.
    pub fn compared(&self) -> Groups {
        let counters: Vec<(Counter, u32)> = self
            .places
            .iter()
            .filter_map(|place| {
                let is_legacy = self.tables.get(place.table)?.backend == Backend::Legacy;
                let table = u32::try_from(place.table).ok().filter(|_| is_legacy);
                Some((self.counter(place)?, table.unwrap_or(NO_TABLE)))
            })
            .collect();
        Groups::of(&counters)
    }

    /// What the kernel side has given this number.
    pub fn place(&self, number: u32) -> Option<&Place> {
        self.places.get(*self.order.get(number as usize)?)
    }

    /// The counter of a rule or policy.
    pub fn counter(&self, place: &Place) -> Option<Counter> {
        let chain = self.tables.get(place.table)?.chains.get(place.chain)?;
        match place.rule {
            Some(rule) => chain.rules.get(rule)?.counter,
            None => chain.base.as_ref()?.counter,
        }
    }

    /// Whether a place of an older snapshot is the same rule in this one: the same counter at the same place.
    pub fn same_place(&self, older: &Self, place: &Place) -> bool {
        let name = |of: &Self| {
            let table = of.tables.get(place.table)?;
            Some((table.name.clone(), table.chains.get(place.chain)?.name.clone()))
        };
        older.counter(place).is_some()
            && self.counter(place) == older.counter(place)
            && name(self) == name(older)
    }

    /// Whether a place has a counter that is freed without notice: once the rules are replaced, what it says may be of another's.
    pub fn is_unwatched(&self, place: &Place) -> bool {
        let counter = self.counter(place).filter(|counter| !counter.plain);
        counter.is_some_and(|counter| !self.blocks.contains(&block_of(&counter)))
    }

    /// Where nf_tables' generation is known, it says at each drop whether this is still in force: then of counters that are not
    /// compared, or prove little alone, a few of each table are enough to call for a look.
    fn choose_blocks(&self) -> BTreeSet<u64> {
        let most = if self.nft_seq.0 == 0 {
            MOST_WATCHED
        } else {
            FEW_WATCHED
        };
        let mut blocks = BTreeSet::new();
        for (ending, most) in [(Ending::Certain, MOST_WATCHED), (Ending::Possible, most)] {
            let places = self.places.iter().filter(|place| place.ending == ending);
            let counters = places.filter_map(|place| self.counter(place));
            let of_nft = counters.filter(|counter| !counter.plain && counter.bytes_first);
            blocks.extend(of_nft.take(most).map(|counter| block_of(&counter)));
        }
        for table in &self.tables {
            let most = if table.backend == Backend::Legacy {
                usize::MAX
            } else {
                most
            };
            blocks.extend(counters_of(table).take(most).map(|counter| block_of(&counter)));
        }
        blocks
    }

    /// What the kernel side needs to know.
    pub fn state(&self, slot: u32) -> NetState {
        let mut tables = [LegacyTable::default(); MAX_TABLES];
        for (to, location) in tables.iter_mut().zip(self.locations.iter().flatten()) {
            *to = location.legacy;
        }
        NetState {
            net: self.net,
            inode: self.inode,
            generation: self.generation,
            slot,
            first: self.groups.0,
            count: self.groups.1,
            nft_seq: self.nft_seq.0,
            nft_seq_value: self.nft_seq.1,
            hooks: self.hooks.lists,
            tables,
            runs: self.runs.hooks.map(|runs| HookRuns {
                first: runs.first + self.first_run,
                ..runs
            }),
        }
    }
}

/// The allocation that a per-CPU counter lies in.
fn block_of(counter: &Counter) -> u64 {
    if counter.bytes_first {
        counter.address
    } else {
        counter.address & !(XT_BLOCK_BYTES - 1)
    }
}

/// The per-CPU counters of a table, rules' first.
fn counters_of(table: &Table) -> impl Iterator<Item = Counter> {
    let rules = table
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .filter_map(|rule| rule.counter);
    let policies = table
        .chains
        .iter()
        .filter_map(|chain| chain.base.as_ref()?.counter);
    rules.chain(policies).filter(|counter| !counter.plain)
}

impl<R: Reader> Source<'_, R> {
    /// `net.nft.gencursor`; 0 if unknown.
    fn nft_cursor(&self, net: u64) -> u8 {
        let nft = self.layout.nft.as_ref();
        nft.and_then(|nft| self.memory.u8(net + nft.gencursor))
            .unwrap_or(0)
    }

    /// Address and value of the nf_tables generation of a namespace; zeroes if unknown.
    fn nft_seq(&self, net: u64) -> (u64, u32) {
        self.find_seq(net).unwrap_or((0, 0))
    }

    fn find_seq(&self, net: u64) -> Option<(u64, u32)> {
        let NftLayout { seq, .. } = self.layout.nft.as_ref()?;
        let at = match (*seq)? {
            SeqLayout::InNet(offset) => net + offset,
            SeqLayout::PerNet(offset) => {
                // net_generic(), include/net/netns/generic.h
                let generic = self.memory.u64(net + self.layout.net.as_ref()?.generic?)?;
                self.memory.u64(generic + 8 * u64::from(self.nft_net_id?))? + offset
            }
        };
        Some((at, self.memory.u32(at)?))
    }
}

/// Functions whose private pointer is an `xt_table`. Mangle has a wrapper of its own.
fn is_legacy(name: &str) -> bool {
    matches!(
        name,
        "ipt_do_table" | "ip6t_do_table" | "iptable_mangle_hook" | "ip6table_mangle_hook"
    )
}

fn set_priorities(table: &mut Table, hooks: &Hooks, private: u64) {
    for base in table.chains.iter_mut().filter_map(|chain| chain.base.as_mut()) {
        let is_it = |function: &&HookFunction| function.private == private && function.hook == base.hook;
        base.priority = hooks
            .functions
            .iter()
            .find(is_it)
            .and_then(|function| function.priority)
            .unwrap_or(0);
    }
}

#[cfg(test)]
mod tests;
