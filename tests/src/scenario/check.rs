//! What must hold at the end of every scenario: exit code, diagnostics, a valid trace, totals that reconcile.

use anyhow::Result;
use serde_json::Value;

use super::spec::{ExitSpec, Scenario};
use crate::matching::mismatches;
use crate::schema::Schema;

/// How observer ended.
pub(super) struct End {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Checks exit code and output.
pub(super) fn exit(wanted: &ExitSpec, end: &End) -> Vec<String> {
    let End { code, stdout, stderr } = end;
    let mut failures = Vec::new();
    if *code != wanted.code {
        failures.push(format!(
            "observer's exit code is {code}, expected {}: {}",
            wanted.code,
            stderr.trim()
        ));
    }
    let lines = stderr.lines().count();
    if wanted.stderr_lines.is_some_and(|wanted| wanted != lines) {
        failures.push(format!(
            "observer wrote {lines} lines to stderr: {}",
            stderr.escape_debug()
        ));
    }
    for part in &wanted.stderr {
        if !stderr.to_lowercase().contains(&part.to_lowercase()) {
            failures.push(format!("stderr lacks `{part}`: {}", stderr.escape_debug()));
        }
    }
    for part in &wanted.stdout {
        if !stdout.contains(part.as_str()) {
            failures.push(format!(
                "stdout lacks `{}`: {}",
                part.escape_debug(),
                stdout.escape_debug()
            ));
        }
    }
    for part in &wanted.not_stdout {
        if stdout.contains(part.as_str()) {
            failures.push(format!(
                "stdout has `{}`: {}",
                part.escape_debug(),
                stdout.escape_debug()
            ));
        }
    }
    if stderr.contains("panicked") {
        failures.push(format!("observer panicked: {}", stderr.escape_debug()));
    }
    failures
}

/// What is wrong with a line by the schema, if there is one.
pub(super) fn against_schema(line: &Value, schema: Option<&Schema>) -> Option<String> {
    let complaint = schema?.complaint(line)?;
    Some(format!("a line is against the schema: {complaint}: {line}"))
}

/// Checks the trace as a whole.
pub(super) fn trace(scenario: &Scenario, lines: &[Value], schema: Option<&Schema>) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for line in lines {
        for field in ["schema", "kind", "time", "node"] {
            if !line[field].is_string() {
                failures.push(format!("a line has no `{field}`: {line}"));
            }
        }
        failures.extend(against_schema(line, schema));
    }
    match lines.first() {
        Some(first) if first["kind"] == "start" => {
            if let Some(pattern) = &scenario.start {
                let differences = mismatches(pattern, first);
                failures.extend(
                    differences
                        .into_iter()
                        .map(|one| format!("start line: {one}: {first}")),
                );
            }
        }
        _ => failures.push("the first line is not the start line".into()),
    }
    match lines.last() {
        Some(last) if last["kind"] == "summary" => {
            failures.extend(totals(lines, last));
            if let Some(pattern) = &scenario.summary {
                let differences = mismatches(pattern, last);
                failures.extend(
                    differences
                        .into_iter()
                        .map(|one| format!("summary line: {one}: {last}")),
                );
            }
        }
        _ => failures.push("the last line is not the summary".into()),
    }
    Ok(failures)
}

/// `kernel_drops = exact + inferred + unknown + filtered + lost`, and a line for each of the first three.
pub(super) fn totals(lines: &[Value], summary: &Value) -> Vec<String> {
    let number = |name: &str| {
        summary[name]
            .as_u64()
            .or_else(|| summary["totals"][name].as_u64())
    };
    let numbers: Option<Vec<u64>> = ["kernel_drops", "exact", "inferred", "unknown", "filtered", "lost"]
        .into_iter()
        .map(number)
        .collect();
    let Some(&[kernel_drops, exact, inferred, unknown, filtered, lost]) = numbers.as_deref() else {
        return vec![format!("the summary lacks a total: {summary}")];
    };
    let mut failures = Vec::new();
    if kernel_drops != exact + inferred + unknown + filtered + lost {
        failures.push(format!("the totals do not reconcile: {summary}"));
    }
    let counted: u64 = lines
        .iter()
        .filter(|line| line["kind"] == "counter")
        .filter_map(|line| line["packets"].as_u64())
        .sum();
    if counted != summary["counted"].as_u64().unwrap_or(0) {
        failures.push(format!(
            "the summary does not count the {counted} packets of the counters: {summary}"
        ));
    }
    let drops = lines.iter().filter(|line| line["kind"] == "drop").count() as u64;
    if drops != exact + inferred + unknown {
        failures.push(format!(
            "the summary counts {} drops, the lines {drops}",
            exact + inferred + unknown
        ));
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(exact: u64) -> Value {
        json!({"kind": "summary", "kernel_drops": 3, "exact": exact, "inferred": 0, "unknown": 0,
               "filtered": 2, "lost": 0})
    }

    #[test]
    fn totals_must_reconcile() {
        let drop = json!({"kind": "drop"});
        assert!(totals(std::slice::from_ref(&drop), &summary(1)).is_empty());
        assert_eq!(totals(&[drop.clone(), drop], &summary(2)).len(), 1);
        assert_eq!(totals(&[], &summary(1)).len(), 1);
        assert_eq!(totals(&[], &json!({"kind": "summary"})).len(), 1);
    }

    #[test]
    fn a_wrong_exit_is_a_failure() {
        let wanted = ExitSpec {
            code: 2,
            stderr_lines: Some(1),
            stderr: vec!["CIDR".into()],
            ..ExitSpec::default()
        };
        let end = |code, stderr: &str| End {
            code,
            stdout: String::new(),
            stderr: stderr.into(),
        };
        assert!(exit(&wanted, &end(2, "not a cidr\n")).is_empty());
        assert_eq!(exit(&wanted, &end(0, "not a cidr\n")).len(), 1);
        assert_eq!(exit(&wanted, &end(2, "one\ntwo\n")).len(), 2);
    }

    #[test]
    fn what_must_not_be_on_stdout_is_a_failure() {
        let wanted = ExitSpec {
            not_stdout: vec!["\u{1b}".into()],
            ..ExitSpec::default()
        };
        let end = |stdout: &str| End {
            code: 0,
            stdout: stdout.into(),
            stderr: String::new(),
        };
        assert!(exit(&wanted, &end("\\x1b[31m")).is_empty());
        assert_eq!(exit(&wanted, &end("\u{1b}[31m")).len(), 1);
    }
}
