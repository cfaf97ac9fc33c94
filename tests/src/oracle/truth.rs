//! What became of a packet, by the kernel itself: legacy iptables' counters before and after it, nf_tables' trace of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::packets::Sent;
use super::world::World;
use crate::cluster::rules::{self, Counted, Counters, Place as At};
use crate::cluster::{Backend, Family};
use crate::exec;
use crate::kernel::trace::{Rulebook, Run, Told, Tracer};
use crate::netns::Netns;
use crate::replay::Gauge;

/// Ends the way of every packet that lives, so that its trace is known to be complete.
const LAST_TABLE: &str = "lab-last";
/// A packet of which nothing has been told for so long has ended elsewhere.
const PATIENCE: Duration = Duration::from_millis(500);

/// A rule or policy, as lines of observer's name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    /// From 1; none is the policy.
    pub(super) rule: Option<u64>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.chain)?;
        match self.rule {
            Some(rule) => write!(f, " rule {rule}"),
            None => write!(f, " policy"),
        }
    }
}

/// What became of a packet in the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// No rule and no policy dropped it.
    Lived,
    /// This one did.
    Died(Place),
    /// Its trace does not come to an end: what is no ruleset has dropped it, or it went elsewhere.
    Elsewhere,
}

/// What the kernel told of one packet.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    pub(super) fate: Fate,
    /// All that it matched: how often, by place. Of nf_tables with the lab's own tables left out.
    pub(super) met: BTreeMap<Place, u64>,
    /// The addresses and ports that it came to its last base chain with; only of nf_tables.
    pub(super) headers: Option<crate::kernel::trace::ident::Ident>,
}

/// What counted of many packets.
#[derive(Debug, Default, Clone)]
pub(super) struct Totals {
    /// What dropped whatever it counted.
    pub(super) drops: BTreeMap<Place, u64>,
    /// What translates, and drops what it cannot translate: how many of those that it counted nothing tells.
    pub(super) may: BTreeMap<Place, u64>,
}

/// Whoever asks the kernel.
pub(super) enum Witness {
    /// By counters.
    Legacy(Box<Legacy>),
    /// By traces.
    Nft(Box<Nft>),
}

pub(super) struct Legacy {
    gauge: Gauge,
    counters: Counters,
    family: Family,
}

pub(super) struct Nft {
    book: Rulebook,
}

impl Witness {
    /// For the ruleset that is loaded now.
    pub(super) fn of(world: &World, tracer: Option<&Tracer>) -> Result<Self> {
        let router = world.router()?;
        let Some(tracer) = tracer else {
            let tool = rules::tool(Backend::Legacy, world.family);
            let saved = exec::run(Some(router), &format!("{tool}-save"), &[], "")?;
            let counters = rules::counters(router, Backend::Legacy, world.family)?;
            let gauge = Gauge::of(router, world.family, &saved, &counters)?;
            return Ok(Self::Legacy(Box::new(Legacy {
                gauge,
                counters,
                family: world.family,
            })));
        };
        tracer.gather(&mut Told::default())?;
        Ok(Self::Nft(Box::new(Nft {
            book: Rulebook::of_nftables(router)?,
        })))
    }

    /// What became of a packet that has just been sent.
    pub(super) fn of_one(&mut self, sent: &Sent, tracer: Option<&Tracer>) -> Result<Truth> {
        match (self, tracer) {
            (Self::Legacy(legacy), _) => legacy.of_one(),
            (Self::Nft(nft), Some(tracer)) => nft.of_one(sent, tracer),
            (Self::Nft(_), None) => bail!("nobody listens to traces"),
        }
    }

    /// What became of each of those that have been sent; none where only totals can be told.
    pub(super) fn of_all(&self, sent: &[Sent], tracer: Option<&Tracer>) -> Result<Option<Vec<Truth>>> {
        match (self, tracer) {
            (Self::Nft(nft), Some(tracer)) => nft.of_all(sent, tracer).map(Some),
            _ => Ok(None),
        }
    }

    /// What each place that drops has counted since the last call, where there are counters of every one.
    pub(super) fn totals(&mut self) -> Result<Option<Totals>> {
        let Self::Legacy(legacy) = self else {
            return Ok(None);
        };
        let moved = legacy.settled()?;
        let mut totals = Totals::default();
        for (at, packets) in moved {
            let place = place(&at, legacy.family);
            if legacy.drops(&at) {
                totals.drops.insert(place, packets);
            } else if legacy.translates(&at) {
                totals.may.insert(place, packets);
            }
        }
        Ok(Some(totals))
    }
}

fn place(at: &At, family: Family) -> Place {
    Place {
        family: family.word().to_owned(),
        table: at.table.clone(),
        chain: at.chain.clone(),
        rule: at.rule.map(|rule| rule as u64),
    }
}

impl Legacy {
    fn drops(&self, at: &At) -> bool {
        self.counters.get(at).is_some_and(Counted::drops)
    }

