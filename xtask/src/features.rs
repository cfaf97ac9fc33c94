//! The table of features by kernel in `docs/kernels.md`, made from what the scenarios showed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::results::{Column, Outcome};
use crate::workspace;

/// The table stands between these two lines.
const BEGIN: &str = "<!-- features: written by cargo xtask test --update-docs -->";
const END: &str = "<!-- features: end -->";

/// What stands where no scenario of a feature ran.
const NOT_RUN: &str = "";

/// Cells by feature.
pub type Cells = BTreeMap<String, String>;

/// Cells by kernel, in the order of the columns.
type Table = Vec<(String, Cells)>;

/// What the scenarios of one kernel show of each feature.
pub fn cells(column: &Column) -> Cells {
    let mut cells = Cells::new();
    for scenario in &column.scenarios {
        let Some(feature) = &scenario.feature else {
            continue;
        };
        let cell = match scenario.outcome {
            Outcome::Passed => scenario.answer.as_deref().unwrap_or("no answer"),
            Outcome::Failed => "failing",
            Outcome::Skipped => "not there",
        };
        let so_far = cells.entry(feature.clone()).or_insert_with(|| cell.to_owned());
        if rank(cell) > rank(so_far) {
            cell.clone_into(so_far);
        }
    }
    cells
}

/// Of several scenarios the worst counts; one that this kernel cannot run says least.
fn rank(cell: &str) -> usize {
    [
        "not there",
        "exact",
        "inferred",
        "unknown",
        "no answer",
        "failing",
    ]
    .iter()
    .position(|one| *one == cell)
    .unwrap_or_default()
}

