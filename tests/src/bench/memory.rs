//! Resident memory, before and after many drops.

use std::time::Duration;

use anyhow::Result;

use super::table::{Table, mib};
use super::watching::Watching;
use super::{Bench, process, traffic};

const DROPS: usize = 20_000;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let watching = Watching::start(bench.observer, &bench.filter)?;
    let before = process::memory(watching.pid())?;
    traffic::drops(bench, DROPS, Duration::ZERO)?;
    watching.all_told(traffic::PORT, DROPS as u64)?;
    let after = process::memory(watching.pid())?;
    let summary = watching.end()?;
    table.add(
        "resident after start",
        format!(
            "{} ({} at most until then)",
            mib(before.resident),
            mib(before.most)
        ),
        "< 30 MiB",
    );
    table.add(
        "resident after 20,000 drops in one go",
        format!(
            "{} ({} at most), {} lost",
            mib(after.resident),
            mib(after.most),
            summary["lost"]
        ),
        "< 30 MiB",
    );
    Ok(())
}