    /// Whether it is a rule that gives a packet another destination.
    fn translates(&self, at: &At) -> bool {
        let text = self.counters.get(at).map_or("", |counted| counted.text.as_str());
        let mut targets = ["DNAT", "REDIRECT"].iter();
        at.table == "nat" && targets.any(|target| text.contains(&format!("-j {target}")))
    }

    /// The rule that translated a packet which then came to neither of the last hooks.
    fn refused<'a>(&self, moved: &'a BTreeMap<At, u64>) -> Option<&'a At> {
        let is_last = |at: &&At| at.chain == "POSTROUTING" || at.chain == "INPUT";
        if moved.keys().any(|at| is_last(&at)) {
            return None;
        }
        moved.keys().find(|at| self.translates(at))
    }

    /// What has moved, until nothing moves any more.
    fn settled(&mut self) -> Result<BTreeMap<At, u64>> {
        let mut all: BTreeMap<At, u64> = BTreeMap::new();
        let begun = Instant::now();
        loop {
            let moved = self.gauge.moved()?;
            // Of every packet something is counted: each way has a policy or rule at its end.
            let is_over = moved.is_empty() && (!all.is_empty() || begun.elapsed() > PATIENCE);
            for (at, packets) in moved {
                *all.entry(at).or_default() += packets;
            }
            if is_over {
                return Ok(all);
            }
        }
    }

    fn of_one(&mut self) -> Result<Truth> {
        let moved = self.settled()?;
        let dropping: Vec<&At> = moved.keys().filter(|at| self.drops(at)).collect();
        let fate = match dropping[..] {
            [] if moved.is_empty() => Fate::Elsewhere,
            [] => match self.refused(&moved) {
                // What a translation cannot be set up for is dropped by its target: nothing counts behind.
                Some(at) => Fate::Died(place(at, self.family)),
                None => Fate::Lived,
            },
            [at] if moved[at] == 1 => Fate::Died(place(at, self.family)),
            _ => bail!("one packet was counted by {moved:?}: others were there"),
        };
        let met = moved
            .iter()
            .map(|(at, packets)| (place(at, self.family), *packets));
        Ok(Truth {
            fate,
            met: met.collect(),
            headers: None,
        })
    }
}

impl Nft {
    fn of_one(&self, sent: &Sent, tracer: &Tracer) -> Result<Truth> {
        let mut told = Told::default();
        let begun = Instant::now();
        loop {
            tracer.gather(&mut told)?;
            let runs: Vec<Run> = told.runs(&self.book);
            let runs: Vec<&Run> = runs.iter().filter(|run| sent.is_of(&run.packet)).collect();
            let truth = of_runs(&runs);
            if truth.fate != Fate::Elsewhere || begun.elapsed() > PATIENCE {
                return Ok(truth);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn of_all(&self, sent: &[Sent], tracer: &Tracer) -> Result<Vec<Truth>> {
        let mut told = Told::default();
        loop {
            let new = tracer.gather(&mut told)?;
            if new == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let runs = told.runs(&self.book);
        let mut by_number: BTreeMap<u16, Vec<&Run>> = BTreeMap::new();
        for run in &runs {
            let number = match run.packet.src.is_ipv4() {
                true => Some(run.packet.ip_id),
                false => run.packet.sport,
            };
            by_number.entry(number.unwrap_or(0)).or_default().push(run);
        }
        let of = |sent: &Sent| {
            let runs = by_number.get(&sent.number).map_or(&[][..], Vec::as_slice);
            let runs: Vec<&Run> = runs
                .iter()
                .copied()
                .filter(|run| sent.is_of(&run.packet))
                .collect();
            of_runs(&runs)
        };
        Ok(sent.iter().map(of).collect())
    }
}

fn of_runs(runs: &[&Run]) -> Truth {
    let mut truth = Truth {
        fate: Fate::Elsewhere,
        met: BTreeMap::new(),
        headers: None,
    };
    for run in runs {
        if run.table == LAST_TABLE {
            truth.fate = Fate::Lived;
            continue;
        }
        truth.headers = Some(run.packet.clone());
        for step in &run.steps {
            let place = Place {
                family: run.family.clone(),
                table: run.table.clone(),
                chain: step.chain.clone(),
                rule: if step.policy {
                    None
                } else {
                    step.rule.map(u64::from)
                },
            };
            *truth.met.entry(place.clone()).or_default() += 1;
            if run.verdict.as_deref() == Some("DROP") {
                truth.fate = Fate::Died(place);
            }
        }
    }
    truth
}

/// Lays the lab's own rules of nf_tables in the router: what makes the kernel tell, and what ends each way.
pub(super) fn listen(router: &Netns) -> Result<Tracer> {
    let tracer = Tracer::start(router, None)?;
    let chain = |hook: &str| format!("chain {hook} {{ type filter hook {hook} priority 1000; counter; }}\n");
    let last = format!(
        "table inet {LAST_TABLE} {{\n{}{}}}\n",
        chain("input"),
        chain("postrouting")
    );
    exec::run(Some(router), "nft", &["-f", "-"], &last)?;
    Ok(tracer)
}
