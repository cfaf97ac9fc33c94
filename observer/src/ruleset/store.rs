//! The snapshots of every namespace: the ones in force, and for a while the ones that were.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use observer_common::MAX_SLOTS;

use super::groups::Groups;
use super::ranges::Ranges;
use super::runs::Runs;
use super::snapshot::{Snapshot, Source};
use super::{Layout, nftables};
use crate::kernel::{Memory, Programs, Reader as _, Room, Symbols, Types, online_cpus, possible_cpus};

/// A namespace whose rulesets change while they are read is read again this often.
const TRIES: usize = 3;
/// How many old snapshots of a namespace are kept: drops on their way to us still refer to them.
const KEPT: usize = 16;
/// More namespaces than any machine has: a list that goes on longer is broken.
const MOST_NAMESPACES: usize = 65_536;

/// Every namespace's rulesets.
pub struct Store {
    layout: Layout,
    nft_net_id: Option<u32>,
    /// Known once nf_tables is there.
    nft_frees: Option<bool>,
    nets: HashMap<u64, Known>,
    /// Of the kernel's groups of counters.
    free: Ranges,
    /// Of the kernel's runs.
    free_runs: Ranges,
    /// Elements that the kernel has for the copies of one hook's counters; 0: paths are not watched.
    chunks: u32,
    free_slots: Vec<u32>,
    generation: u32,
    cpus: Vec<u32>,
    one_cpu: bool,
}

struct Known {
    slot: u32,
    current: Rc<Snapshot>,
    old: VecDeque<Rc<Snapshot>>,
}

impl Store {
    /// An empty store for programs with so much room.
    pub fn new(room: Room) -> Self {
        Self {
            layout: Layout::default(),
            nft_net_id: None,
            nft_frees: None,
            nets: HashMap::new(),
            free: Ranges::new(room.groups),
            free_runs: Ranges::new(room.runs),
            chunks: room.chunks,
            free_slots: (0..MAX_SLOTS).rev().collect(),
            generation: 0,
            cpus: online_cpus(),
            one_cpu: possible_cpus() <= 1,
        }
    }

    /// Finds offsets that were not known before: call at start and when a module was loaded.
    pub fn refresh_layout(&mut self, types: &mut Types, symbols: &Symbols, programs: &Programs) {
        self.layout.refresh(types);
        if self.nft_net_id.is_none() {
            let at = symbols.data("nf_tables_net_id");
            self.nft_net_id = at.and_then(|at| programs.memory.u32(at));
        }
        if self.nft_frees.is_none() {
            self.nft_frees = nftables::frees(&programs.memory, symbols);
            match self.nft_frees {
                Some(true) => log::debug!("nft_do_chain frees what it drops"),
                Some(false) => log::debug!("nft_do_chain leaves what it drops to nf_hook_slow"),
                None => log::debug!("whether nft_do_chain frees what it drops is not known"),
            }
        }
    }

    /// Forgets what was read in modules: call when one went, also if it has come back.
    pub fn forget_modules(&mut self) {
        self.nft_net_id = None;
    }

    /// What is known of where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads every namespace of the machine. Returns how many there are.
    pub fn read_all(&mut self, programs: &mut Programs, symbols: &Symbols) -> usize {
        let nets = self.list(programs);
        for net in &nets {
            if !self.is_current(programs, symbols, *net) {
                self.read_listed(programs, symbols, *net);
            }
        }
        let gone: Vec<u64> = self
            .nets
            .keys()
            .copied()
            .filter(|net| !nets.contains(net))
            .collect();
        gone.into_iter().for_each(|net| self.forget(programs, net));
        nets.len()
    }

    /// Addresses of every `struct net`: they are a ring through `net.list`, in which the head is no namespace.
    fn list(&self, programs: &Programs) -> Vec<u64> {
        let memory = &programs.memory;
        let (Some(layout), Some(own)) = (&self.layout.net, memory.current_net()) else {
            return Vec::new();
        };
        // A real namespace has the same operations as ours.
        let operations = layout.ops.and_then(|ops| memory.u64(own + ops));
        let mut found = vec![own];
        let mut at = memory.u64(own + layout.list);
        while let Some(next) = at.filter(|next| *next != own + layout.list) {
            let net = next.wrapping_sub(layout.list);
            if layout.ops.and_then(|ops| memory.u64(net + ops)) == operations {
                found.push(net);
            }
            if found.len() > MOST_NAMESPACES {
                break;
            }
            at = memory.u64(next);
        }
        found
    }

