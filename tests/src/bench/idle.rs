//! What observer costs while nothing is dropped.

use std::time::Duration;

use anyhow::Result;

use super::table::Table;
use super::watching::Watching;
use super::{Bench, process};

const SPAN: Duration = Duration::from_secs(10);
/// What comes right after the start line is not idleness yet.
const REST: Duration = Duration::from_secs(1);

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let watching = Watching::start(bench.observer, &bench.filter)?;
    std::thread::sleep(REST);
    let before = process::used(watching.pid())?;
    std::thread::sleep(SPAN);
    let after = process::used(watching.pid())?;
    watching.end()?;
    table.add(
        "10 s without a drop",
        format!(
            "{} ticks of 10 ms, {} wake-ups, {} threads",
            after.ticks - before.ticks,
            after.wakeups - before.wakeups,
            after.threads
        ),
        "no thread busy",
    );
    Ok(())
}
