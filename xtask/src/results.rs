//! What came out: the lab's lines merged over all kernels, as one table and one total.

use std::fmt::Write as _;

use serde::Deserialize;

/// One scenario on one kernel, as the lab writes it: a line of JSON.
#[derive(Debug, Clone, Deserialize)]
pub struct Scenario {
    /// The scenario's name.
    pub scenario: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(default)]
    pub seconds: f64,
    /// Why it failed or was skipped.
    #[serde(default)]
    pub why: Option<String>,
    /// The feature that it counts for.
    #[serde(default)]
    pub feature: Option<String>,
    /// How surely observer answered.
    #[serde(default)]
    pub answer: Option<String>,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise.
    Failed,
    /// Not run, since this kernel cannot.
    Skipped,
}

/// All scenarios of one kernel.
pub struct Column {
    /// The kernel's release, and whether it is this machine's own.
    pub heading: String,
    /// The kernel as `--kernel` names it; this machine's own by its series.
    pub short: String,
    /// In the order they ran in.
    pub scenarios: Vec<Scenario>,
}

impl Column {
    /// Reads what the lab wrote. `trouble` says what went wrong with the run as a whole, and counts as a failure.
    pub fn new(heading: String, short: String, lines: &str, trouble: Option<String>) -> Self {
        let mut scenarios = Vec::new();
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(scenario) => scenarios.push(scenario),
                Err(error) => scenarios.push(whole_run(format!(
                    "a line of results is not as agreed: {error}: {line}"
                ))),
            }
        }
        // A lab that ends with an error because scenarios failed has said so by them.
        let told = scenarios
            .iter()
            .any(|scenario| scenario.outcome == Outcome::Failed);
        match trouble {
            Some(why) if !told => scenarios.push(whole_run(why)),
            None if scenarios.is_empty() => scenarios.push(whole_run("no scenario ran".to_owned())),
            _ => {}
        }
        Self {
            heading,
            short,
            scenarios,
        }
    }
}

fn whole_run(why: String) -> Scenario {
    Scenario {
        scenario: "(the run itself)".to_owned(),
        outcome: Outcome::Failed,
        seconds: 0.0,
        why: Some(why),
        feature: None,
        answer: None,
    }
}

/// How many ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ended as they should.
    pub passed: u64,
    /// Did not.
    pub failed: u64,
    /// Did not run.
    pub skipped: u64,
}

impl Totals {
    /// Adds one column up.
    pub fn of(column: &Column) -> Self {
        let count = |outcome| {
            column
                .scenarios
                .iter()
                .filter(|scenario| scenario.outcome == outcome)
                .count() as u64
        };
        Self {
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            skipped: count(Outcome::Skipped),
        }
    }

    /// Reads the closing line of one of cargo's test programs, if `line` is one.
    pub fn of_cargo(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let part = counts
                .split(';')
                .find_map(|part| part.trim().strip_suffix(what))?;
            part.trim().parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }

    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The closing line.
    pub fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }
}

/// What a part of a run came to.
#[derive(Debug, Default)]
pub struct Part {
    /// How many ended how.
    pub totals: Totals,
    /// A line for each that failed: what, and why.
    pub failures: Vec<String>,
}

impl Part {
    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.totals.add(other.totals);
        self.failures.extend(other.failures);
    }

    /// One column of the table.
    pub fn of(column: &Column) -> Self {
        Self {
            totals: Totals::of(column),
            failures: failures(column),
        }
    }

    /// What failed, so short that it is seen whole at the end of a long output, then the total.
    pub fn closing(&self) -> String {
        let failures = self
            .failures
            .iter()
            .map(|line| format!("failed: {}\n", shortened(line)));
        failures.collect::<String>() + &self.totals.line()
    }
}

/// The longest that a line about a failure gets, in characters: all of it stands where it failed.
const MOST_SHOWN: usize = 600;

fn shortened(line: &str) -> String {
    match line.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{} …", &line[..at]),
        None => line.to_owned(),
    }
}

/// Scenario by kernel.
pub fn table(columns: &[Column]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for scenario in columns.iter().flat_map(|column| &column.scenarios) {
        if !names.contains(&scenario.scenario.as_str()) {
            names.push(&scenario.scenario);
        }
    }
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .chain([8])
        .max()
        .unwrap_or_default();
    let mut text = format!("{:width$}", "scenario");
    for column in columns {
        let _infallible = write!(text, "  {:>CELL$}", column.heading, CELL = cell_width(column));
    }
    for name in names {
        let _infallible = write!(text, "\n{name:width$}");
        for column in columns {
            let _infallible = write!(text, "  {:>CELL$}", cell(column, name), CELL = cell_width(column));
        }
    }
    text.push('\n');
    text
}

