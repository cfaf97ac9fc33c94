//! The evaluator held against the kernel: random rulesets and random packets in a namespace of its own. What the kernel's
//! counters say a packet has met must be one of the ways that the evaluator tells; where it tells one only, that one.

mod gauge;
mod nft;
mod packets;
mod random;
mod ruleset;
mod sets;
mod verdict;
mod world;

use std::time::Instant;

use anyhow::{Context, Result};
use observer::evaluate::nftables::Evaluator;
use observer::evaluate::{Bounds, InForce, Way, needs_conntrack, ways, xtables};
use observer::ruleset::ipset::Sets;
use observer::ruleset::nftables::listing::Ruleset;
use observer::ruleset::xtables::save;

use crate::cluster::rules::Counters;
use crate::cluster::{Backend, Family};
use crate::run_dir::RunDir;
pub(crate) use gauge::Gauge;
use packets::Asked;
pub(crate) use random::Random;
use sets::Kinds;
use world::World;

/// A random ruleset, as `iptables-restore` takes it.
pub(crate) fn make_ruleset(random: &mut Random, family: Family) -> String {
    ruleset::make(random, family, None)
}

/// More ways than any of these rulesets has.
const MOST_WAYS: usize = 4096;

/// What is to be tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// The same seed makes the same rulesets and packets.
    pub seed: u64,
    /// Rulesets.
    pub cases: u64,
    /// Packets for each of them.
    pub packets: u64,
    /// Who holds the rules.
    pub backend: Backend,
    /// The packets' family.
    pub family: Family,
    /// The first case: 0, but to see one again.
    pub from: u64,
    /// Whether nft's own tables are beside those of iptables.
    pub mixed: bool,
    /// Whether rules ask sets of ipset.
    pub ipset: bool,
}

impl Trial {
    /// The command that shows a case again.
    fn again(&self, case: u64) -> String {
        let backend = self.backend.machinery();
        let family = if self.family == Family::Ip6 { " --ip6" } else { "" };
        let mixed = if self.mixed { " --mixed" } else { "" };
        let ipset = if self.ipset { " --ipset" } else { "" };
        format!(
            "observer-lab replay --seed {} --from {case} --cases 1 --packets {} --backend {backend}{family}{mixed}{ipset}:",
            self.seed, self.packets
        )
    }
}

/// What came out.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// Packets that were sent.
    pub packets: u64,
    /// Of those, the ones that the evaluator told several ways of, or none to its end.
    pub unsure: u64,
    /// Those that died.
    pub died: u64,
    /// One text for each packet of which the evaluator was wrong, with what is needed to see it again.
    pub wrong: Vec<String>,
}

/// Tries.
pub fn run(trial: &Trial, run: &RunDir) -> Result<Found> {
    let world = World::make(trial.backend, trial.family, run)?;
    let kinds = if trial.ipset {
        Some(Kinds::create(&world, trial.family)?)
    } else {
        None
    };
    let mut found = Found::default();
    for case in trial.from..trial.from + trial.cases {
        one_case(trial, case, (&world, kinds.as_ref()), &mut found)
            .with_context(|| format!("seed {} case {case}", trial.seed))?;
    }
    Ok(found)
}

/// Tries, and prints what came out; whether the evaluator was never wrong.
pub fn print(trial: &Trial, run_dir: &RunDir) -> Result<bool> {
    let begun = Instant::now();
    let found = run(trial, run_dir)?;
    found.wrong.iter().for_each(|text| println!("WRONG: {text}"));
    let wrong = found.wrong.len() as u64;
    println!(
        "seed {}: {} rulesets, {} packets in {:.1} s: {} died; the evaluator told one way of {}, several or none of {}",
        trial.seed,
        trial.cases,
        found.packets,
        begun.elapsed().as_secs_f32(),
        found.died,
        found.packets - found.unsure,
        found.unsure,
    );
    println!("{} passed, {wrong} failed", found.packets - wrong);
    Ok(wrong == 0)
}

