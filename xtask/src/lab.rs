//! Starting the lab: on this machine, or on another kernel in a virtual machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::kernels::{Kernel, NAME_WIDTH, Series};
use crate::processor::Processor;
use crate::relay::Sink;
use crate::results::Column;
use crate::vm::{Clock, Guest, quoted};
use crate::workspace::{self, Profile};
use crate::{build, dist, features, kernels, process, setup};

/// All scenarios of one kernel take some seven minutes, several times as long on a busy machine; one that takes longer
/// than this hangs.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// What the lab writes its lines to, in the directory of the place it runs in.
const RESULTS: &str = "results.jsonl";

/// Where scenarios can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this machine's own kernel; needs root.
    Host,
    /// In a virtual machine.
    Vm(Series),
    /// In one whose first program is systemd.
    Systemd,
}

impl Place {
    /// The kernel of a virtual machine.
    pub fn series(self) -> Option<Series> {
        match self {
            Self::Host => None,
            Self::Vm(series) => Some(series),
            Self::Systemd => Some(kernels::DEFAULT),
        }
    }
}

/// Which scenarios to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// All of them.
    Every,
    /// One variant of each whose file says `every_kernel = true`: another for each turn.
    OneVariant(usize),
    /// Those of every kernel, and one variant of each that shows something only where packets can be followed.
    OfPaths,
    /// Those that show the same on a kernel that is too old for observer's programs.
    WithoutBpf,
    /// One variant of each of those.
    OneWithoutBpf,
    /// Those with this in their name.
    Named(&'a str),
}

impl Choice<'_> {
    /// What the lab is told.
    fn words(self) -> Vec<String> {
        match self {
            Self::Every => vec![],
            Self::OneVariant(turn) => {
                vec![
                    "--every-kernel".to_owned(),
                    "--one-variant".to_owned(),
                    turn.to_string(),
                ]
            }
            Self::OfPaths => vec!["--of-paths".to_owned()],
            Self::WithoutBpf => vec!["--without-bpf".to_owned()],
            Self::OneWithoutBpf => ["--without-bpf", "--one-variant", "0"]
                .map(str::to_owned)
                .to_vec(),
            Self::Named(part) => vec![part.to_owned()],
        }
    }
}

/// The programs of the lab, built.
pub struct Lab {
    /// For this machine.
    own: Programs,
    /// For virtual machines of another processor.
    foreign: Vec<Programs>,
    /// Packages with the same program, for where they can be installed.
    packages: Vec<PathBuf>,
}

/// The lab's own program, and the one that it starts.
struct Programs {
    processor: Processor,
    lab: PathBuf,
    observer: PathBuf,
}

impl Programs {
    /// Builds them. For another processor observer is built as the lab is, which takes half as long: what is shipped is the same source.
    fn build(processor: Processor) -> Result<Self> {
        let profile = if processor.is_here() {
            Profile::Release
        } else {
            Profile::Lab
        };
        build::observer(profile, processor)?;
        build::lab(processor)?;
        Ok(Self {
            processor,
            lab: workspace::binary("observer-lab", Profile::Lab, processor),
            observer: workspace::binary("observer", profile, processor),
        })
    }

    /// For sh: observer where a guest reads it fast.
    fn copy(&self) -> String {
        let observer = quoted(&self.observer.display().to_string());
        format!("cp {observer} /run/observer")
    }
}

impl Lab {
    /// Builds what the lab needs, as it is shipped: optimised, with the eBPF object in it.
    ///
    /// For the places it is also built for the processors of these.
    pub fn build(places: &[Place]) -> Result<Self> {
        let own = Programs::build(Processor::here())?;
        let mut foreign = Vec::new();
        for processor in Processor::ALL {
            let is_of = |place: &Place| {
                place
                    .series()
                    .is_some_and(|series| series.processor() == processor)
            };
            if !processor.is_here() && places.iter().any(is_of) {
                foreign.push(Programs::build(processor)?);
            }
        }
        Ok(Self {
            own,
            foreign,
            packages: Vec::new(),
        })
    }

    /// Those that run on a kernel.
    fn programs(&self, series: Series) -> &Programs {
        let mut foreign = self.foreign.iter();
        foreign
            .find(|programs| programs.processor == series.processor())
            .unwrap_or(&self.own)
    }

    /// Packs the program, for what systemd starts; looks at what came of it if asked to.
    pub fn pack(&mut self, and_check: bool) -> Result<()> {
        let made = dist::pack(&[Processor::here()])?;
        self.packages = vec![made.deb(), made.rpm()];
        if and_check { made.check() } else { Ok(()) }
    }

