//! The oracle: the real `observer watch` beside random rulesets and random packets. For each packet the kernel's own record
//! (legacy iptables' counters before and after it, nf_tables' trace of it) says what became of it; what observer writes must be
//! that, or say that it does not know.

mod judge;
mod packets;
mod random;
mod rules;
mod shrink;
mod totals;
mod truth;
mod watcher;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cluster::{Backend, Data, Family};
use crate::kernel::probes;
use crate::kernel::trace::Tracer;
use crate::run_dir::RunDir;
use judge::{Answer, Tally, judge};
use packets::Sent;
use random::Random;
use rules::Rules;
use totals::Ledger;
use truth::{Fate, Totals, Truth, Witness};
use watcher::Watcher;
use world::World;

/// A ruleset that was replaced is read anew within this time, some of it by the clock (docs/how-it-works.md).
const SETTLING: Duration = Duration::from_millis(600);
/// The first ruleset of a virtual machine is: all that reading takes is run for the first time.
const SETTLING_SLOWLY: Duration = Duration::from_secs(5);
/// What has not been told after so long is not told.
const PATIENCE: Duration = Duration::from_secs(15);
/// No more findings are shrunk in a run.
const MOST_SHRUNK: usize = 3;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The same seed makes the same rulesets and packets.
    pub seed: u64,
    /// Who holds the rules: `Native` is nft's own.
    pub backend: Backend,
    /// The packets' family.
    pub family: Family,
    /// How many packets.
    pub packets: u64,
    /// How many of them for each ruleset.
    pub per_ruleset: u64,
    /// The first ruleset: 0, but to see one again.
    pub from: u64,
    /// Whether all packets of a ruleset are sent at once.
    pub bursts: bool,
    /// `--probes` for observer.
    pub probes: String,
    /// The program that is tried.
    pub observer: PathBuf,
    /// Where scenarios of what is wrong are written to; nothing is shrunk without.
    pub save: Option<PathBuf>,
}

impl Trial {
    /// The command that shows a ruleset again.
    fn again(&self, case: u64) -> String {
        let family = if self.family == Family::Ip6 { " --ip6" } else { "" };
        let bursts = if self.bursts { " --bursts" } else { "" };
        format!(
            "observer-lab oracle --seed {} --from {case} --packets {} --per-ruleset {} --backend {}{family}{bursts} --probes {}",
            self.seed,
            self.per_ruleset,
            self.per_ruleset,
            self.backend.word(),
            self.probes
        )
    }
}

/// What came out, in words; empty: nothing was wrong.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One line for a table of such lines.
    pub row: String,
    /// Why answers were not exact.
    pub why: Vec<String>,
    /// What was wrong.
    pub wrong: Vec<String>,
}

/// Tries.
pub fn run(trial: &Trial, data: &Data, run: &RunDir) -> Result<Outcome> {
    let begun = Instant::now();
    let mut tried = Tried::start(trial, data, run)?;
    let cases = trial.packets.div_ceil(trial.per_ruleset.max(1));
    for case in trial.from..trial.from + cases {
        tried
            .case(case)
            .with_context(|| format!("{}:", trial.again(case)))?;
    }
    tried.end(cases, begun)
}

/// Tries, and prints what came out; whether nothing was wrong.
pub fn print(trial: &Trial, data: &Data, run_dir: &RunDir) -> Result<bool> {
    let outcome = run(trial, data, run_dir)?;
    outcome.wrong.iter().for_each(|text| println!("WRONG: {text}"));
    outcome.why.iter().for_each(|text| println!("  {text}"));
    println!("{}", outcome.row);
    Ok(outcome.wrong.is_empty())
}

/// All that is there while it is tried.
struct Tried<'a> {
    trial: &'a Trial,
    world: World,
    tracer: Option<Tracer>,
    watcher: Watcher,
    tally: Tally,
    ledger: Ledger,
    shrunk: usize,
    /// Deaths of which nothing has been told in time: it may still be.
    overdue: Vec<Overdue>,
}

/// A death that observer has not told of so far.
struct Overdue {
    at: String,
    sent: Sent,
    truth: Truth,
    text: String,
}

