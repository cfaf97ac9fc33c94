//! Running scenarios in this kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::check::{self, End};
use super::culprit::Scene;
use super::judge::{self, judge, judge_kernels};
use super::phase::{self, Record};
use super::spec::{Header, Probes, Scenario};
use super::step::Stage;
use super::{Variant, features};
use crate::cluster::{Cluster, Data, Setup};
use crate::kernel::probes;
use crate::observer::{self, Invocation, Observer, read_lines};
use crate::results::{Answer, Outcome, Ran, Results};
use crate::rights::{self, Watched};
use crate::run_dir::RunDir;
use crate::schema::Schema;
use crate::stopwatch::Stopwatch;

/// What a run of scenarios works with.
pub struct Lab {
    /// The lab's files.
    pub data: Data,
    /// The program under test; without one only the kernel's side of each scenario is checked.
    pub observer: Option<PathBuf>,
    /// Packages with the same program in them, of which each kind is installed.
    pub packages: Vec<PathBuf>,
    /// This run.
    pub run: RunDir,
    /// The schema of the trace, if it is there.
    pub schema: Option<Schema>,
    /// How long to wait for something that must happen.
    pub patience: Duration,
    /// Whether to keep observer's output and where.
    pub keep: Option<PathBuf>,
    /// Whether to print where the time of each scenario went.
    pub times: bool,
}

/// How often a scenario is begun at the most in which the kernel does otherwise than it says.
const TRIES: usize = 2;

/// How a run of a scenario ended.
struct Ended {
    outcome: Outcome,
    answer: Option<Answer>,
    /// What the kernel's own counters and traces say that the scenario does not: packets went elsewhere, and nothing was
    /// tested.
    strayed: Vec<String>,
}

impl Ended {
    fn with(outcome: Outcome) -> Self {
        Self {
            outcome,
            answer: None,
            strayed: Vec::new(),
        }
    }
}

impl Lab {
    /// Runs variants one after the other; `true` if none failed.
    pub fn run_all(&self, variants: &[Variant], results: &mut Results) -> Result<bool> {
        for (number, variant) in variants.iter().enumerate() {
            let alone = self.run.alone()?;
            let begun = Instant::now();
            let ended = self.run_one(variant, number).unwrap_or_else(|error| {
                let why = error
                    .chain()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(": ");
                Ended::with(Outcome::Failed(vec![why]))
            });
            drop(alone);
            results.add(&Ran {
                name: &variant.name,
                feature: variant.feature.as_deref(),
                outcome: ended.outcome,
                answer: ended.answer,
                took: begun.elapsed(),
            })?;
        }
        Ok(results.end())
    }

    /// A busy machine may reorder or lose what a scenario sends. Where the kernel itself says so the scenario is begun anew; what
    /// observer says of what did happen as described is never asked for twice.
    fn run_one(&self, variant: &Variant, number: usize) -> Result<Ended> {
        for attempt in 1..TRIES {
            let ended = self.try_one(variant, number, attempt)?;
            if ended.strayed.is_empty() {
                return Ok(ended);
            }
            println!(
                "        {}: the kernel did otherwise than is said, so once more: {}",
                variant.name,
                ended.strayed.join("; ")
            );
        }
        self.try_one(variant, number, TRIES)
    }

