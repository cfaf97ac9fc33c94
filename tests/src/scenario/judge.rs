//! The judgement of what observer wrote in each phase, by what the kernel counted.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use super::culprit::{Book, Scene, book, packets, pattern, place};
use super::explain::Answered;
use super::path;
use super::phase::Record;
use super::spec::Culprit;
use crate::cluster::rules::Place;
use crate::matching::{matches, mismatches};
use crate::results::Answer;

/// How many lines of one kind a failure shows.
const SHOWN: usize = 2;

/// Judges each phase by the lines that came in it; late ones count for the last.
pub(super) fn judge(scene: &Scene, records: &[Record], lines: &[Value]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let end = records.get(index + 1).map_or(lines.len(), |next| next.begin);
        let during = lines.get(record.first_line..end).unwrap_or_default();
        let mut found = judge_one(scene, record, during)?;
        let setup = lines.get(record.begin..record.first_line).unwrap_or_default();
        found.extend(judge_transition(scene, record, setup)?);
        if records.len() > 1 {
            found
                .iter_mut()
                .for_each(|failure| *failure = format!("phase {}: {failure}", index + 1));
        }
        failures.extend(found);
    }
    Ok(failures)
}

/// While a phase is set up, observer may not know yet what has changed; but what it says exactly must be right.
fn judge_transition(scene: &Scene, record: &Record, lines: &[Value]) -> Result<Vec<String>> {
    let mut right: Vec<Value> = record
        .phase
        .expect
        .iter()
        .map(|expect| expect.line.clone())
        .collect();
    for culprit in &record.phase.culprit {
        right.push(pattern(scene, culprit, &record.after.rules[&book(culprit)])?);
    }
    let exact = lines
        .iter()
        .filter(|line| line["kind"] == "drop" && line["drop"]["confidence"] == "exact");
    let wrong = exact.filter(|line| !right.iter().any(|pattern| matches(pattern, line)));
    Ok(wrong
        .map(|line| format!("observer was sure, and wrong, while the rules changed: {line}"))
        .collect())
}

fn judge_one(scene: &Scene, record: &Record, lines: &[Value]) -> Result<Vec<String>> {
    let phase = &record.phase;
    let drops: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "drop" || (line["kind"] == "counter" && is_of_cluster(scene, line)))
        .collect();
    let mut failures = Vec::new();
    let mut known: Vec<Value> = Vec::new();

    failures.extend(judge_kernel(record));
    for culprit in &phase.culprit {
        let pattern = pattern(scene, culprit, &record.after.rules[&book(culprit)])?;
        let matching = told(&drops, |line| matches(&pattern, line));
        if culprit.reported {
            if !culprit.packets.allows(matching) {
                let what = format!("{} packets dropped by {}", culprit.packets, place(culprit));
                failures.push(format!(
                    "{matching} lines report {what}; {}",
                    nearest(&pattern, &drops)
                ));
            }
            known.push(pattern);
        } else if matching > 0 {
            failures.push(format!(
                "{matching} lines report {}, outside the filter",
                place(culprit)
            ));
        }
    }
    failures.extend(judge_totals(record, &known, &drops));
    failures.extend(path::judge(scene, &phase.path, &record.traces, lines)?);
    known.extend(phase.path.iter().map(|path| path.line.clone()));
    for expect in &phase.expect {
        let matching = lines.iter().filter(|line| matches(&expect.line, line)).count() as u64;
        if !expect.count.allows(matching) {
            let nearest = nearest(&expect.line, &lines.iter().collect::<Vec<_>>());
            failures.push(format!(
                "{matching} lines match {}, expected {}; {nearest}",
                expect.line, expect.count
            ));
        }
        known.push(expect.line.clone());
    }
    failures.extend(record.answered.iter().flat_map(Answered::judge));
    for forbid in &phase.forbid {
        for line in lines.iter().filter(|line| matches(&forbid.line, line)) {
            failures.push(format!("this line must not be there ({}): {line}", forbid.line));
        }
    }
    if !phase.others {
        let mut strange = drops
            .iter()
            .filter(|line| !known.iter().any(|pattern| matches(pattern, line)) && !is_late(line));
        let shown = strange.by_ref().take(SHOWN);
        failures.extend(shown.map(|line| format!("nothing explains this line: {line}")));
        let more = strange.count();
        if more > 0 {
            failures.push(format!("nothing explains {more} more lines"));
        }
    }
    Ok(failures)
}

/// A segment that another one overtook, and TCP had no use for any more: with two processors that the host emulates in
/// turn this happens to any connection, and it is no part of what a scenario shows.
fn is_late(line: &Value) -> bool {
    const LATE: [&str; 2] = ["TCP_RFC7323_PAWS", "TCP_RFC7323_PAWS_ACK"];
    line["drop"]["layer"] == "socket" && LATE.iter().any(|reason| line["drop"]["reason"] == *reason)
}

/// The kernel's side alone, of all phases.
pub(super) fn judge_kernels(scene: &Scene, records: &[Record]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for record in records {
        failures.extend(judge_kernel(record));
        failures.extend(path::judge_kernel(scene, &record.phase.path, &record.traces)?);
    }
    Ok(failures)
}

