//! Which rules a packet met, in order: from the counters that moved while it was in a hook, or from what nf_tables'
//! trace hook said.

use std::collections::HashMap;

use observer_common::{HookEvent, hook_flag, step};

use super::passages::{Met, Outcome, Visit};
use crate::report::record::{Backend, Hook, TableFamily};
use crate::ruleset::{Policy, Snapshot, Step, Table};

/// Deeper than the kernel goes (`NFT_JUMP_STACK_SIZE` is 16; x_tables counts its chains).
const DEEPEST: usize = 256;

/// Whether the trace hook was watched all the time that the packet was in the hook.
pub fn is_traced_whole(event: &HookEvent) -> bool {
    event.flags & hook_flag::TRACED != 0
}

/// Whether a packet that passes this table leaves a mark in the record: a counter, or what the trace hook says.
pub fn is_told(table: &Table, event: &HookEvent) -> bool {
    match table.backend {
        Backend::Legacy => event.flags & hook_flag::COUNTERS != 0,
        Backend::Nft => is_traced_whole(event) || event.flags & hook_flag::VERDICTS != 0,
    }
}

/// Whether packets of this protocol come to tables of that family.
pub fn is_of_packet(family: TableFamily, is_v6: bool) -> bool {
    match family {
        TableFamily::Ip => !is_v6,
        TableFamily::Ip6 => is_v6,
        _ => true,
    }
}

/// The steps of a record.
pub(super) fn steps(event: &HookEvent) -> &[observer_common::Step] {
    &event.steps[..(event.step_count as usize).min(event.steps.len())]
}

/// How often each rule and policy counted this packet: by table, chain and rule (`None`: the policy).
pub struct Counts(HashMap<(usize, usize, Option<usize>), u64>);

impl Counts {
    /// What a record says, by the slots of the snapshot that the kernel side compared with.
    pub fn of(event: &HookEvent, snapshot: &Snapshot) -> Self {
        let mut counts = HashMap::new();
        for moved in steps(event).iter().filter(|step| step.kind == step::COUNTER) {
            let Some(Some(slot)) = snapshot.runs.slots.get(moved.value as usize) else {
                continue;
            };
            let packets = if slot.bytes_first {
                moved.words[1]
            } else {
                moved.words[0]
            };
            let key = (
                slot.table as usize,
                slot.chain as usize,
                slot.rule.map(|rule| rule as usize),
            );
            *counts.entry(key).or_insert(0) += packets;
        }
        Self(counts)
    }

    /// Whether every counter that moved moved by this packet alone: by its length for each time it was counted.
    pub fn are_of_packet(event: &HookEvent, snapshot: &Snapshot) -> bool {
        let mut moved = steps(event).iter().filter(|step| step.kind == step::COUNTER);
        moved.all(|moved| {
            let Some(Some(slot)) = snapshot.runs.slots.get(moved.value as usize) else {
                return true;
            };
            let [first, second, _] = moved.words;
            let (packets, bytes) = if slot.bytes_first {
                (second, first)
            } else {
                (first, second)
            };
            Some(bytes) == packets.checked_mul(u64::from(event.len_bytes))
        })
    }

    fn any_of(&self, table: usize) -> bool {
        self.0
            .iter()
            .any(|((of, _, _), packets)| *of == table && *packets > 0)
    }

    /// Takes one packet off a counter; false if it has none left.
    fn take(&mut self, table: usize, chain: usize, rule: Option<usize>) -> bool {
        match self.0.get_mut(&(table, chain, rule)) {
            Some(packets) if *packets > 0 => {
                *packets -= 1;
                true
            }
            _ => false,
        }
    }
}

/// What the counters say of a table's base chains on a hook.
pub fn by_counters(index: usize, table: &Table, hook: Hook, counts: &mut Counts) -> Vec<Visit> {
    if !counts.any_of(index) {
        return Vec::new();
    }
    let is_base = |chain: usize| {
        table.chains[chain]
            .base
            .as_ref()
            .is_some_and(|base| base.hook == hook)
    };
    let mut bases: Vec<usize> = (0..table.chains.len()).filter(|chain| is_base(*chain)).collect();
    bases.sort_by_key(|chain| table.chains[*chain].base.as_ref().map(|base| base.priority));
    let mut visits = Vec::new();
    for base in bases {
        let mut walk = Walk {
            index,
            table,
            counts,
            steps: Vec::new(),
        };
        walk.chain(base, 0);
        if !walk.steps.is_empty() {
            visits.push(Visit {
                table: index,
                base,
                steps: walk.steps,
            });
        }
    }
    visits
}

struct Walk<'a> {
    index: usize,
    table: &'a Table,
    counts: &'a mut Counts,
    steps: Vec<Met>,
}

