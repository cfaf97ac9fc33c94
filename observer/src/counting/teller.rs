//! A counter that has risen, as the trace tells it: whose it is, who wrote it, what nearly let the filter's packets live.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::differ::Rise;
use super::effect::Effect;
use super::reading::{Model, Place, TableReading};
use super::{near, nft_near, scene};
use crate::diagnose::owners::{self, Scene};
use crate::diagnose::target;
use crate::evaluate;
use crate::live;
use crate::report::record::{
    Backend, Cause, CounterEffect, CounterInfo, CounterLine, CounterMatch, DropLine, Hint, Hook, Netns,
    Packet, PacketFamily, Rule, TableFamily, Time,
};
use crate::ruleset::Table;

/// So many answers are kept.
const MOST_KEPT: usize = 1024;

/// So much time is taken for near misses in one look; what rises beyond that has none yet.
const TIME_FOR_NEAR: Duration = Duration::from_millis(100);

/// What was found out about places that count.
#[derive(Default)]
pub(super) struct Teller {
    asked: Asked,
    /// Whether legacy iptables goes by its plain name here.
    is_legacy_plain: bool,
    known: HashMap<Key, Told>,
    /// How long near misses were looked for in this look.
    spent: Duration,
}

/// A namespace, a table and its shape, and the index of the place.
type Key = (u32, Backend, TableFamily, String, u64, usize);

/// What is told of a place whenever it counts.
#[derive(Clone)]
struct Told {
    counter: CounterInfo,
    filter: Option<CounterMatch>,
    hints: Vec<Hint>,
}

impl Teller {
    pub(super) fn new(asked: Asked, is_legacy_plain: bool) -> Self {
        Self {
            asked,
            is_legacy_plain,
            known: HashMap::new(),
            spent: Duration::ZERO,
        }
    }

    /// Something else is asked for from now on.
    pub(super) fn ask(&mut self, asked: Asked) {
        self.asked = asked;
        self.known.clear();
    }

    /// A new look begins.
    pub(super) fn begin(&mut self) {
        self.spent = Duration::ZERO;
    }

    /// The line for a counter of a namespace that has risen. `enter`: what stands before a command there.
    pub(super) fn line(
        &mut self,
        netns: &Netns,
        enter: Option<&str>,
        (table, rise): (&TableReading, &Rise),
        (since, now_ns): (Time, u64),
    ) -> Option<CounterLine> {
        let key = (
            netns.inode,
            table.backend,
            table.family,
            table.name.clone(),
            table.shape.hash,
            rise.place,
        );
        let told = match self.known.get(&key) {
            Some(told) => told.clone(),
            None => {
                let place = table.shape.places.get(rise.place)?;
                let is_late = self.spent >= TIME_FOR_NEAR;
                let told = self.look(netns, enter, table, place);
                // Without its near misses it is looked at again.
                if is_late {
                    return Some(line(netns, told, rise, since, now_ns));
                }
                if self.known.len() >= MOST_KEPT {
                    self.known.clear();
                }
                self.known.insert(key, told.clone());
                told
            }
        };
        Some(line(netns, told, rise, since, now_ns))
    }

    fn look(&mut self, netns: &Netns, enter: Option<&str>, table: &TableReading, place: &Place) -> Told {
        let like = table.scene();
        let whereabouts = Whereabouts::of(like, place);
        let counter = info(table, place, &whereabouts);
        let begun = Instant::now();
        let mut hints = if self.spent < TIME_FOR_NEAR {
            self.near(table, place, &whereabouts)
        } else {
            Vec::new()
        };
        self.spent += begun.elapsed();
        hints.extend(self.owner(netns, enter, like, &counter));
        Told {
            filter: self.filter(table, place),
            counter,
            hints,
        }
    }

    /// Whether the filter's packets can be among those that are counted.
    fn filter(&self, table: &TableReading, place: &Place) -> Option<CounterMatch> {
        if self.asked.is_all() {
            return None;
        }
        let rule = match &table.shape.model {
            Model::Saved(saved) => saved
                .chain(&place.chain)
                .and_then(|chain| saved.chains[chain].rules.get(place.rule?)),
            _ => None,
        };
        let excluded =
            self.asked.excludes_family(table.family) || rule.is_some_and(|rule| self.asked.excludes(rule));
        Some(if excluded {
            CounterMatch::Excluded
        } else {
            CounterMatch::Possible
        })
    }

    fn near(&self, table: &TableReading, place: &Place, whereabouts: &Whereabouts) -> Vec<Hint> {
        // Only a connection's first packet asks the nat table. What is queued is not known to die.
        if self.asked.is_all() || table.name == "nat" || place.effect == Effect::Queue {
            return Vec::new();
        }
        let families: &[bool] = match table.family {
            TableFamily::Ip => &[false],
            TableFamily::Ip6 => &[true],
            TableFamily::Inet => &[false, true],
            _ => return Vec::new(),
        };
        let questions: Vec<_> = families
            .iter()
            .flat_map(|is_v6| self.asked.questions(*is_v6))
            .collect();
        let mut found = Vec::new();
        for (base, hook) in &whereabouts.bases {
            if let Some((saved, ready)) = table.evaluated() {
                let Some(chain) = saved.chain(&place.chain) else {
                    continue;
                };
                let at = evaluate::Place {
                    chain,
                    rule: place.rule,
                };
                found.extend(near::hints(&questions, saved, ready, *hook, at));
            } else if let (Model::Listed(ruleset), Some(handle)) = (&table.shape.model, place.handle) {
                found.extend(nft_near::hints(&questions, ruleset, base, *hook, handle));
            }
            if !found.is_empty() {
                break;
            }
        }
        found
    }

