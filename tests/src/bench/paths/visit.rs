//! One watcher, measured between two times without.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::super::table::Table;
use super::super::{cost, program};
use super::ratio::{Ratios, Visit};
use super::road::Road;
use super::watcher::{Ended, Watcher};

/// How long nobody watches, before and after.
const WITHOUT: Duration = Duration::from_millis(700);
/// How long the watcher does.
const WITH: Duration = Duration::from_millis(1500);
/// Before it counts.
const WARM: Duration = Duration::from_millis(200);
const COUNTED: Duration = Duration::from_millis(700);

pub(super) fn measure(
    road: &Road,
    observer: &Path,
    watcher: &Watcher,
    name: &str,
    ratios: &mut Ratios,
) -> Result<()> {
    road.send(WARM)?;
    let before = road.send(WITHOUT)?;
    let running = match watcher.start(road, observer) {
        Ok(running) => running,
        Err(error) => {
            ratios.failed(name, format!("{error:#}"));
            return Ok(());
        }
    };
    road.send(WARM)?;
    let with = road.send(WITH)?;
    let end = watcher.end(road, running)?;
    road.send(WARM)?;
    let after = road.send(WITHOUT)?;
    ratios.without.extend([before.per_second, after.per_second]);
    let visit = Visit {
        ratio: 2.0 * with.per_piece / (before.per_piece + after.per_piece),
        packets: with.packets,
        lost: match &end {
            Ended::Observer(end) => Some(end.lost),
            _ => None,
        },
        gave_up: matches!(end, Ended::GaveUp),
    };
    eprintln!(
        "bench: {name}: {:.3} of {:.0} packets a second (by the clock alone {:.3})",
        visit.ratio,
        before.per_second,
        2.0 * with.per_second / (before.per_second + after.per_second)
    );
    ratios.add(name, watcher.target, &visit);
    Ok(())
}

/// What each run of each program takes in the kernel, by the kernel's own statistics.
pub(super) fn cost(
    road: &Road,
    observer: &Path,
    watcher: &Watcher,
    name: &str,
    table: &mut Table,
) -> Result<()> {
    let _statistics = cost::Statistics::enable()?;
    let running = watcher.start(road, observer)?;
    let names = program::names()?;
    let before = cost::programs(running.pid(), &names)?;
    let used = super::super::process::used(running.pid())?;
    let sent = road.send(COUNTED)?;
    let after = cost::programs(running.pid(), &names)?;
    let ticks = super::super::process::used(running.pid())?.ticks - used.ticks;
    watcher.end(road, running)?;
    let words: Vec<String> = after
        .iter()
        .map(|(program, now)| (program, now.since(before.get(program))))
        .filter(|(_, cost)| cost.runs > 0)
        .map(|(program, cost)| format!("`{program}` {} runs of {} ns", cost.runs, cost.each_ns()))
        .collect();
    table.add(
        &format!("{name}: programs"),
        format!(
            "{} packets; {}; {ticks} ticks of 10 ms in user space",
            sent.packets,
            words.join(", ")
        ),
        "",
    );
    Ok(())
}
