//! Which counters to compare while a packet is in a hook: those of every rule and policy that the hook leads to, in
//! runs of counters that lie side by side, so that the kernel side reads many at once.
//!
//! x_tables gives a table's counters out one after the other (`xt_percpu_counter_alloc`, net/netfilter/x_tables.c);
//! those of nf_tables are allocated one by one, and mostly lie side by side all the same.

use observer_common::{
    CHUNK_BYTES, HookRuns, MAX_HOOKS, MAX_TABLES, NO_TABLE, RUN_SLOTS, Run, SLOT_BYTES, candidate,
};

use super::hooks::INET_HOOKS;
use super::{Chain, Counter, Table};
use crate::report::record::{Backend, Hook, TableFamily};

/// Counters so far apart are still read together.
const GAP_BYTES: u64 = 8 * SLOT_BYTES as u64;
/// Bytes of the longest run.
const RUN_BYTES: u32 = RUN_SLOTS * SLOT_BYTES;

/// A rule, or the policy of a base chain, that a slot's counter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Index of the table.
    pub table: u32,
    /// Index of the chain.
    pub chain: u32,
    /// Index of the rule; `None`: the policy.
    pub rule: Option<u32>,
    /// Whether its counter has the bytes first.
    pub bytes_first: bool,
}

/// What the kernel side compares in each hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// The runs, by hook; their numbers in [`HookRuns`] begin with 0.
    pub runs: Vec<Run>,
    /// By hook, in the order of `net->nf.hooks_ipv4` and `hooks_ipv6`.
    pub hooks: [HookRuns; MAX_HOOKS],
    /// What each slot counts; `None` for what lies between two counters.
    pub slots: Vec<Option<Slot>>,
}

impl Runs {
    /// Chooses the runs. `chunks`: how many elements the kernel side has for the copies of one hook.
    pub fn of(tables: &[Table], chunks: u32) -> Self {
        let mut runs = Self::default();
        let legacy = legacy_count(tables);
        for list in 0..MAX_HOOKS {
            let hook = INET_HOOKS[list % INET_HOOKS.len()];
            let is_v6 = list >= INET_HOOKS.len();
            let first = runs.runs.len();
            let mut room = Room::new(chunks);
            let count = runs.add(counters(tables, hook, is_v6, false), legacy, &mut room);
            let nat_count = runs.add(counters(tables, hook, is_v6, true), legacy, &mut room);
            runs.hooks[list] = HookRuns {
                first: u32::try_from(first).unwrap_or(0),
                count,
                nat_count,
                cut: u32::from(room.is_cut),
                tables: asked(tables, legacy, hook, is_v6, false),
                nat_tables: asked(tables, legacy, hook, is_v6, true),
                has_nft: u32::from(
                    tables
                        .iter()
                        .any(|table| table.backend != Backend::Legacy && is_asked(table, hook, is_v6)),
                ),
            };
        }
        runs
    }

    /// Adds counters, sorted by address; returns how many runs they took. `legacy`: how many tables are of x_tables.
    fn add(&mut self, counters: Vec<(Counter, Slot)>, legacy: u32, room: &mut Room) -> u32 {
        let before = self.runs.len();
        let mut rest = &counters[..];
        while !rest.is_empty() {
            let (this, after) = rest.split_at(side_by_side(rest, legacy));
            self.add_run(this, legacy, room);
            rest = after;
        }
        u32::try_from(self.runs.len() - before).unwrap_or(0)
    }

    fn add_run(&mut self, counters: &[(Counter, Slot)], legacy: u32, room: &mut Room) {
        let (Some((first, slot)), Some((last, _))) = (counters.first(), counters.last()) else {
            return;
        };
        let slots = ((last.address - first.address) / u64::from(SLOT_BYTES)) as u32 + 1;
        let Some((chunk, offset)) = room.take(slots * SLOT_BYTES) else {
            return;
        };
        let Ok(first_slot) = u32::try_from(self.slots.len()) else {
            return;
        };
        self.runs.push(Run {
            address: first.address,
            first_slot,
            slots,
            chunk,
            offset,
            flags: if first.plain { candidate::NOT_PER_CPU } else { 0 },
            table: if slot.table < legacy { slot.table } else { NO_TABLE },
        });
        self.slots.resize(self.slots.len() + slots as usize, None);
        for (counter, slot) in counters {
            let at =
                first_slot as usize + ((counter.address - first.address) / u64::from(SLOT_BYTES)) as usize;
            self.slots[at] = Some(*slot);
        }
    }
}

