//! From exec to the `start` line.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::table::{Table, ms, quantile};
use super::watching::Watching;

const RUNS: usize = 15;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..RUNS {
        let watching = Watching::start(bench.observer, &bench.filter)?;
        took.push(watching.ready_after);
        watching.end()?;
    }
    let of = |part| ms(quantile(&mut took.clone(), part));
    table.add(
        "exec → `start` line, 10 namespaces, 2,000 rules",
        format!("median {}, {} to {}, {RUNS} runs", of(0.5), of(0.0), of(1.0)),
        "< 300 ms",
    );
    Ok(())
}