    /// The lab's program.
    pub fn program(&self) -> &Path {
        &self.own.lab
    }

    /// Runs the scenarios of `choice` and gathers what came out. What goes wrong is part of that.
    pub fn run(&self, place: Place, choice: Choice) -> Column {
        match place {
            Place::Host => self.run_here(choice),
            Place::Vm(series) => self.run_in_vm(series, false, choice),
            Place::Systemd => self.run_in_vm(kernels::DEFAULT, true, choice),
        }
    }

    fn run_here(&self, choice: Choice) -> Column {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let heading = format!("{} (host)", release.trim());
        let series: Vec<&str> = release.splitn(3, '.').take(2).collect();
        let short = format!("{}, this machine's", series.join("."));
        column(heading, short, "host", |dir| {
            let mut command = Command::new(&self.own.lab);
            command.args(Self::arguments(&self.own.observer, dir, choice));
            process::forget(&mut command, process::describes_this_package);
            let code = said_with_name(&mut command, "host")?;
            if code != Some(0) {
                bail!(
                    "the lab ended with {}",
                    code.map_or("a signal".to_owned(), |code| format!("code {code}"))
                );
            }
            Ok(())
        })
    }

    fn run_in_vm(&self, series: Series, systemd: bool, choice: Choice) -> Column {
        let name = if systemd {
            "systemd".to_owned()
        } else {
            series.to_string()
        };
        let kernel = match setup::vm(series) {
            Ok(kernel) => kernel,
            Err(error) => {
                return Column::new(name.clone(), name, "", Some(format!("{error:#}")));
            }
        };
        let heading = match systemd {
            true => format!("{} (systemd)", kernel.release),
            false => kernel.release.clone(),
        };
        column(heading, name.clone(), &name, |dir| {
            // The guest reads this machine's files slowly, and starts observer once for each scenario.
            let programs = self.programs(series);
            let copy = programs.copy();
            let mut words = vec![programs.lab.display().to_string()];
            words.extend(Self::arguments(Path::new("/run/observer"), dir, choice));
            for package in self.packages.iter().filter(|_| systemd) {
                words.extend(["--package".to_owned(), package.display().to_string()]);
            }
            // Emulated, and two machines at a time: what takes a second elsewhere may take many.
            words.extend(["--patience", "30"].map(str::to_owned));
            let line = format!("{copy} && {}", line(&words));
            let here = workspace::root();
            let guest = Guest {
                systemd,
                ..guest(&kernel, &line, &here, dir)
            };
            match guest.run(&Sink::Named(format!("{name:>NAME_WIDTH$}")))? {
                0 => Ok(()),
                code => bail!("the lab ended with code {code}"),
            }
        })
    }

    fn arguments(observer: &Path, dir: &Path, choice: Choice) -> Vec<String> {
        let files = [
            ("--observer", observer.to_path_buf()),
            ("--results", dir.join(RESULTS)),
            ("--keep", dir.join("kept")),
        ];
        let options = files
            .into_iter()
            .flat_map(|(name, file)| [name.to_owned(), file.display().to_string()]);
        ["run".to_owned()]
            .into_iter()
            .chain(options)
            .chain(choice.words())
            .collect()
    }

    /// Measures observer on this machine, by one of the lab's verbs; returns the lab's exit code.
    pub fn bench(&self, verb: &str) -> Result<i32> {
        let observer = self.own.observer.display().to_string();
        self.here(&[verb.to_owned(), "--observer".to_owned(), observer])
    }

    /// Measures in a virtual machine what watching costs packets that live; returns the lab's exit code.
    pub fn bench_paths(&self, series: Series, rounds: usize, only: &str, clock: Clock) -> Result<i32> {
        let kernel = setup::vm(series)?;
        let programs = self.programs(series);
        let copy = programs.copy();
        let mut words = vec![programs.lab.display().to_string()];
        let rounds = rounds.to_string();
        words.extend(
            [
                "bench-paths",
                "--observer",
                "/run/observer",
                "--rounds",
                &rounds,
                only,
            ]
            .map(str::to_owned),
        );
        if clock == Clock::Instructions {
            println!("bench: time is counted in instructions: a second has 1,000,000,000");
        }
        Guest {
            clock,
            ..guest(
                &kernel,
                &format!("{copy} && {}", line(&words)),
                &workspace::root(),
                &workspace::target().join("bench"),
            )
        }
        .run(&Sink::Plain)
    }