    fn owner(&self, netns: &Netns, enter: Option<&str>, like: &Table, counter: &CounterInfo) -> Vec<Hint> {
        if counter.effect == CounterEffect::Queue {
            return Vec::new();
        }
        let family = match counter.family {
            Some(TableFamily::Ip) => PacketFamily::Ip,
            Some(TableFamily::Ip6) => PacketFamily::Ip6,
            _ => PacketFamily::default(),
        };
        // Nothing is known of a packet: what needs one is not told.
        let line = DropLine {
            netns: Some(netns.clone()),
            packet: Packet {
                family,
                ..Packet::default()
            },
            drop: counter.as_drop(),
            ..DropLine::default()
        };
        let scene = Scene {
            line: &line,
            tables: std::slice::from_ref(like),
            enter,
        };
        let mut hints = owners::hints(&scene);
        if self.is_legacy_plain {
            for command in hints.iter_mut().filter_map(|hint| hint.command.as_mut()) {
                *command = command.replace("tables-legacy", "tables");
            }
        }
        hints
    }
}

fn line(netns: &Netns, told: Told, rise: &Rise, since: Time, now_ns: u64) -> CounterLine {
    CounterLine {
        netns: Some(netns.clone()),
        counter: told.counter,
        packets: rise.packets,
        bytes: Some(rise.bytes),
        since,
        rate: rate(rise.packets, now_ns.saturating_sub(rise.since_ns)),
        total: rise.total,
        filter: told.filter,
        hints: told.hints,
    }
}

/// From where a place is come to.
struct Whereabouts {
    /// Base chains and their hooks.
    bases: Vec<(String, Hook)>,
    /// The chains down to the place's, if only one way leads there.
    chain_path: Vec<String>,
}

impl Whereabouts {
    fn of(table: &Table, place: &Place) -> Self {
        let chain = table.chains.iter().position(|chain| chain.name == place.chain);
        let found = chain.map(|chain| (chain, table.bases_of(chain)));
        let Some((chain, bases)) = found else {
            return Self {
                bases: Vec::new(),
                chain_path: Vec::new(),
            };
        };
        let path = match bases[..] {
            [base] => table.only_path(base, chain).unwrap_or_default(),
            _ => Vec::new(),
        };
        let name = |index: &usize| table.chains.get(*index).map(|chain| chain.name.clone());
        Self {
            bases: bases
                .iter()
                .filter_map(|base| Some((name(base)?, table.chains[*base].base.as_ref()?.hook)))
                .collect(),
            chain_path: path.iter().filter_map(name).collect(),
        }
    }
}

fn info(table: &TableReading, place: &Place, whereabouts: &Whereabouts) -> CounterInfo {
    let mut info = CounterInfo {
        effect: match place.effect {
            Effect::Drop => CounterEffect::Drop,
            Effect::Reject => CounterEffect::Reject,
            Effect::Queue => CounterEffect::Queue,
        },
        hook: match whereabouts.bases[..] {
            [(_, hook)] => Some(hook),
            _ => None,
        },
        backend: Some(table.backend),
        family: Some(table.family),
        table: Some(table.name.clone()),
        chain: Some(place.chain.clone()),
        chain_path: whereabouts.chain_path.clone(),
        tool: Some(table.tool),
        ..CounterInfo::default()
    };
    let Some(index) = place.rule else {
        info.cause = Cause::Policy;
        info.policy = Some(place.text.clone());
        return info;
    };
    let (comment, target) = match &table.shape.model {
        Model::Saved(saved) => {
            let rule = saved
                .chain(&place.chain)
                .and_then(|chain| saved.chains[chain].rules.get(index));
            (
                rule.and_then(|rule| rule.comment().map(str::to_owned)),
                rule.and_then(|rule| target(saved, &rule.action)),
            )
        }
        Model::Listed(ruleset) => {
            let table = ruleset.tables.first();
            let rule = table
                .and_then(|table| table.chain(&place.chain))
                .and_then(|chain| chain.rules.get(index));
            (
                rule.and_then(|rule| rule.comment.as_deref().map(str::to_owned)),
                rule.and_then(scene::nft_target),
            )
        }
        Model::None => (None, None),
    };
    info.cause = Cause::Rule;
    info.rule = Some(Rule {
        number: u32::try_from(index + 1).ok(),
        handle: place.handle,
        text: Some(place.text.clone()),
        comment,
        target,
    });
    info
}

/// Packets a second.
#[expect(clippy::cast_precision_loss, reason = "rounded to a tenth anyway")]
pub(super) fn rate(packets: u64, nanos: u64) -> f64 {
    let rate = packets as f64 * 1e9 / nanos.max(1_000_000) as f64;
    (rate * 10.0).round() / 10.0
}

/// How a command gets into a namespace.
pub(super) fn entering(inode: u32, names: &mut crate::kernel::NetnsNames) -> Option<String> {
    live::entering(inode, names)
}