fn one_case(
    trial: &Trial,
    case: u64,
    (world, kinds): (&World, Option<&Kinds>),
    found: &mut Found,
) -> Result<()> {
    // Ports come again after some tens of thousands of packets, and are to be new connections then.
    world.forget_connections()?;
    let mut random = Random::new(trial.seed, case);
    let mut text = ruleset::make(&mut random, trial.family, kinds);
    world.restore(&text)?;
    let mut sets = Sets::default();
    if let Some(kinds) = kinds {
        let (members, listed) = kinds.fill(&mut random, world)?;
        text.push_str(&members);
        sets = listed;
    }
    if trial.mixed {
        let own = nft::make(&mut random, trial.family);
        text.push_str(&world.load(&own)?);
    }
    let mut before = counted(trial, world)?;
    // What the kernel has, not what was written: that the model reads the tool's words is tried, too.
    let saved = world.saved()?;
    let gauge = world.gauge(&saved, &before.iptables);
    let mut gauge = gauge.filter(|_| !trial.mixed).transpose()?;
    let saved = save::parse(&saved)?;
    let saved: Vec<_> = saved.into_tables().collect();
    sets.changed_by(&saved);
    let tables: Vec<_> = saved.iter().map(|table| xtables::table(table, &sets)).collect();
    let listed = before.listed.clone();
    let is_tracked = tables.iter().any(needs_conntrack);
    let is_v6 = trial.family == Family::Ip6;
    let evaluator = Evaluator::new(&listed).tracked_by_others(is_tracked && !is_v6, is_tracked && is_v6);
    let in_force = InForce {
        tables: &tables,
        nft: Some(&evaluator),
    };
    for number in 0..trial.packets {
        let asked = Asked::make(&mut random, case * trial.packets + number, trial.family);
        world.send(&asked)?;
        let (moved, moved_nft) = match &mut gauge {
            Some(gauge) => (gauge.moved()?, Default::default()),
            None => {
                let after = counted(trial, world)?;
                let moved = verdict::moved(&before.iptables, &after.iptables);
                let moved_nft = nft::moved(&before.nft, &after.nft);
                before = after;
                (moved, moved_nft)
            }
        };
        // Each way by itself: what the kernel counted is one of them. Where there are too many the evaluator says so, and the
        // kernel may have gone one that it did not follow.
        let mut bounds = Bounds {
            ways: MOST_WAYS,
            merges: false,
            ..Bounds::default()
        };
        let told = ways(
            in_force,
            &asked.packet,
            asked.course,
            &world::Around(trial.family),
            &mut bounds,
        );
        found.packets += 1;
        found.unsure += u64::from(told.len() != 1 || verdict::is_open(&told[0]));
        found.died += u64::from(verdict::died(&moved, &before.iptables));
        let fits = |way: &Way| {
            verdict::fits(way, &tables, &moved)
                && nft::fits(way, &evaluator, &moved_nft, verdict::is_open(way))
        };
        if !told.iter().any(fits) {
            let ways: Vec<_> = told
                .iter()
                .map(|way| {
                    let own = nft::way_text(way, &evaluator);
                    format!("{}; {own}", verdict::way_text(way, &tables))
                })
                .collect();
            found.wrong.push(format!(
                "{} packet {number}: {asked}\n  the kernel: {}; {moved_nft:?}\n  the evaluator: {}\n{text}",
                trial.again(case),
                verdict::moves_text(&moved),
                ways.join("\n  the evaluator: "),
            ));
        }
    }
    match gauge {
        Some(gauge) => gauge.check(&world.counters()?),
        None => Ok(()),
    }
}

/// What the kernel has counted so far.
struct Counted {
    iptables: Counters,
    nft: nft::Counts,
    listed: Ruleset,
}

fn counted(trial: &Trial, world: &World) -> Result<Counted> {
    let (listed, nft) = if trial.mixed {
        nft::read(&world.listed()?)?
    } else {
        Default::default()
    };
    Ok(Counted {
        iptables: world.counters()?,
        nft,
        listed,
    })
}