/// How many tables are of x_tables: they come first.
fn legacy_count(tables: &[Table]) -> u32 {
    let legacy = tables.iter().take_while(|table| table.backend == Backend::Legacy);
    legacy.fold(0, |count, _| count + 1)
}

/// The x_tables tables that a hook asks, by their place: the nat table or all others.
fn asked(tables: &[Table], legacy: u32, hook: Hook, is_v6: bool, of_nat: bool) -> u32 {
    let bits = tables.iter().take(legacy as usize).take(MAX_TABLES).enumerate();
    bits.filter(|(_, table)| (table.name == "nat") == of_nat && is_asked(table, hook, is_v6))
        .fold(0, |bits, (place, _)| bits | 1 << place)
}

/// Room for the copies of one hook.
struct Room {
    chunks: u32,
    chunk: u32,
    offset: u32,
    is_cut: bool,
}

impl Room {
    fn new(chunks: u32) -> Self {
        Self {
            chunks,
            chunk: 0,
            offset: 0,
            is_cut: false,
        }
    }

    /// A place for so many bytes. It begins where the longest run would fit, as the verifier wants it.
    fn take(&mut self, len_bytes: u32) -> Option<(u32, u32)> {
        if self.offset > CHUNK_BYTES - RUN_BYTES {
            self.chunk += 1;
            self.offset = 0;
        }
        if self.chunk >= self.chunks {
            self.is_cut = true;
            return None;
        }
        let place = (self.chunk, self.offset);
        self.offset += len_bytes;
        Some(place)
    }
}

/// How many of the first counters one run can hold: of one table, if it is one of the `legacy` ones.
fn side_by_side(counters: &[(Counter, Slot)], legacy: u32) -> usize {
    let Some((first, _)) = counters.first() else {
        return 0;
    };
    let fits = |pair: &[(Counter, Slot)]| {
        let (before, this) = (pair[0].0, pair[1].0);
        let [of_before, of_this] = [pair[0].1.table, pair[1].1.table];
        let slot = u64::from(SLOT_BYTES);
        (of_before == of_this || (of_before >= legacy && of_this >= legacy))
            && this.plain == before.plain
            && !this.plain
            && this.address - before.address <= GAP_BYTES
            && (this.address - first.address).is_multiple_of(slot)
            && (this.address - first.address) / slot < u64::from(RUN_SLOTS)
    };
    1 + counters.windows(2).take_while(|pair| fits(pair)).count()
}

/// Counters of all rules and policies that a hook leads to, of the nat tables or of all others, by address.
fn counters(tables: &[Table], hook: Hook, is_v6: bool, of_nat: bool) -> Vec<(Counter, Slot)> {
    let mut found = Vec::new();
    for (index, table) in (0..).zip(tables) {
        if (table.name == "nat") != of_nat || !is_of_family(table.family, is_v6) {
            continue;
        }
        for chain in table.reached_from(hook) {
            add_chain(&mut found, index, chain, &table.chains[chain], hook);
        }
    }
    found.sort_by_key(|(counter, _)| counter.address);
    found.dedup_by_key(|(counter, _)| counter.address);
    found
}

fn add_chain(found: &mut Vec<(Counter, Slot)>, table: u32, index: usize, chain: &Chain, hook: Hook) {
    let Ok(chain_index) = u32::try_from(index) else {
        return;
    };
    let mut add = |counter: Option<Counter>, rule| {
        if let Some(counter) = counter {
            let slot = Slot {
                table,
                chain: chain_index,
                rule,
                bytes_first: counter.bytes_first,
            };
            found.push((counter, slot));
        }
    };
    for (rule, of) in (0..).zip(&chain.rules) {
        add(of.counter, Some(rule));
    }
    let policy = chain.base.as_ref().filter(|base| base.hook == hook);
    add(policy.and_then(|base| base.counter), None);
}

fn is_asked(table: &Table, hook: Hook, is_v6: bool) -> bool {
    let mut bases = table.chains.iter().filter_map(|chain| chain.base.as_ref());
    is_of_family(table.family, is_v6) && bases.any(|base| base.hook == hook)
}