    /// Runs the oracle; scenarios of what it finds are left in `found`. Returns the lab's exit code.
    pub fn oracle(&self, place: Place, words: &[String], found: &Path) -> Result<i32> {
        fs::create_dir_all(found).with_context(|| format!("cannot make {}", found.display()))?;
        let arguments = |observer: &Path| {
            let mut all = vec![
                "oracle".to_owned(),
                "--observer".to_owned(),
                observer.display().to_string(),
            ];
            all.extend(["--save".to_owned(), found.display().to_string()]);
            all.extend_from_slice(words);
            all
        };
        match place {
            Place::Host => self.here(&arguments(&self.own.observer)),
            Place::Systemd => bail!("the oracle runs on this machine or in a virtual machine: give a series"),
            Place::Vm(series) => {
                let kernel = setup::vm(series)?;
                let programs = self.programs(series);
                let copy = programs.copy();
                let mut all = vec![programs.lab.display().to_string()];
                all.extend(arguments(Path::new("/run/observer")));
                in_vm(&kernel, &format!("{copy} && {}", line(&all)), found, &Sink::Plain)
            }
        }
    }

    /// Runs the lab on this machine, its output going where ours goes.
    fn here(&self, arguments: &[String]) -> Result<i32> {
        let mut command = Command::new(&self.own.lab);
        command.args(arguments).current_dir(workspace::root());
        process::forget(&mut command, process::describes_this_package);
        let status = command.status().context("cannot start the lab")?;
        Ok(status.code().unwrap_or(2))
    }

    /// Shows the demo on this machine, or in a virtual machine if this kernel cannot; returns its exit code.
    pub fn demo(&self, place: Place, backend: Option<&str>) -> Result<i32> {
        let programs = place.series().map_or(&self.own, |series| self.programs(series));
        let mut words = vec![programs.lab.display().to_string(), "demo".to_owned()];
        words.extend(["--observer".to_owned(), programs.observer.display().to_string()]);
        words.extend(backend.map(str::to_owned));
        match place {
            Place::Host => self.here(&words[1..]),
            Place::Systemd => bail!("the demo runs on this machine or in a virtual machine: give a series"),
            Place::Vm(series) => {
                let kernel = setup::vm(series)?;
                in_vm(
                    &kernel,
                    &line(&words),
                    &workspace::target().join("demo"),
                    &Sink::Plain,
                )
            }
        }
    }
}

/// A command line for sh.
fn line(words: &[String]) -> String {
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn in_vm(kernel: &Kernel, command: &str, results: &Path, sink: &Sink) -> Result<i32> {
    guest(kernel, command, &workspace::root(), results).run(sink)
}

fn guest<'a>(kernel: &'a Kernel, command: &'a str, here: &'a Path, results: &'a Path) -> Guest<'a> {
    Guest {
        kernel,
        command,
        here,
        results,
        limit: LIMIT,
        clock: Clock::Time,
        systemd: false,
    }
}

/// Runs with a fresh directory, which stays for whoever wants to know more, then reads the results from it.
fn column(heading: String, short: String, name: &str, run: impl FnOnce(&Path) -> Result<()>) -> Column {
    let dir = workspace::target().join("test").join(name);
    let outcome = fresh(&dir).and_then(|()| run(&dir));
    // Nothing when nothing was written: the outcome says why.
    let lines = fs::read_to_string(dir.join(RESULTS)).unwrap_or_default();
    let trouble = outcome.err().map(|error| format!("{error:#}"));
    let column = Column::new(heading, short, &lines, trouble);
    if let Err(error) = features::leave(&dir, &column) {
        eprintln!("test: {error:#}");
    }
    column
}

fn fresh(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Runs `command` and passes its lines on, each after a name, as those from virtual machines are.
fn said_with_name(command: &mut Command, name: &str) -> Result<Option<i32>> {
    let sink = Sink::Named(format!("{name:>NAME_WIDTH$}"));
    // One pipe for both, so that what it says and what it complains of stay in order.
    let (ours, theirs) = std::io::pipe().context("cannot make a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(theirs.try_clone()?)
        .stderr(theirs)
        .current_dir(workspace::root());
    let mut child = command.spawn().context("cannot start the lab")?;
    // The pipe ends when its last writer does; our copies must not count.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(ours).split(b'\n') {
        sink.stdout(&line.context("cannot read from the lab")?)
            .context("cannot pass the output on")?;
    }
    Ok(child.wait().context("cannot wait for the lab")?.code())
}