impl<'a> Tried<'a> {
    fn start(trial: &'a Trial, data: &Data, run: &RunDir) -> Result<Self> {
        let world = World::up(data, run, trial.backend, trial.family)?;
        let router = world.router()?;
        let tracer = match trial.backend {
            Backend::Legacy => None,
            Backend::Nft | Backend::Native => Some(truth::listen(router)?),
        };
        let directory = run.path().join("oracle");
        std::fs::create_dir_all(&directory)?;
        let watcher = Watcher::start(&trial.observer, &directory, router.name(), &trial.probes)?;
        Ok(Self {
            trial,
            world,
            tracer,
            watcher,
            tally: Tally::default(),
            ledger: Ledger::default(),
            shrunk: 0,
            overdue: Vec::new(),
        })
    }

    fn case(&mut self, case: u64) -> Result<()> {
        let mut random = Random::new(self.trial.seed, case);
        let mut rules = Rules::make(&mut random, self.trial.backend, self.trial.family);
        rules.load(&self.world)?;
        let is_slow = case == self.trial.from && probes::path();
        std::thread::sleep(if is_slow { SETTLING_SLOWLY } else { SETTLING });
        let first = case * self.trial.per_ruleset;
        let sent: Vec<Sent> = (first..first + self.trial.per_ruleset)
            .map(|serial| Sent::make(&mut random, serial, self.trial.backend, self.trial.family))
            .collect();
        let (truths, lines) = self.send(&sent)?;
        let Some(truths) = truths else {
            return Ok(());
        };
        let mut wrong = Vec::new();
        for (index, (sent, truth)) in sent.iter().zip(&truths).enumerate() {
            let line = lines.iter().find(|line| sent.is_told(line));
            let answer = judge(sent, truth, line);
            let at = format!("ruleset {case}, packet {index}");
            if answer == Answer::Missing {
                self.overdue.push(Overdue {
                    at,
                    sent: sent.clone(),
                    truth: truth.clone(),
                    text: format!("{}: packet {index}", self.trial.again(case)),
                });
                continue;
            }
            self.tally.add(&at, truth, line, &answer);
            let told = line.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            if let Answer::Wrong(why) = answer {
                self.tally.wrong.push(format!(
                    "{}: packet {index}: {why}\n  {sent:?}\n  observer: {told}\n{}",
                    self.trial.again(case),
                    rules.text
                ));
                wrong.push(index);
            }
        }
        if let (Some(index), Some(save)) = (wrong.first(), self.trial.save.clone())
            && self.shrunk < MOST_SHRUNK
        {
            self.shrunk += 1;
            let text = shrink::shrink(self, &rules, &sent[*index], &save, case)?;
            self.tally.wrong.push(text);
        }
        Ok(())
    }

    /// Sends packets through the ruleset that is loaded: what became of each, if that can be told, and what observer says.
    fn send(&mut self, sent: &[Sent]) -> Result<(Option<Vec<Truth>>, Vec<Value>)> {
        let tracer = self.tracer.as_ref();
        let mut witness = Witness::of(&self.world, tracer)?;
        if !self.trial.bursts {
            let mut truths = Vec::new();
            for one in sent {
                self.world.send(one)?;
                truths.push(witness.of_one(one, tracer)?);
            }
            let lines = self.told(sent, Some(&truths), None)?;
            return Ok((Some(truths), lines));
        }
        for one in sent {
            self.world.send(one)?;
        }
        let truths = witness.of_all(sent, tracer)?;
        let totals = witness.totals()?;
        let lines = self.told(sent, truths.as_deref(), totals.as_ref())?;
        if let Some(totals) = totals {
            let wrong = self.ledger.compare(&totals, &lines, &mut self.tally);
            self.tally.packets += sent.len() as u64;
            self.tally.wrong.extend(wrong);
        }
        Ok((truths, lines))
    }

