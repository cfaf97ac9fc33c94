//! `cargo xtask test`: unit tests, then every scenario on every kernel, and one table of it all.

use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};
use std::str::FromStr;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::kernels::{MATRIX, Series};
use crate::lab::{self, Lab, Place};
use crate::processor::Processor;
use crate::results::{self, Column, Part, Totals};
use crate::vm::PROCESSORS;
use crate::{build, features, instructions, process, setup};

/// The options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only the tests whose name contains this
    filter: Option<String>,
    /// Only the scenarios, and only on these kernels: host, a series such as 6.12 or 6.12-rt, systemd (6.12 with systemd as its
    /// first program), or all (which adds the unit tests)
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<Choice>,
    /// Write what the scenarios showed into the table of docs/kernels.md: the columns of the kernels that ran
    #[arg(long, conflicts_with = "filter")]
    update_docs: bool,
}

/// The scenarios that run where systemd is the first program, and nowhere else, begin so.
const SERVICE: &str = "the-systemd-unit-as-systemd-runs-it";
/// The longest of their names.
const PACKAGED: &str = "the-systemd-unit-as-systemd-runs-it-from-a-package-of-rpm";

/// What `--kernel` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The whole matrix.
    All,
    /// One place.
    One(Place),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "host" => Ok(Self::One(Place::Host)),
            "systemd" => Ok(Self::One(Place::Systemd)),
            series => series
                .parse::<Series>()
                .map(|series| Self::One(Place::Vm(series))),
        }
    }
}