fn is_of_family(family: TableFamily, is_v6: bool) -> bool {
    match family {
        TableFamily::Ip => !is_v6,
        TableFamily::Ip6 => is_v6,
        TableFamily::Inet => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::Backend;
    use crate::ruleset::Step;
    use crate::ruleset::{Base, Policy, Rule};

    fn counter(address: u64) -> Option<Counter> {
        Some(Counter {
            address,
            plain: false,
            bytes_first: false,
        })
    }

    fn rules(addresses: &[u64]) -> Vec<Rule> {
        addresses
            .iter()
            .map(|at| Rule {
                counter: counter(*at),
                ..Rule::default()
            })
            .collect()
    }

    fn table(name: &str, address: u64, rules_of_user: &[u64]) -> Table {
        let base = Base {
            hook: Hook::Forward,
            priority: 0,
            policy: Policy::Drop,
            counter: counter(address + 16),
        };
        let mut forward = rules(&[address]);
        forward[0].step = Step::Jump(1);
        Table {
            backend: Backend::Legacy,
            family: TableFamily::Ip,
            name: name.to_owned(),
            chains: vec![
                Chain {
                    name: "FORWARD".into(),
                    base: Some(base),
                    rules: forward,
                    ..Chain::default()
                },
                Chain {
                    name: "USER".into(),
                    rules: rules(rules_of_user),
                    ..Chain::default()
                },
                Chain {
                    name: "UNUSED".into(),
                    rules: rules(&[0x9000]),
                    ..Chain::default()
                },
            ],
            hash: 0,
            address: 0,
        }
    }

    #[test]
    fn what_a_hook_leads_to_is_compared_in_runs_and_nothing_else() {
        let tables = [table("filter", 0x1000, &[0x1020, 0x1030, 0x5000])];
        let runs = Runs::of(&tables, 4);
        let forward = runs.hooks[2];
        assert_eq!((forward.count, forward.nat_count, forward.cut), (2, 0, 0));
        assert_eq!((runs.runs[0].address, runs.runs[0].slots), (0x1000, 4));
        assert_eq!((runs.runs[1].address, runs.runs[1].slots), (0x5000, 1));
        assert_eq!(runs.slots[1].map(|slot| slot.rule), Some(None), "the policy");
        assert_eq!(
            runs.slots[4].map(|slot| (slot.chain, slot.rule)),
            Some((1, Some(2)))
        );
        assert_eq!(runs.hooks[0].count, 0, "no base chain in PREROUTING");
        assert_eq!(runs.hooks[7].count, 0, "no table for IPv6");
    }

    #[test]
    fn a_run_is_of_one_table_that_its_counters_prove_was_asked() {
        let tables = [
            table("mangle", 0x1000, &[0x1020]),
            table("filter", 0x1030, &[0x1050]),
        ];
        let runs = Runs::of(&tables, 4);
        let shape = |run: &Run| (run.address, run.slots, run.table);
        assert_eq!(
            runs.runs.iter().map(shape).collect::<Vec<_>>(),
            [(0x1000, 3, 0), (0x1030, 3, 1)]
        );
        assert_eq!((runs.hooks[2].tables, runs.hooks[2].nat_tables), (3, 0));
    }

    #[test]
    fn nat_comes_last_so_that_it_can_be_left_out() {
        let tables = [table("nat", 0x1000, &[]), table("filter", 0x2000, &[])];
        let runs = Runs::of(&tables, 4);
        let forward = runs.hooks[2];
        assert_eq!((forward.count, forward.nat_count), (1, 1));
        assert_eq!(runs.runs[0].address, 0x2000);
        assert_eq!(runs.runs[1].address, 0x1000);
        assert_eq!((runs.runs[0].offset, runs.runs[1].offset), (0, 32));
    }

    #[test]
    fn a_run_ends_with_a_page_of_counters_and_what_finds_no_room_is_said() {
        let many: Vec<u64> = (0..3000).map(|index| 0x10_0000 + 16 * index).collect();
        let tables = [table("filter", 0x1000, &many)];
        let runs = Runs::of(&tables, 4);
        assert!(runs.runs.iter().all(|run| run.slots <= RUN_SLOTS));
        assert!(
            runs.runs
                .iter()
                .all(|run| run.offset <= CHUNK_BYTES - RUN_BYTES && run.chunk < 4)
        );
        assert_eq!(runs.hooks[2].cut, 0);
        assert_eq!(Runs::of(&tables, 1).hooks[2].cut, 1);
    }

    #[test]
    fn a_gap_between_two_counters_belongs_to_nobody() {
        let tables = [table("filter", 0x1000, &[0x1040])];
        let runs = Runs::of(&tables, 4);
        assert_eq!(runs.runs[0].slots, 5);
        assert_eq!(runs.slots[2], None);
    }
}