    fn try_one(&self, variant: &Variant, number: usize, attempt: usize) -> Result<Ended> {
        let work = self.run.path().join(format!("{number}-{attempt}"));
        std::fs::create_dir_all(&work)?;
        let place = Place {
            variant,
            work: &work,
            prefix: format!(
                "lab-{}-{number}{}-",
                std::process::id(),
                &"abc"[attempt - 1..attempt]
            ),
        };
        if self.observer.is_some() && !variant.without_bpf && !probes::programs() {
            let why = "this kernel is too old for observer's programs";
            return Ok(Ended::with(Outcome::Skipped(why.to_owned())));
        }
        let ended = match variant.case {
            Some(case) => case(self, &place).map(Ended::with),
            None => self.run_file(&place),
        };
        if let Some(keep) = &self.keep {
            let to = keep.join(variant.name.replace(':', "-"));
            std::fs::create_dir_all(&to)?;
            for entry in std::fs::read_dir(&work)?
                .flatten()
                .filter(|entry| entry.path().is_file())
            {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        ended
    }

    fn run_file(&self, place: &Place) -> Result<Ended> {
        let variant = place.variant;
        let file = format!("scenarios/{}.toml", variant.scenario);
        let text = self.data.read(&file)?;
        let blank = Header::parse(&text).with_context(|| file.clone())?;
        let (cluster, _) = self.data.cluster(&blank.cluster)?;
        let needs: Vec<String> = blank.needs.iter().chain(&cluster.needs).cloned().collect();
        if let Some(why) = features::lacking(&needs, &self.run)? {
            return Ok(Ended::with(Outcome::Skipped(why)));
        }
        // Without an observer everything can be looked at but what probes would show.
        let probes = blank.needs_probes.filter(|_| self.observer.is_some());
        if let Some(probes) = probes.filter(|probes| !probes.is_here()) {
            let why = match probes {
                Probes::Path => "this kernel lets no program observe paths",
                Probes::Drops => "it is about kernels that let no program observe paths",
                Probes::None => "it is about kernels that are too old for observer's programs",
            };
            return Ok(Ended::with(Outcome::Skipped(why.to_owned())));
        }
        let watch = Stopwatch::start();
        let mut cluster = Cluster::up(&self.data, &blank.cluster, &place.setup(), &self.run)?;
        cluster.introduce(&text)?;
        watch.lap("cluster");
        let mut names = cluster.names().clone();
        names.set("work", &place.work.to_string_lossy());
        let scenario = Scenario::parse(&names.fill(&text)?).context(file)?;
        let outcome = self.play(place, cluster, &scenario, &watch);
        watch.lap("down");
        if self.times {
            println!("        {}", watch.laps());
        }
        outcome
    }

    fn play(&self, place: &Place, cluster: Cluster, scenario: &Scenario, watch: &Stopwatch) -> Result<Ended> {
        let trace = place.work.join(if scenario.observer.text {
            "trace.json"
        } else {
            "stdout"
        });
        let mut stage = Stage {
            cluster,
            data: &self.data,
            run: &self.run,
            trace: &trace,
            observed: self.observer.is_some(),
            program: self.observer.as_deref(),
            patience: self.patience,
            watch,
            tracers: BTreeMap::new(),
        };
        for step in &scenario.setup {
            step.perform(&mut stage)?;
        }
        stage.trace_nodes(&scenario.traced)?;
        watch.lap("set-up");
        let Some(program) = &self.observer else {
            return kernel_only(&mut stage, scenario).map(Ended::with);
        };
        let args = arguments(scenario, &trace);
        let how = Invocation {
            program,
            args: &args,
            cage: &scenario.observer.cage,
            directory: place.work,
        };
        let mut observer = Observer::start(&how)?;
        let mut failures = Vec::new();
        let mut records: Vec<Record> = Vec::new();
        if !scenario.observer.fails {
            observer.wait_for_start(&trace, self.patience * 3)?;
            watch.lap("start");
            let watched = watched(&trace)?;
            failures.extend(rights::failures(observer.pid(), watched, self.patience)?);
            for phase in scenario.phases() {
                records.push(phase::go(&mut stage, &phase)?);
            }
            if !scenario.observer.ends {
                // Whatever it has begun meanwhile.
                failures.extend(rights::failures(observer.pid(), watched, self.patience)?);
                observer.signal(ending(scenario)?)?;
            }
        }
        let status = observer.wait(self.patience * 2)?;
        watch.lap("end");
        let end = End {
            code: observer::code(status),
            stdout: observer.stdout(),
            stderr: observer.stderr(),
        };
        failures.extend(check::exit(&scenario.exit, &end));
        let (mut answer, mut strayed) = (None, Vec::new());
        if !scenario.observer.fails {
            let lines = read_lines(&trace)?;
            let scene = Scene::of(&stage.cluster)?;
            strayed = judge_kernels(&scene, &records)?;
            failures.extend(judge(&scene, &records, &lines)?);
            failures.extend(check::trace(scenario, &lines, self.schema.as_ref())?);
            answer = judge::answer(&records, &lines);
        }
        watch.lap("judge");
        let outcome = if failures.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Failed(failures)
        };
        Ok(Ended {
            outcome,
            answer,
            strayed,
        })
    }
}

/// What its first line says that it watches.
fn watched(trace: &Path) -> Result<Watched> {
    let lines = read_lines(trace)?;
    let probes = lines
        .iter()
        .find(|line| line["kind"] == "start")
        .map(|line| &line["probes"]);
    let probes = probes
        .and_then(|probes| probes.as_array())
        .context("a start line without probes")?;
    Ok(if probes.is_empty() {
        Watched::Counters
    } else {
        Watched::Packets
    })
}

/// Goes through a scenario without an observer: do the requests and counters show what the file says?
fn kernel_only(stage: &mut Stage, scenario: &Scenario) -> Result<Outcome> {
    if scenario.observer.fails {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    }
    let mut records = Vec::new();
    for phase in scenario.phases() {
        records.push(phase::go(stage, &phase)?);
    }
    let failures = judge_kernels(&Scene::of(&stage.cluster)?, &records)?;
    Ok(Outcome::of(failures))
}

fn ending(scenario: &Scenario) -> Result<Signal> {
    let name = scenario.observer.signal.as_deref().unwrap_or("SIGINT");
    name.parse().with_context(|| format!("`{name}` is no signal"))
}

fn arguments(scenario: &Scenario, trace: &Path) -> Vec<String> {
    let spec = &scenario.observer;
    let verb = spec.verb.clone().unwrap_or_else(|| "watch".into());
    let mut args = vec![verb];
    if spec.text {
        args.extend(["--write".into(), trace.to_string_lossy().into_owned()]);
    } else if spec.verb.is_none() {
        args.extend(["-o".into(), "json".into()]);
    }
    args.extend(spec.args.iter().cloned());
    args
}

/// Where a variant runs.
pub struct Place<'a> {
    /// The variant.
    pub variant: &'a Variant,
    /// A directory for its files.
    pub work: &'a Path,
    /// What goes before the names of its namespaces.
    pub prefix: String,
}

impl Place<'_> {
    /// How its cluster is set up.
    pub fn setup(&self) -> Setup {
        Setup {
            backend: self.variant.backend,
            family: self.variant.family,
            prefix: self.prefix.clone(),
        }
    }
}
