//! How what observer costs grows: with rules, with namespaces, with drops. Writes docs/benchmarks.md and its plots.

mod chart;
mod namespaces;
mod page;
mod rate;
mod rules;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cost::{Statistics, programs};
use super::watching::Watching;
use super::{Bench, program, traffic};
use crate::cluster::Data;
use crate::run_dir::RunDir;
use chart::Chart;
use page::Page;

/// So that softirqs of several packets do not pile up.
const PAUSE: Duration = Duration::from_micros(50);

/// What looks at dropped packets. Others run, too, while rules are read and listed.
const PROGRAM: &str = "kfree_skb";

/// Measures everything, prints it, and writes the page.
pub fn run(data: &Data, observer: &Path, run: &RunDir) -> Result<()> {
    let _alone = run.alone()?;
    let bench = Bench::up(data, "scaling", observer, run)?;
    let mut page = Page::new();
    rules::measure(&bench, &mut page)?;
    rate::measure(&bench, &mut page)?;
    namespaces::measure(&bench, run, &mut page)?;
    page.write(&data.docs())
}

/// What some drops cost.
struct Cost {
    /// Of the kernel's programs, for each drop.
    kernel_ns: u64,
    /// Of observer's own processor time, for each drop.
    user_ns: u64,
    /// Told for certain, of a hundred.
    exact_percent: u64,
    ready_after: Duration,
    most_bytes: u64,
}

/// Starts observer, drops so many packets, ends it.
fn cost(bench: &Bench, drops: usize) -> Result<Cost> {
    let _statistics = Statistics::enable()?;
    let watching = Watching::start(bench.observer, &bench.filter)?;
    let pid = watching.pid();
    let most_bytes = super::process::memory(pid)?.most;
    let names = program::names()?;
    let (before, began) = (programs(pid, &names)?, processor_ns(pid)?);
    traffic::drops(bench, drops, PAUSE)?;
    watching.all_told(traffic::PORT, drops as u64)?;
    let (after, ended) = (programs(pid, &names)?, processor_ns(pid)?);
    let ready_after = watching.ready_after;
    let summary = watching.end()?;
    let kernel = after.get(PROGRAM).map(|cost| cost.since(before.get(PROGRAM)));
    let kernel = kernel.with_context(|| format!("the kernel has no program {PROGRAM} of observer's"))?;
    let drops = drops as u64;
    Ok(Cost {
        kernel_ns: kernel.each_ns(),
        user_ns: (ended - began) / drops,
        exact_percent: 100 * summary["exact"].as_u64().unwrap_or_default() / drops,
        ready_after,
        most_bytes,
    })
}

/// Time that the only thread of a process has run, in nanoseconds: Documentation/scheduler/sched-stats.rst.
fn processor_ns(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/schedstat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().with_context(|| format!("{path} has no number"))
}

/// `12,345`
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let of = [0, 999, 1_000, 50_000, 1_234_567].map(number);
        assert_eq!(of, ["0", "999", "1,000", "50,000", "1,234,567"]);
    }
}