/// Runs what was asked for. The last line is always the total; the code is 1 when anything failed.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let everything = arguments.kernels.is_empty() || arguments.kernels.contains(&Choice::All);
    let filter = arguments.filter.as_deref();
    let mut places = places(&arguments.kernels, filter);
    if places.contains(&Place::Host) && !nix::unistd::geteuid().is_root() {
        bail!(
            "scenarios on this machine need root: sudo env PATH=\"$PATH\" HOME=\"$HOME\" cargo xtask test \
             (cargo test runs the unit tests, --kernel 6.12 the scenarios in a VM, both without)"
        );
    }
    setup::lab()?;
    let mut left_out = Vec::new();
    for place in &places {
        let Some(series) = place.series() else { continue };
        match setup::vm(series) {
            // Its release may be gone from the mirrors: then the others are tested. Asked for by name it must be there.
            Err(error) if series.is_without_bpf() && !arguments.kernels.contains(&Choice::One(*place)) => {
                eprintln!("test: {series} is left out: {error:#}");
                left_out.push(*place);
            }
            outcome => drop(outcome?),
        }
    }
    places.retain(|place| !left_out.contains(place));
    let mut all = Part::default();
    if everything {
        all.add(unit_tests(filter)?);
    }
    // What a kernel showed is written when it ends: a run that is broken off keeps it.
    let ended = |columns: &[Column]| {
        if arguments.update_docs {
            features::update(columns)
        } else {
            Ok(())
        }
    };
    let mut lab = Lab::build(&places)?;
    if places.contains(&Place::Systemd) {
        all.add(packages(&mut lab, everything && filter.is_none())?);
    }
    if everything && filter.is_none() {
        all.add(instructions::compare(lab.program(), false)?);
    }
    let columns = scenarios(&lab, &places, filter, ended)?;
    columns.iter().for_each(|column| all.add(Part::of(column)));
    println!("\n{}", results::table(&columns));
    if !arguments.update_docs && filter.is_none() {
        for note in features::differences(&columns)? {
            println!("note: {note}");
        }
    }
    println!("{}", all.closing());
    Ok(if all.totals.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// The places to run in, each once, in the order of the table. What systemd starts is one scenario: where others are asked for by
/// name it is left out.
fn places(choices: &[Choice], filter: Option<&str>) -> Vec<Place> {
    let is_asked = filter.is_none_or(|part| PACKAGED.contains(part));
    let all = || {
        let service = is_asked.then_some(Place::Systemd);
        [Place::Host]
            .into_iter()
            .chain(MATRIX.map(Place::Vm))
            .chain(service)
    };
    if choices.is_empty() {
        return all().collect();
    }
    let mut places = Vec::new();
    for choice in choices {
        let more: Vec<Place> = match choice {
            Choice::All => all().collect(),
            Choice::One(place) => vec![*place],
        };
        for place in more {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// This machine first, then the virtual machines: side by side where each has processors of its own. Those that share
/// them are three times as slow (an emulated processor that does not run holds the locks the others wait for), so on
/// two processors they are quicker in turn.
///
/// `ended` is told the columns of the places that have ended together.
fn scenarios(
    lab: &Lab,
    places: &[Place],
    filter: Option<&str>,
    ended: impl Fn(&[Column]) -> Result<()>,
) -> Result<Vec<Column>> {
    let (here, there): (Vec<Place>, Vec<Place>) = places.iter().partition(|place| **place == Place::Host);
    let mut columns = Vec::new();
    for place in here {
        columns.push(lab.run(place, choice(place, filter, places)));
        ended(&columns)?;
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    for some in there.chunks((processors / PROCESSORS).max(1)) {
        let new = side_by_side(lab, some, |place| choice(place, filter, places));
        ended(&new)?;
        columns.extend(new);
    }
    Ok(columns)
}

/// Everything, or what was named. Emulated machines are slow: in a run of several kernels they run one variant of the scenarios
/// that are marked for every kernel, and one of them all of these, and those that this machine's own kernel may not be able to.
fn choice<'a>(place: Place, filter: Option<&'a str>, places: &[Place]) -> lab::Choice<'a> {
    match (filter, place) {
        (Some(part), _) => lab::Choice::Named(part),
        (None, Place::Systemd) => lab::Choice::Named(SERVICE),
        (None, Place::Vm(series)) if series.is_without_bpf() && places.len() > 1 => {
            lab::Choice::OneWithoutBpf
        }
        (None, Place::Vm(series)) if series.is_without_bpf() => lab::Choice::WithoutBpf,
        (None, Place::Vm(series)) if places.len() > 1 && series.runs_all_of_paths() => lab::Choice::OfPaths,
        (None, Place::Vm(series)) if places.len() > 1 => lab::Choice::OneVariant(series.turn()),
        (None, _) => lab::Choice::Every,
    }
}

fn side_by_side<'a>(lab: &Lab, places: &[Place], choice: impl Fn(Place) -> lab::Choice<'a>) -> Vec<Column> {
    let mut columns = Vec::new();
    thread::scope(|scope| {
        let running: Vec<_> = places
            .iter()
            .map(|&place| {
                let choice = choice(place);
                (place, scope.spawn(move || lab.run(place, choice)))
            })
            .collect();
        for (place, thread) in running {
            let column = thread.join().unwrap_or_else(|_| {
                Column::new(
                    format!("{place:?}"),
                    format!("{place:?}"),
                    "",
                    Some("xtask itself failed: see above".to_owned()),
                )
            });
            columns.push(column);
        }
    });
    columns
}

/// What a release consists of is packed, and in a run of everything held against what others' tools say: one test then.
fn packages(lab: &mut Lab, are_checked: bool) -> Result<Part> {
    let mut part = Part::default();
    match lab.pack(are_checked) {
        Ok(()) => part.totals.passed = u64::from(are_checked),
        Err(error) if are_checked => {
            println!("packages ... FAILED: {error:#}");
            part.totals.failed = 1;
            part.failures.push(format!("packages: {error:#}"));
        }
        Err(error) => return Err(error),
    }
    Ok(part)
}

/// The workspace's unit tests; the kernel programs have none, they build for another target.
fn unit_tests(filter: Option<&str>) -> Result<Part> {
    build::object(Processor::here())?;
    let mut cargo = process::cargo();
    cargo
        .args([
            "test",
            "--workspace",
            "--exclude",
            "observer-ebpf",
            "--no-fail-fast",
        ])
        .args(filter);
    build::embed(&mut cargo, Processor::here());
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let mut part = Part::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read what cargo test prints")?;
            println!("{line}");
            part.totals.add(Totals::of_cargo(&line).unwrap_or_default());
            let failed = line
                .strip_prefix("test ")
                .and_then(|line| line.strip_suffix(" ... FAILED"));
            part.failures
                .extend(failed.map(|name| format!("unit test {name}")));
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    if !status.success() && part.totals.failed == 0 {
        bail!("cargo test failed before any test did: see above");
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(texts: &[&str]) -> Vec<Choice> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn without_a_choice_the_whole_matrix_is_run() {
        assert_eq!(places(&[], None), places(&choices(&["all"]), None));
        assert_eq!(places(&[], None).len(), 2 + MATRIX.len());
    }

    #[test]
    fn systemd_starts_a_machine_for_its_own_scenario_alone() {
        assert!(places(&[], Some("systemd-unit")).contains(&Place::Systemd));
        assert!(!places(&[], Some("seed")).contains(&Place::Systemd));
        let asked = choices(&["systemd"]);
        assert_eq!(places(&asked, Some("seed")), [Place::Systemd]);
        let named = lab::Choice::Named(SERVICE);
        assert_eq!(choice(Place::Systemd, None, &[Place::Systemd]), named);
    }

    #[test]
    fn a_place_named_twice_is_run_once() {
        assert_eq!(places(&choices(&["6.12", "host", "6.12"]), None).len(), 2);
        assert_eq!(places(&choices(&["6.12", "all"]), None).len(), 2 + MATRIX.len());
    }

    #[test]
    fn a_virtual_machine_runs_everything_only_when_it_is_asked_for_alone() {
        let all = places(&[], None);
        let rt = Place::Vm("6.12-rt".parse().unwrap());
        let ordinary = Place::Vm("6.12".parse().unwrap());
        let stable = Place::Vm("6.1".parse().unwrap());
        let cloud = Place::Vm("6.1-cloud".parse().unwrap());
        let old = Place::Vm("5.10".parse().unwrap());
        assert_eq!(choice(old, None, &all), lab::Choice::OneWithoutBpf);
        assert_eq!(choice(old, None, &[old]), lab::Choice::WithoutBpf);
        assert_eq!(choice(rt, None, &all), lab::Choice::OneVariant(1));
        assert_eq!(choice(ordinary, None, &all), lab::Choice::OfPaths);
        // Two kernels from one source share the variants.
        assert_eq!(choice(stable, None, &all), lab::Choice::OneVariant(0));
        assert_eq!(choice(cloud, None, &all), lab::Choice::OneVariant(1));
        assert_eq!(choice(ordinary, None, &[ordinary]), lab::Choice::Every);
        assert_eq!(choice(Place::Host, None, &all), lab::Choice::Every);
        assert_eq!(choice(rt, None, &[rt]), lab::Choice::Every);
        assert_eq!(choice(rt, Some("seed"), &all), lab::Choice::Named("seed"));
    }

    #[test]
    fn a_kernel_that_is_none_is_refused() {
        assert!("newest".parse::<Choice>().is_err());
    }
}
