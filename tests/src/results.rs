//! What came of each scenario: a line on the terminal, a line of JSON in a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything held.
    Passed,
    /// Something did not; the lines say what.
    Failed(Vec<String>),
    /// This kernel cannot run it; why.
    Skipped(String),
}

impl Outcome {
    /// Passed if there are none of these.
    pub fn of(failures: Vec<String>) -> Self {
        if failures.is_empty() {
            Self::Passed
        } else {
            Self::Failed(failures)
        }
    }
}

/// How surely observer answered, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The kernel's own state said so.
    Exact,
    /// Replayed from the ruleset.
    Inferred,
    /// It said that it does not know.
    Unknown,
}

impl Answer {
    /// By the confidence of a drop line.
    pub fn of_confidence(word: &str) -> Option<Self> {
        match word {
            "exact" => Some(Self::Exact),
            "inferred" => Some(Self::Inferred),
            "unknown" => Some(Self::Unknown),
            _ => None,
        }
    }

    /// By the evidence of a path line.
    pub fn of_path(line: &Value) -> Self {
        let mut elements = line["path"].as_array().into_iter().flatten();
        if elements.all(|one| one["evidence"] == "observed") {
            Self::Exact
        } else {
            Self::Inferred
        }
    }
}

/// Where outcomes go.
pub struct Results {
    file: Option<File>,
    kernel: String,
    passed: usize,
    failed: usize,
    skipped: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    scenario: &'a str,
    kernel: &'a str,
    outcome: &'a str,
    seconds: f64,
    why: &'a str,
    /// The row of the table of kernels that this counts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

/// A scenario that was run.
pub struct Ran<'a> {
    /// Its name.
    pub name: &'a str,
    /// The row of the table of kernels that it counts for.
    pub feature: Option<&'a str>,
    /// What came of it.
    pub outcome: Outcome,
    /// How surely observer answered.
    pub answer: Option<Answer>,
    /// How long it took.
    pub took: Duration,
}

impl Results {
    /// Appends to `path`, if given.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let append = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write {}", path.display()))
        };
        Ok(Self {
            file: path.map(append).transpose()?,
            kernel: kernel(),
            passed: 0,
            failed: 0,
            skipped: 0,
        })
    }

    /// Notes what came of a scenario.
    pub fn add(&mut self, ran: &Ran) -> Result<()> {
        let Ran {
            name: scenario,
            feature,
            outcome,
            answer,
            took,
        } = ran;
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        let (word, why) = match outcome {
            Outcome::Passed => {
                self.passed += 1;
                ("passed", String::new())
            }
            Outcome::Failed(lines) => {
                self.failed += 1;
                ("failed", lines.first().cloned().unwrap_or_default())
            }
            Outcome::Skipped(why) => {
                self.skipped += 1;
                ("skipped", why.clone())
            }
        };
        let why = why.lines().next().unwrap_or_default();
        let dash = if why.is_empty() { "" } else { " - " };
        say(&format!("{word:7} {seconds:6.1}s {scenario}{dash}{why}"));
        if let Outcome::Failed(lines) = outcome {
            for line in lines.iter().flat_map(|line| line.lines()) {
                say(&format!("            {line}"));
            }
        }
        if let Some(file) = &mut self.file {
            let row = Row {
                scenario,
                kernel: &self.kernel,
                outcome: word,
                seconds,
                why,
                feature: *feature,
                answer: *answer,
            };
            writeln!(file, "{}", serde_json::to_string(&row)?).context("cannot write the results")?;
        }
        Ok(())
    }

    /// Prints the totals; `true` if nothing failed and something ran.
    pub fn end(&self) -> bool {
        let Self {
            passed,
            failed,
            skipped,
            kernel,
            ..
        } = self;
        say(&format!(
            "{kernel}: {passed} passed, {failed} failed, {skipped} skipped"
        ));
        *failed == 0 && passed + skipped > 0
    }
}

/// Prints a line at once. A reader that is gone is no reason to stop: the results also go to a file.
fn say(line: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}