    /// Reads a namespace if it changed since it was last read, and puts what it read in force; forgets it if it is gone.
    /// True if there was something new.
    pub fn read(&mut self, programs: &mut Programs, symbols: &Symbols, net: u64) -> bool {
        if self.is_current(programs, symbols, net) {
            return false;
        }
        if self.list(programs).contains(&net) {
            return self.read_listed(programs, symbols, net);
        }
        self.forget(programs, net);
        false
    }

    fn is_current(&self, programs: &Programs, symbols: &Symbols, net: u64) -> bool {
        self.nets.get(&net).is_some_and(|known| {
            programs.nets.is_known(net, known.current.generation)
                && !known.current.is_stale(&self.source(&programs.memory, symbols))
        })
    }

    /// Reads a namespace and puts what it read in force.
    ///
    /// The kernel frees a replaced table's counters, and may give the next table the same addresses: that the addresses
    /// are the same proves nothing. So the counters are watched first, and what is put in force is what was read while
    /// they were watched and none of them was freed (of nf_tables: what was still in force then). Whether one was is known
    /// only afterwards: what the kernel side compared until then is void if so.
    fn read_listed(&mut self, programs: &mut Programs, symbols: &Symbols, net: u64) -> bool {
        for _ in 0..TRIES {
            let Some(before) = Snapshot::read(&self.source(&programs.memory, symbols), net) else {
                return false;
            };
            let blocks = before.blocks.clone();
            blocks.iter().for_each(|block| programs.watch_block(*block, net));
            let Some(snapshot) = Snapshot::read_again(&self.source(&programs.memory, symbols), before) else {
                return false;
            };
            if snapshot.blocks != blocks {
                continue;
            }
            let told = self.put_in_force(programs, snapshot);
            if blocks.iter().all(|block| programs.is_watched(*block)) {
                return true;
            }
            if told {
                self.make_void(programs, net);
            }
        }
        // It does not stand still: nothing is compared until it does.
        programs.nets.stop_comparing(net);
        false
    }

    /// What the kernel side compares with the namespace's reading, and has compared, says nothing: no record finds the
    /// snapshot that it was compared with any more.
    fn make_void(&mut self, programs: &mut Programs, net: u64) {
        programs.nets.stop_comparing(net);
        self.generation = next(self.generation);
        if let Some(known) = self.nets.get_mut(&net)
            && let Some(snapshot) = Rc::get_mut(&mut known.current)
        {
            snapshot.generation = self.generation;
        }
    }

    /// Whether a snapshot is what is in force right now.
    pub fn is_in_force(&self, programs: &Programs, symbols: &Symbols, snapshot: &Snapshot) -> bool {
        programs.nets.is_known(snapshot.net, snapshot.generation)
            && !snapshot.is_stale(&self.source(&programs.memory, symbols))
    }

