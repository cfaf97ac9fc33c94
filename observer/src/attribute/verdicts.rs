//! What the functions said that write nf_tables' verdicts: the rules that decided something, of each base chain that a
//! packet went through. Rules without a verdict, and the ends of chains, are not told.

use observer_common::{HookEvent, Step, hook_flag, step};

use super::passages::{Met, Outcome, Visit};
use super::walk::{NFT_GOTO, NFT_JUMP, NFT_RETURN, steps};
use crate::ruleset::{Policy, Snapshot};

/// `NF_VERDICT_MASK`, include/uapi/linux/netfilter.h
const VERDICT_MASK: u32 = 0xff;
/// `NF_DROP`
const DROP: u32 = 0;
/// `NF_ACCEPT`
const ACCEPT: u32 = 1;

/// Whether a record has something to say of verdicts.
pub fn tells_verdicts(event: &HookEvent) -> bool {
    steps(event).iter().any(|step| step.kind == step::BEGIN)
}

/// A visit for each base chain, in order.
pub fn by_verdicts(event: &HookEvent, snapshot: &Snapshot) -> Vec<Visit> {
    read(event, snapshot).into_iter().map(|told| told.visit).collect()
}

/// Table and base chain that the packet was in when it was freed, if no rule there had come to a verdict that ends it.
pub fn open_chain(event: &HookEvent, snapshot: &Snapshot) -> Option<(usize, usize)> {
    let told = read(event, snapshot);
    let last = told.last()?;
    let is_open = last.begun && !last.ended && !last.decided;
    (is_open && event.flags & hook_flag::FREED != 0 && event.flags & hook_flag::UNSEEN == 0)
        .then_some((last.visit.table, last.visit.base))
}

/// One base chain's traversal, as it was told.
struct Told {
    base_address: u64,
    visit: Visit,
    /// Its beginning was seen.
    begun: bool,
    /// Its end was seen.
    ended: bool,
    /// A rule ended it.
    decided: bool,
}

fn read(event: &HookEvent, snapshot: &Snapshot) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    for step in steps(event) {
        if !matches!(step.kind, step::BEGIN | step::VERDICT | step::END) {
            continue;
        }
        let base_address = step.words[1];
        let goes_on = told
            .last()
            .is_some_and(|last| last.base_address == base_address && !last.ended);
        if step.kind == step::BEGIN || !goes_on {
            let Some((table, base)) = snapshot.nft_chain(base_address) else {
                continue;
            };
            told.push(Told {
                base_address,
                visit: Visit {
                    table,
                    base,
                    steps: Vec::new(),
                },
                begun: step.kind == step::BEGIN,
                ended: false,
                decided: false,
            });
        }
        if let Some(last) = told.last_mut() {
            last.step(step, snapshot);
        }
    }
    told
}

impl Told {
    fn step(&mut self, step: &Step, snapshot: &Snapshot) {
        match step.kind {
            // Where one writer calls another, both tell.
            step::VERDICT if !self.decided => self.rule(step, snapshot),
            step::END => {
                self.ended = true;
                if !self.decided && self.begun {
                    self.policy(step.value & VERDICT_MASK, snapshot);
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, step: &Step, snapshot: &Snapshot) {
        let [expression, _, to] = step.words;
        let place = snapshot
            .rule_of_expression(expression)
            .filter(|(table, ..)| *table == self.visit.table);
        let to = snapshot
            .nft_chain(to)
            .filter(|(table, _)| *table == self.visit.table)
            .map(|(_, chain)| chain);
        let code = step.value.cast_signed();
        let outcome = match (code, to) {
            (NFT_JUMP, Some(to)) => Outcome::Jump(to),
            (NFT_GOTO, Some(to)) => Outcome::Goto(to),
            (NFT_JUMP | NFT_GOTO, None) => Outcome::Continue,
            (NFT_RETURN, _) => Outcome::Return,
            _ => {
                self.decided = true;
                Outcome::Verdict((step.value & VERDICT_MASK).cast_signed())
            }
        };
        let (chain, rule) = place.map_or((self.visit.base, None), |(_, chain, rule)| (chain, Some(rule)));
        self.visit.steps.push(Met {
            chain,
            rule,
            handle: 0,
            outcome,
        });
    }

    /// No rule ended it, so its policy did, if it says what was returned.
    fn policy(&mut self, returned: u32, snapshot: &Snapshot) {
        let table = snapshot.tables.get(self.visit.table);
        let base = table.and_then(|table| table.chains.get(self.visit.base)?.base.as_ref());
        let accepted = match (base.map(|base| base.policy), returned) {
            (Some(Policy::Accept), ACCEPT) => true,
            // Where `nft_do_chain` frees what a policy drops, it does not come to this: it ran out of jumps.
            (Some(Policy::Drop), DROP) if !snapshot.nft_frees => false,
            _ => return,
        };
        self.visit.steps.push(Met {
            chain: self.visit.base,
            rule: None,
            handle: 0,
            outcome: Outcome::Policy(accepted),
        });
    }
}