/// A line for each scenario that failed: which, where and why.
fn failures(column: &Column) -> Vec<String> {
    let failed = column
        .scenarios
        .iter()
        .filter(|scenario| scenario.outcome == Outcome::Failed);
    failed
        .map(|scenario| {
            let why = scenario
                .why
                .as_deref()
                .unwrap_or("it did not say why")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            format!("{} on {}: {why}", scenario.scenario, column.heading)
        })
        .collect()
}

/// The widest that a cell gets: `passed 999.9 s`.
fn cell_width(column: &Column) -> usize {
    column.heading.chars().count().max(14)
}

fn cell(column: &Column, name: &str) -> String {
    let Some(found) = column.scenarios.iter().find(|scenario| scenario.scenario == name) else {
        return "-".to_owned();
    };
    match found.outcome {
        Outcome::Passed => format!("passed {:5.1} s", found.seconds),
        Outcome::Failed => format!("FAILED {:5.1} s", found.seconds),
        Outcome::Skipped => "skipped".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"scenario":"policy","kernel":"6.12.117","outcome":"passed","seconds":1.25}
{"scenario":"rule","kernel":"6.12.117","outcome":"failed","seconds":0.5,"why":"named rule 2 and not 3"}

{"scenario":"native","kernel":"6.12.117","outcome":"skipped","why":"no kprobes"}
"#;

    #[test]
    fn each_line_of_the_lab_is_counted_once() {
        let column = Column::new(
            "6.12.117".into(),
            "6.12".into(),
            LINES,
            Some("the lab failed".into()),
        );
        assert_eq!(
            Totals::of(&column),
            Totals {
                passed: 1,
                failed: 1,
                skipped: 1
            }
        );
    }

    #[test]
    fn a_run_that_breaks_off_is_a_failure_though_all_its_lines_passed() {
        let column = Column::new(
            "6.1".into(),
            "6.1".into(),
            LINES.lines().next().unwrap(),
            Some("the VM did not boot".into()),
        );
        assert_eq!(
            Totals::of(&column),
            Totals {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
        assert_eq!(
            failures(&column),
            ["(the run itself) on 6.1: the VM did not boot"]
        );
    }

    #[test]
    fn a_run_without_a_scenario_is_a_failure() {
        assert_eq!(
            Totals::of(&Column::new("host".into(), "host".into(), "", None)).failed,
            1
        );
    }

    #[test]
    fn a_line_cut_short_is_a_failure() {
        let column = Column::new("host".into(), "host".into(), "{\"scenario\":\"pol", None);
        assert_eq!(Totals::of(&column).failed, 1);
    }

    #[test]
    fn the_end_says_what_failed_and_how_many_in_lines_that_are_not_cut() {
        let mut all = Part::of(&Column::new("6.12.117".into(), "6.12".into(), LINES, None));
        all.add(Part {
            totals: Totals {
                failed: 1,
                ..Totals::default()
            },
            failures: vec!["é".repeat(5000)],
        });
        let closing = all.closing();
        let lines: Vec<&str> = closing.lines().collect();
        assert_eq!(lines[0], "failed: rule on 6.12.117: named rule 2 and not 3");
        assert_eq!(lines[1].chars().count(), "failed: ".len() + MOST_SHOWN + 2);
        assert_eq!(lines[2..], ["1 passed, 2 failed, 1 skipped"]);
    }

    #[test]
    fn the_table_has_a_row_for_each_scenario_and_a_dash_where_it_did_not_run() {
        let one = Column::new(
            "6.1.0-56-amd64".into(),
            "6.1".into(),
            LINES.lines().next().unwrap(),
            None,
        );
        let two = Column::new("6.12.117".into(), "6.12".into(), LINES, None);
        let text = table(&[one, two]);
        let expected = "\
scenario  6.1.0-56-amd64        6.12.117
policy    passed   1.2 s  passed   1.2 s
rule                   -  FAILED   0.5 s
native                 -         skipped
";
        assert_eq!(text, expected);
    }

    #[test]
    fn cargos_closing_line_is_read_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.00s";
        assert_eq!(
            Totals::of_cargo(line),
            Some(Totals {
                passed: 12,
                failed: 1,
                skipped: 2
            })
        );
        assert_eq!(Totals::of_cargo("test result::tests::it_works ... ok"), None);
        assert_eq!(Totals::of_cargo("running 3 tests"), None);
    }

    #[test]
    fn the_closing_line_mentions_skipped_ones_only_when_there_are_any() {
        assert_eq!(
            Totals {
                passed: 3,
                failed: 0,
                skipped: 0
            }
            .line(),
            "3 passed, 0 failed"
        );
        assert_eq!(
            Totals {
                passed: 3,
                failed: 1,
                skipped: 2
            }
            .line(),
            "3 passed, 1 failed, 2 skipped"
        );
    }
}