/// How surely observer answered in a scenario that is about netfilter: as surely as its least sure line. Where nothing
/// was dropped it is the paths that answer.
pub(super) fn answer(records: &[Record], lines: &[Value]) -> Option<Answer> {
    let mut answers = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let end = records.get(index + 1).map_or(lines.len(), |next| next.begin);
        for line in lines.get(record.first_line..end).unwrap_or_default() {
            answers.extend(match line["kind"].as_str() {
                Some("drop") if line["drop"]["layer"] == "netfilter" => line["drop"]["confidence"]
                    .as_str()
                    .and_then(Answer::of_confidence),
                Some("path") => Some(Answer::of_path(line)),
                _ => None,
            });
        }
    }
    answers.into_iter().max()
}

fn judge_kernel(record: &Record) -> Vec<String> {
    let mut failures = judge_counters(record);
    let rises = record
        .after
        .truths
        .iter()
        .zip(&record.before.truths)
        .map(|(a, b)| a.saturating_sub(*b));
    for (truth, delta) in record.phase.truth.iter().zip(rises) {
        if !truth.packets.allows(delta) {
            let (node, counter, packets) = (&truth.node, &truth.counter, truth.packets);
            failures.push(format!(
                "the kernel's {counter} in {node} rose by {delta}, expected {packets}"
            ));
        }
    }
    failures
}

/// The culprits' counters rose as said, and no other place dropped anything.
fn judge_counters(record: &Record) -> Vec<String> {
    let mut failures = Vec::new();
    for (at_book, after) in &record.after.rules {
        let node = &at_book.0;
        for (at, counted) in after.iter().filter(|(_, counted)| counted.drops()) {
            let delta = rise(record, at_book, at, counted.packets);
            let here = || {
                record
                    .phase
                    .culprit
                    .iter()
                    .filter(|one| book(one) == *at_book && place(one) == *at)
            };
            let least: u64 = here().map(|culprit| culprit.packets.least()).sum();
            let right = match here().count() {
                0 => delta == 0 || record.phase.others,
                1 => here().all(|culprit| culprit.packets.allows(delta)),
                _ => delta >= least,
            };
            if !right {
                failures.push(format!(
                    "the kernel counted {delta} packets at {at} in {node}, expected {least}"
                ));
            }
        }
    }
    failures
}

fn rise(record: &Record, of: &Book, place: &Place, after: u64) -> u64 {
    let before = record.before.rules.get(of).and_then(|rules| rules.get(place));
    after.saturating_sub(before.map_or(0, |counted| counted.packets))
}

/// For each place: as many lines as packets counted.
fn judge_totals(record: &Record, patterns: &[Value], drops: &[&Value]) -> Vec<String> {
    let phase = &record.phase;
    let mut failures = Vec::new();
    let places: BTreeSet<(Book, Place)> = phase
        .culprit
        .iter()
        .map(|culprit| (book(culprit), place(culprit)))
        .collect();
    for (of, at) in places {
        let here = |culprit: &&Culprit| book(culprit) == of && place(culprit) == at;
        if phase.culprit.iter().filter(here).any(|culprit| !culprit.reported) {
            continue;
        }
        let reported = phase.culprit.iter().filter(|culprit| culprit.reported);
        let ours: Vec<&Value> = reported
            .zip(patterns)
            .filter(|(one, _)| here(one))
            .map(|(_, it)| it)
            .collect();
        let lines = told(drops, |line| ours.iter().any(|pattern| matches(pattern, line)));
        let counted = record.after.rules[&of]
            .get(&at)
            .map_or(0, |counted| counted.packets);
        let delta = rise(record, &of, &at, counted);
        if lines != delta {
            failures.push(format!(
                "the kernel counted {delta} packets at {at} in {}, observer {lines}",
                of.0
            ));
        }
    }
    failures
}

/// Where no packets are seen, what else this machine's namespaces drop cannot be left out by a filter.
fn is_of_cluster(scene: &Scene, line: &Value) -> bool {
    let inode = line["netns"]["inode"].as_u64();
    scene.nodes.values().any(|(known, _)| Some(*known) == inode)
}

/// How many packets lines tell of.
fn told(lines: &[&Value], is_it: impl Fn(&Value) -> bool) -> u64 {
    let lines = lines.iter().filter(|line| is_it(line));
    lines.map(|line| packets(line)).sum()
}

fn nearest(pattern: &Value, lines: &[&Value]) -> String {
    let drops = lines.iter().filter(|line| line["kind"] == pattern["kind"]);
    match drops.min_by_key(|line| mismatches(pattern, line).len()) {
        Some(line) => {
            let differences = mismatches(pattern, line);
            if differences.is_empty() {
                return "those that match are not too few but too many".to_owned();
            }
            format!("the nearest differs:\n  {}\n  {line}", differences.join("\n  "))
        }
        None => format!("there is no line of its kind\n  expected {pattern}"),
    }
}

#[cfg(test)]
mod tests;
