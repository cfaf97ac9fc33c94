//! The clock is set an hour on and an hour back, in a virtual machine: each line has the time that the clock shows then, and
//! what observer measures goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::super::super::run::{Lab, Place};
use super::arena::{Arena, is_in_a_vm, no_observer};
use crate::results::Outcome;
use crate::timestamp;

const HOUR: Duration = Duration::from_secs(3600);
/// Packets after each step of the clock.
const PACKETS: u32 = 5;

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    if !is_in_a_vm()? {
        return Ok(Outcome::Skipped("clocks are set in virtual machines only".into()));
    }
    let Some(arena) = Arena::up(lab, place, &[])? else {
        return Ok(no_observer());
    };
    let mut spans = vec![sent(&arena)?];
    set(now()? + HOUR)?;
    spans.push(sent(&arena)?);
    set(now()? - HOUR * 2)?;
    spans.push(sent(&arena)?);
    set(now()? + HOUR)?;
    let mut end = arena.end()?;
    let times: Vec<Option<Duration>> = end
        .lines
        .iter()
        .filter(|line| line["kind"] == "drop")
        .map(|line| timestamp::since_epoch(line["time"].as_str().unwrap_or_default()))
        .collect();
    for (number, time) in times.iter().enumerate() {
        let Some((began, ended)) = spans.get(number / PACKETS as usize) else {
            continue;
        };
        end.expect(time.is_some_and(|time| *began <= time && time <= *ended), || {
            format!("drop {number} has the time {time:?}, and was between {began:?} and {ended:?}")
        });
    }
    Ok(end.outcome())
}

/// Sends, and waits until it is told; between which times that was.
fn sent(arena: &Arena) -> Result<(Duration, Duration)> {
    let began = now()?;
    arena.send_and_wait(PACKETS)?;
    Ok((began, now()?))
}

fn now() -> Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")
}

fn set(to: Duration) -> Result<()> {
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(to)).context("cannot set the clock")
}