    fn source<'a>(&'a self, memory: &'a Memory, symbols: &'a Symbols) -> Source<'a, Memory> {
        Source {
            memory,
            symbols,
            layout: &self.layout,
            nft_net_id: self.nft_net_id,
            one_cpu: self.one_cpu,
            nft_frees: self.nft_frees.unwrap_or(false),
        }
    }

    /// True if the kernel side was told of it.
    fn put_in_force(&mut self, programs: &mut Programs, mut snapshot: Snapshot) -> bool {
        let net = snapshot.net;
        if self
            .nets
            .get(&net)
            .is_some_and(|known| known.current.inode != snapshot.inode)
        {
            // Another namespace at the same address.
            self.forget(programs, net);
        }
        let slot = match self.nets.get(&net) {
            Some(known) => known.slot,
            None => match self.free_slots.pop() {
                Some(slot) => slot,
                None => {
                    log::warn!(
                        "more than {MAX_SLOTS} network namespaces: {} is not watched",
                        snapshot.inode
                    );
                    return false;
                }
            },
        };
        let Groups { groups, order } = snapshot.compared();
        let count = u32::try_from(groups.len()).unwrap_or(u32::MAX);
        let Some(first) = self.free.allocate(count) else {
            log::warn!(
                "no room for {count} groups of rule counters of namespace {}: its drops are named less surely",
                snapshot.inode
            );
            return false;
        };
        self.generation = next(self.generation);
        snapshot.generation = self.generation;
        snapshot.groups = (first, count);
        snapshot.order = order;
        if let Err(error) = programs.set_groups(first, &groups) {
            log::warn!("{error:#}");
            return false;
        }
        self.choose_runs(programs, &mut snapshot);
        self.switch(programs, slot, Rc::new(snapshot))
    }

    /// Chooses what is compared while a packet is in a hook.
    fn choose_runs(&mut self, programs: &mut Programs, snapshot: &mut Snapshot) {
        if self.chunks == 0 {
            return;
        }
        let runs = Runs::of(&snapshot.tables, self.chunks);
        let first = u32::try_from(runs.runs.len())
            .ok()
            .and_then(|count| self.free_runs.allocate(count));
        let Some(first) = first else {
            return log::warn!(
                "no room for the counters of namespace {}: paths there show no rules",
                snapshot.inode
            );
        };
        if let Err(error) = programs.set_runs(first, &runs.runs) {
            self.free_runs.release(first, runs.runs.len());
            return log::warn!("{error:#}");
        }
        snapshot.first_run = first;
        snapshot.runs = runs;
    }

    /// Makes the kernel side compare with a new snapshot, and takes its baselines. Its counters are watched already: to
    /// watch them again here would hide that one was freed meanwhile.
    fn switch(&mut self, programs: &mut Programs, slot: u32, snapshot: Rc<Snapshot>) -> bool {
        let net = snapshot.net;
        if let Some(known) = self.nets.get(&net) {
            // Of counters that are not watched nothing is compared, not even for a moment.
            programs.nets.stop_comparing(net);
            known
                .current
                .blocks
                .difference(&snapshot.blocks)
                .for_each(|block| programs.forget_block(*block));
        }
        if let Err(error) = programs.nets.set(&snapshot.state(slot)) {
            log::warn!("{error:#}");
            return false;
        }
        for cpu in programs.take_baseline(net, &self.cpus) {
            log::warn!(
                "no baseline of namespace {} on CPU {cpu}: drops there are named less surely",
                snapshot.inode
            );
        }
        let known = self.nets.remove(&net);
        let mut old = known.as_ref().map(|known| known.old.clone()).unwrap_or_default();
        if let Some(known) = known {
            self.release_groups(&known.current);
            self.free_runs
                .release(known.current.first_run, known.current.runs.runs.len());
            old.push_front(known.current);
            old.truncate(KEPT);
        }
        self.nets.insert(
            net,
            Known {
                slot,
                current: snapshot,
                old,
            },
        );
        true
    }

    fn release_groups(&mut self, of: &Snapshot) {
        let (first, count) = of.groups;
        self.free.release(first, count as usize);
    }

    /// Takes every namespace's baseline anew.
    pub fn take_baselines(&self, programs: &Programs) {
        for net in self.nets.keys() {
            programs.take_baseline(*net, &self.cpus);
        }
    }

    /// Takes baselines anew where counters were not looked at for each drop.
    pub fn catch_up(&self, programs: &Programs) {
        for (net, known) in &self.nets {
            let mut cpus = programs.fallen_behind(known.slot);
            cpus.retain(|cpu| self.cpus.contains(cpu));
            programs.take_baseline(*net, &cpus);
        }
    }

    fn forget(&mut self, programs: &mut Programs, net: u64) {
        let Some(known) = self.nets.remove(&net) else {
            return;
        };
        programs.nets.forget(net);
        known
            .current
            .blocks
            .iter()
            .for_each(|block| programs.forget_block(*block));
        self.release_groups(&known.current);
        self.free_runs
            .release(known.current.first_run, known.current.runs.runs.len());
        self.free_slots.push(known.slot);
    }

    /// The snapshot in force of a namespace.
    pub fn current(&self, net: u64) -> Option<&Rc<Snapshot>> {
        self.nets.get(&net).map(|known| &known.current)
    }

    /// The snapshot that a drop was compared with.
    pub fn at(&self, net: u64, generation: u32) -> Option<&Rc<Snapshot>> {
        let known = self.nets.get(&net)?;
        std::iter::once(&known.current)
            .chain(&known.old)
            .find(|snapshot| snapshot.generation == generation)
    }

    /// The snapshot that was read while nf_tables had this generation.
    pub fn with_nft_seq(&self, net: u64, seq: u32) -> Option<&Rc<Snapshot>> {
        let known = self.nets.get(&net)?;
        std::iter::once(&known.current)
            .chain(&known.old)
            .find(|snapshot| snapshot.nft_seq.1 == seq)
    }

    /// Every namespace's snapshot in force.
    pub fn all(&self) -> impl Iterator<Item = &Rc<Snapshot>> {
        self.nets.values().map(|known| &known.current)
    }
}

/// The number of the next reading; 0 is none's.
fn next(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}