    /// Judges what is told late.
    fn take_late(&mut self, lines: &[Value]) {
        let (tally, waiting) = (&mut self.tally, std::mem::take(&mut self.overdue));
        for one in waiting {
            let Some(line) = lines
                .iter()
                .find(|line| line["kind"] == "drop" && one.sent.is_told(line))
            else {
                self.overdue.push(one);
                continue;
            };
            let answer = judge(&one.sent, &one.truth, Some(line));
            tally.late += 1;
            tally.add(&one.at, &one.truth, Some(line), &answer);
            if let Answer::Wrong(why) = answer {
                tally.wrong.push(format!(
                    "{}: {why}\n  {:?}\n  observer: {line}",
                    one.text, one.sent
                ));
            }
        }
    }

    /// What was never told, if observer does not say that it lost something.
    fn take_missing(&mut self) {
        for one in std::mem::take(&mut self.overdue) {
            self.tally.add(&one.at, &one.truth, None, &Answer::Missing);
            if !self.ledger.has_lost() {
                let text = format!(
                    "{}: {:?}, and nothing is told\n  {:?}",
                    one.text, one.truth.fate, one.sent
                );
                self.tally.wrong.push(text);
            }
        }
    }

    /// What is told, once all deaths are, or after some time.
    fn told(
        &mut self,
        sent: &[Sent],
        truths: Option<&[Truth]>,
        totals: Option<&Totals>,
    ) -> Result<Vec<Value>> {
        let expected: u64 = totals.map_or(0, |totals| totals.drops.values().sum());
        let mut lines: Vec<Value> = Vec::new();
        let begun = Instant::now();
        let mut waiting: Vec<&Sent> = truths.map_or_else(Vec::new, |truths| {
            let died = sent.iter().zip(truths);
            let died = died.filter(|(_, truth)| matches!(truth.fate, Fate::Died(_)));
            died.map(|(sent, _)| sent).collect()
        });
        loop {
            let new = self.watcher.lines()?;
            self.ledger.note(&new);
            self.take_late(&new);
            let drops = new.into_iter().filter(|line| line["kind"] == "drop");
            let before = lines.len();
            lines.extend(drops);
            let new = &lines[before..];
            waiting.retain(|sent| !new.iter().any(|line| sent.is_told(line)));
            let told = lines
                .iter()
                .filter(|line| line["drop"]["layer"] == "netfilter")
                .filter(|line| totals.is_none_or(|totals| !totals.is_translated_by(line)))
                .count() as u64;
            let is_all = match truths {
                Some(_) => waiting.is_empty(),
                None => told + self.ledger.lost() >= expected,
            };
            if is_all || begun.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // What is told of packets that lived would come now.
        std::thread::sleep(Duration::from_millis(20));
        let new = self.watcher.lines()?;
        self.ledger.note(&new);
        lines.extend(new.into_iter().filter(|line| line["kind"] == "drop"));
        Ok(lines)
    }

    fn end(mut self, cases: u64, begun: Instant) -> Result<Outcome> {
        let rest = self.watcher.end()?;
        self.ledger.note(&rest);
        self.take_late(&rest);
        self.take_missing();
        let mut tally = self.tally;
        tally.wrong.extend(self.ledger.reconcile());
        if tally.died == 0 {
            bail!("no packet died: nothing was tested");
        }
        let share = |count: u64| 100.0 * count as f64 / tally.died as f64;
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.2} % exact | {} inferred | {} unknown | {} late | {} missing | {} wrong | {} ways | {} by no rule | {} lost | {:.0} s |",
            self.trial.seed,
            self.trial.backend.word(),
            self.trial.family.word(),
            if self.trial.bursts { "bursts" } else { "one by one" },
            self.trial.probes,
            cases,
            tally.packets,
            tally.died,
            share(tally.exact),
            tally.inferred,
            tally.unknown,
            tally.late,
            tally.missing,
            tally.wrong.len(),
            tally.ways,
            tally.no_rule,
            self.ledger.lost(),
            begun.elapsed().as_secs_f32(),
        );
        let why = tally.why.iter();
        let why = why.map(|(why, (count, first))| format!("{count} × {why} ({first})"));
        Ok(Outcome {
            row,
            why: why.collect(),
            wrong: tally.wrong,
        })
    }
}

/// Where a file is kept that shows a finding again.
fn file(save: &Path, name: &str) -> PathBuf {
    save.join(format!("{name}.toml"))
}