impl Walk<'_> {
    /// Walks a chain as the packet did; true if it ended there.
    fn chain(&mut self, chain: usize, depth: usize) -> bool {
        let Some(of) = self.table.chains.get(chain) else {
            return true;
        };
        if depth > DEEPEST {
            return true;
        }
        for (index, rule) in of.rules.iter().enumerate() {
            if !self.counts.take(self.index, chain, Some(index)) {
                continue;
            }
            self.met(chain, Some(index), Outcome::AsWritten);
            match rule.step {
                Step::Jump(to) => {
                    if self.chain(to, depth + 1) {
                        return true;
                    }
                }
                Step::Goto(to) => return self.chain(to, depth + 1) || self.policy(chain),
                Step::Accept | Step::Drop => return true,
                Step::Return => return self.policy(chain),
                // A target that may end the packet: if it did, nothing behind it has counted.
                Step::MayDrop | Step::Map | Step::Continue => {}
            }
        }
        self.policy(chain)
    }

    /// The end of a chain; true if it is a base chain, whose policy then decided.
    fn policy(&mut self, chain: usize) -> bool {
        let Some(base) = &self.table.chains[chain].base else {
            return false;
        };
        if self.counts.take(self.index, chain, None) {
            let accepted = base.policy == Policy::Accept;
            self.met(chain, None, Outcome::Policy(accepted));
        }
        true
    }

    fn met(&mut self, chain: usize, rule: Option<usize>, outcome: Outcome) {
        self.steps.push(Met {
            chain,
            rule,
            handle: 0,
            outcome,
        });
    }
}

/// What the trace hook said: a visit for each base chain, in order.
pub fn by_trace(event: &HookEvent, snapshot: &Snapshot) -> Vec<Visit> {
    let mut visits: Vec<Tracing<'_>> = Vec::new();
    for step in steps(event) {
        if !(step::POLICY..=step::RULE).contains(&step.kind) {
            continue;
        }
        let base = step.words[1];
        let goes_on = visits
            .last()
            .is_some_and(|tracing| tracing.base_address == base && !tracing.ended);
        if !goes_on {
            let Some((table, chain)) = snapshot.nft_chain(base) else {
                continue;
            };
            visits.push(Tracing::new(snapshot, base, table, chain));
        }
        if let Some(tracing) = visits.last_mut() {
            tracing.step(step);
        }
    }
    visits.into_iter().map(|tracing| tracing.visit).collect()
}

/// One base chain's traversal, as it was told.
struct Tracing<'a> {
    base_address: u64,
    snapshot: &'a Snapshot,
    /// The chains that will go on, and the one at hand.
    stack: Vec<usize>,
    visit: Visit,
    ended: bool,
}

/// `enum nft_verdicts`, include/uapi/linux/netfilter/nf_tables.h
const NFT_CONTINUE: i32 = -1;
const NFT_BREAK: i32 = -2;
pub(super) const NFT_JUMP: i32 = -3;
pub(super) const NFT_GOTO: i32 = -4;
pub(super) const NFT_RETURN: i32 = -5;

impl<'a> Tracing<'a> {
    fn new(snapshot: &'a Snapshot, base_address: u64, table: usize, base: usize) -> Self {
        Self {
            base_address,
            snapshot,
            stack: vec![base],
            visit: Visit {
                table,
                base,
                steps: Vec::new(),
            },
            ended: false,
        }
    }

    fn step(&mut self, step: &observer_common::Step) {
        let code = step.value.cast_signed();
        match step.kind {
            step::POLICY => {
                let accepted = step.words[0] != 0;
                self.met_in(self.visit.base, 0, Outcome::Policy(accepted));
                self.ended = true;
            }
            // Where a chain ends there is no rule.
            step::RETURN if code == NFT_CONTINUE => self.leave(),
            step::RETURN => {
                self.met(step.words[0], Outcome::Return);
                self.leave();
            }
            _ => self.rule(code, step.words[0], step.words[2]),
        }
    }

    fn rule(&mut self, code: i32, handle: u64, to: u64) {
        let to = self
            .snapshot
            .nft_chain(to)
            .filter(|(table, _)| *table == self.visit.table);
        match (code, to) {
            (NFT_JUMP, Some((_, to))) => {
                self.met(handle, Outcome::Jump(to));
                self.stack.push(to);
            }
            (NFT_GOTO, Some((_, to))) => {
                self.met(handle, Outcome::Goto(to));
                self.stack.pop();
                self.stack.push(to);
            }
            (NFT_CONTINUE | NFT_BREAK | NFT_JUMP | NFT_GOTO, _) => self.met(handle, Outcome::Continue),
            (NFT_RETURN, _) => {
                self.met(handle, Outcome::Return);
                self.leave();
            }
            _ => {
                self.met(handle, Outcome::Verdict(code & 0xff));
                self.ended = true;
            }
        }
    }

    /// Back to the chain that jumped here. A base chain's end is followed by its policy.
    fn leave(&mut self) {
        if self.stack.len() > 1 {
            self.stack.pop();
        }
    }

    fn met(&mut self, handle: u64, outcome: Outcome) {
        let chain = self.stack.last().copied().unwrap_or(self.visit.base);
        self.met_in(chain, handle, outcome);
    }

    fn met_in(&mut self, chain: usize, handle: u64, outcome: Outcome) {
        let rule = if handle == 0 {
            None
        } else {
            self.snapshot.rule_by_handle(self.visit.table, chain, handle)
        };
        self.visit.steps.push(Met {
            chain,
            rule,
            handle,
            outcome,
        });
    }
}
