//! How many instructions pieces of observer's work in user space take, and whether that is still what was recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::results::{Part, Totals};
use crate::{process, workspace};

/// So far a count may be from what is recorded, in percent.
const TOLERANCE: u64 = 5;
/// What the lab calls the function whose instructions count.
const COUNTED: &str = "observer_counted";
/// Which of its functions glibc chooses depends on the processor and its caches: always the same ones, that every x86-64 has.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM,-AVX512F,-AVX512VL,-BMI1,-BMI2,-LZCNT,-MOVBE:\
    glibc.cpu.x86_non_temporal_threshold=0x40000000";

/// What was counted, by what was done, in order.
type Counts = Vec<(String, u64)>;

/// Counts, shows it beside what is recorded, and records it with `update`. What is further off than may be has failed.
pub fn compare(lab: &Path, update: bool) -> Result<Part> {
    let counts = count(lab)?;
    let compiler = compiler()?;
    let file = recorded_at();
    if update {
        fs::write(&file, written(&compiler, &counts))
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("instructions: {} is written", file.display());
    }
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let recorded = Recorded::read(&text)?;
    let (lines, failed) = differences(&counts, &recorded);
    lines.iter().for_each(|line| println!("instructions: {line}"));
    if recorded.compiler != compiler {
        println!(
            "instructions: not held against what is recorded: that was {}, this is {compiler}",
            recorded.compiler
        );
        return Ok(Part::default());
    }
    let failures = lines.iter().filter_map(|line| line.strip_prefix(FAILED));
    Ok(Part {
        totals: Totals {
            passed: (counts.len() as u64).saturating_sub(failed),
            failed,
            ..Totals::default()
        },
        failures: failures.map(|line| format!("instructions: {line}")).collect(),
    })
}

/// Each count beside the recorded one, and how many are too far off.
fn differences(counts: &Counts, recorded: &Recorded) -> (Vec<String>, u64) {
    let mut failed = 0;
    let mut lines = Vec::new();
    for (what, count) in counts {
        let line = match recorded.counts.get(what) {
            None => {
                failed += 1;
                format!("{FAILED}{what}: {count}, and nothing is recorded: {UPDATE}")
            }
            Some(before) => {
                let off = 100.0 * (*count as f64 / *before as f64 - 1.0);
                if 100 * count.abs_diff(*before) > TOLERANCE * before {
                    failed += 1;
                    format!(
                        "{FAILED}{what}: {count}, recorded {before}: {off:+.1} %; if that is as it should be: {UPDATE}"
                    )
                } else {
                    format!("{what}: {count}, {off:+.1} %")
                }
            }
        };
        lines.push(line);
    }
    let done = |what: &&String| counts.iter().any(|(name, _)| name == *what);
    for what in recorded.counts.keys().filter(|what| !done(what)) {
        failed += 1;
        lines.push(format!(
            "{FAILED}{what}: recorded, and not counted any more: {UPDATE}"
        ));
    }
    (lines, failed)
}

/// How a line begins whose count is too far off.
const FAILED: &str = "FAILED ";
const UPDATE: &str = "cargo xtask bench instructions --update";

fn recorded_at() -> PathBuf {
    workspace::root().join("tests/instructions.txt")
}

/// Another compiler makes other instructions.
fn compiler() -> Result<String> {
    let version = process::stdout_of(Command::new("rustc").arg("--version")).context("cannot run rustc")?;
    Ok(version.trim().to_owned())
}

/// Runs the lab under callgrind, which writes a file whenever the counted function returns.
fn count(lab: &Path) -> Result<Counts> {
    let dir = fresh_dir()?;
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", dir.join("counts").display()))
        .args(["--compress-strings=yes", "--quiet"])
        .arg(lab)
        .arg("instructions")
        .env("GLIBC_TUNABLES", TUNABLES);
    process::forget(&mut command, process::describes_this_package);
    let done = process::stdout_of(&mut command).context("the lab failed under valgrind")?;
    let counts = done
        .lines()
        .zip(1..)
        .map(|(what, number)| {
            let file = dir.join(format!("counts.{number}"));
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let count = total(&text).with_context(|| format!("{} has no total", file.display()))?;
            Ok((what.to_owned(), count))
        })
        .collect::<Result<Counts>>()?;
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    if counts.is_empty() {
        bail!("the lab counted nothing");
    }
    Ok(counts)
}

fn fresh_dir() -> Result<PathBuf> {
    let dir = workspace::target().join("instructions");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The total of one of callgrind's files.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| {
        line.strip_prefix("totals:")
            .or_else(|| line.strip_prefix("summary:"))
    });
    line?.trim().parse().ok()
}

/// What is in the file.
#[derive(Debug, PartialEq)]
struct Recorded {
    compiler: String,
    counts: BTreeMap<String, u64>,
}

impl Recorded {
    fn read(text: &str) -> Result<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = lines.next().context("the file of recorded counts is empty")?;
        let counts = lines
            .map(|line| {
                let (count, what) = line.trim().split_once(' ').context("a line has no count")?;
                let count = count.parse().with_context(|| format!("no count: {line}"))?;
                Ok((what.to_owned(), count))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            compiler: compiler.to_owned(),
            counts,
        })
    }
}

fn written(compiler: &str, counts: &Counts) -> String {
    let mut text = format!(
        "# Instructions of pieces of observer's work, as the lab is built (opt-level 1): {UPDATE}\n{compiler}\n"
    );
    for (what, count) in counts {
        _ = writeln!(text, "{count:>11} {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> Counts {
        of.iter()
            .map(|(what, count)| ((*what).to_owned(), *count))
            .collect()
    }

    fn recorded(of: &[(&str, u64)]) -> Recorded {
        Recorded::read(&written("rustc 1", &counts(of))).expect("is read")
    }

    #[test]
    fn what_is_written_is_read() {
        let of = [("a line read", 1_234_567), ("and another", 7)];
        let recorded = recorded(&of);
        assert_eq!(recorded.compiler, "rustc 1");
        assert_eq!(recorded.counts, counts(&of).into_iter().collect());
        assert!(Recorded::read("").is_err());
        assert!(Recorded::read("rustc 1\nmany a line").is_err());
    }

    #[test]
    fn more_than_five_percent_either_way_fails() {
        let recorded = recorded(&[("read", 1000)]);
        for (count, expected) in [(1000, 0), (1050, 0), (950, 0), (1051, 1), (949, 1)] {
            let (lines, failed) = differences(&counts(&[("read", count)]), &recorded);
            assert_eq!(failed, expected, "{lines:?}");
            assert_eq!(lines[0].starts_with("FAILED"), expected == 1);
        }
    }

    #[test]
    fn what_is_on_one_side_only_fails() {
        let (lines, failed) = differences(&counts(&[("new", 1)]), &recorded(&[("old", 1)]));
        assert_eq!((lines.len(), failed), (2, 2), "{lines:?}");
    }

    #[test]
    fn the_total_is_found() {
        let text = "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1)\n5 12\n\ntotals: 34\n";
        assert_eq!(total(text), Some(12));
        assert_eq!(total("totals: 34\n"), Some(34));
        assert_eq!(total("events: Ir\n"), None);
    }
}