/// Leaves the cells of one kernel beside its results.
pub fn leave(dir: &Path, column: &Column) -> Result<()> {
    let file = dir.join("features.json");
    let text = serde_json::to_string_pretty(&cells(column))?;
    fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// Writes the columns of this run into the document; others stay as they are.
pub fn update(columns: &[Column]) -> Result<()> {
    let (file, text) = document()?;
    let table = laid_over(read(&text), columns);
    let text = replaced(&text, &table)
        .with_context(|| format!("{} has not both lines {BEGIN} and {END}", file.display()))?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Where this run and the document differ, a line each.
pub fn differences(columns: &[Column]) -> Result<Vec<String>> {
    let (_, text) = document()?;
    Ok(compared(&read(&text), columns))
}

fn compared(table: &Table, columns: &[Column]) -> Vec<String> {
    let mut found = Vec::new();
    for column in columns {
        let told = table.iter().find(|(kernel, _)| *kernel == column.short);
        let empty = Cells::new();
        let told = told.map_or(&empty, |(_, cells)| cells);
        let seen = cells(column);
        let names = told
            .keys()
            .chain(seen.keys().filter(|name| !told.contains_key(*name)));
        for name in names {
            let cell = |cells: &Cells| cells.get(name).cloned().unwrap_or_else(|| "nothing".to_owned());
            let (told, seen) = (cell(told), cell(&seen));
            if told != seen {
                found.push(format!(
                    "docs/kernels.md says `{told}` of \"{name}\" on {}, this run `{seen}`",
                    column.short
                ));
            }
        }
    }
    found
}

fn document() -> Result<(PathBuf, String)> {
    let file = workspace::root().join("docs/kernels.md");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((file, text))
}

/// New columns take the place of those of their kernels, or the last.
fn laid_over(mut table: Table, columns: &[Column]) -> Table {
    for column in columns {
        let new = (column.short.clone(), cells(column));
        match table.iter_mut().find(|(kernel, _)| *kernel == column.short) {
            Some(old) => *old = new,
            // A kernel on which no scenario of a feature ran has no column.
            None if new.1.is_empty() => {}
            None => table.push(new),
        }
    }
    table
}

/// The table of the document; empty if there is none.
fn read(text: &str) -> Table {
    let inside = text.split_once(BEGIN).map_or("", |(_, after)| after);
    let inside = inside.split_once(END).map_or("", |(before, _)| before);
    let row = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = inside.lines().filter(|line| line.starts_with('|'));
    let Some(heading) = rows.next() else {
        return Table::new();
    };
    let mut table: Table = row(heading)
        .into_iter()
        .skip(1)
        .map(|kernel| (kernel, Cells::new()))
        .collect();
    for line in rows.skip(1) {
        let cells = row(line);
        let Some((name, cells)) = cells.split_first() else {
            continue;
        };
        for ((_, column), cell) in table.iter_mut().zip(cells).filter(|(_, cell)| *cell != NOT_RUN) {
            column.insert(name.clone(), cell.clone());
        }
    }
    table
}

fn replaced(text: &str, table: &Table) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", markdown(table)))
}

fn markdown(table: &Table) -> String {
    let mut names: Vec<&String> = table.iter().flat_map(|(_, cells)| cells.keys()).collect();
    names.sort();
    names.dedup();
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | ")).replace("|  ", "| ");
    let kernels = table.iter().map(|(kernel, _)| kernel.as_str());
    let mut text = line([""].into_iter().chain(kernels).collect());
    text += &line(vec!["---"; table.len() + 1]);
    for name in names {
        let cells = table
            .iter()
            .map(|(_, cells)| cells.get(name).map_or(NOT_RUN, String::as_str));
        text += &line([name.as_str()].into_iter().chain(cells).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kernel: &str, rows: &[(&str, &str, &str)]) -> Column {
        let line = |(feature, outcome, answer): &(&str, &str, &str)| {
            let answer = if answer.is_empty() {
                String::new()
            } else {
                format!(r#","answer":"{answer}""#)
            };
            format!(r#"{{"scenario":"s","outcome":"{outcome}","feature":"{feature}"{answer}}}"#)
        };
        let lines: Vec<String> = rows.iter().map(line).collect();
        Column::new(kernel.to_owned(), kernel.to_owned(), &lines.join("\n"), None)
    }

    #[test]
    fn of_several_scenarios_of_a_feature_the_worst_answer_counts() {
        let column = column(
            "6.1",
            &[
                ("vmap", "passed", "exact"),
                ("vmap", "passed", "unknown"),
                ("vmap", "skipped", ""),
                ("queue", "skipped", ""),
                ("policy", "passed", "exact"),
                ("policy", "failed", "exact"),
            ],
        );
        let expected = [("policy", "failing"), ("queue", "not there"), ("vmap", "unknown")];
        let expected = expected.map(|(feature, cell)| (feature.to_owned(), cell.to_owned()));
        assert_eq!(cells(&column), Cells::from(expected));
    }

    #[test]
    fn what_is_written_is_read_back_and_the_rest_of_the_document_stays() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let one = column("6.1", &[("vmap", "passed", "exact"), ("queue", "skipped", "")]);
        let two = column("6.12-rt", &[("vmap", "passed", "inferred")]);
        let columns = [one, two];
        let table = laid_over(Table::new(), &columns);
        let text = replaced(&text, &table).expect("markers");
        assert_eq!(read(&text), table);
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"));
        assert!(text.contains("| queue | not there | |\n"), "{text}");
        assert!(compared(&table, &columns).is_empty());
        assert_eq!(replaced(&text, &table).as_deref(), Some(text.as_str()));
        assert_eq!(replaced("no markers", &table), None);
    }

    #[test]
    fn a_run_of_some_kernels_leaves_the_others_columns() {
        let old = laid_over(
            Table::new(),
            &[
                column("6.1", &[("vmap", "passed", "exact")]),
                column("6.12", &[("vmap", "passed", "exact")]),
            ],
        );
        let new = [column("6.12", &[("vmap", "passed", "unknown")])];
        assert_eq!(
            compared(&old, &new),
            ["docs/kernels.md says `exact` of \"vmap\" on 6.12, this run `unknown`"]
        );
        let table = laid_over(old, &new);
        let cell = |kernel: &str| {
            table
                .iter()
                .find(|(one, _)| one == kernel)
                .map(|(_, cells)| cells["vmap"].clone())
        };
        assert_eq!(
            (cell("6.1").as_deref(), cell("6.12").as_deref()),
            (Some("exact"), Some("unknown"))
        );
    }
}
