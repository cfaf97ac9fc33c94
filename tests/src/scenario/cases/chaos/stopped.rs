//! Stopped for a minute by SIGSTOP while more is dropped than the ring buffer holds: it goes on as if nothing had been, and
//! says what it has missed.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::super::super::run::{Lab, Place};
use super::arena::{Arena, no_observer};
use crate::results::Outcome;

/// How long it is stopped.
const PAUSE: Duration = Duration::from_secs(60);
/// More than the ring buffer has room for.
const FLOOD: u32 = 40_000;
/// Before and after.
const FEW: u32 = 10;

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(arena) = Arena::up(lab, place, &[])? else {
        return Ok(no_observer());
    };
    arena.send_and_wait(FEW)?;
    arena.observer.signal(Signal::SIGSTOP)?;
    arena.send(FLOOD)?;
    std::thread::sleep(PAUSE);
    let asleep = arena.told()?;
    arena.observer.signal(Signal::SIGCONT)?;
    arena.wait_until(|told| told > asleep)?;
    // What lies in the ring buffer comes first; until it is empty there is no room for more.
    let mut told = asleep;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = arena.told()?;
        if now == told {
            break;
        }
        told = now;
    }
    arena.send_and_wait(FEW)?;
    let after = arena.told()?;
    let mut end = arena.end()?;
    end.expect(asleep == FEW as usize, || {
        format!("{asleep} drops were told of before it was woken, not {FEW}: nothing was tested")
    });
    end.expect(end.lost > 0, || {
        "nothing was lost: the ring buffer was never full, nothing was tested".to_owned()
    });
    let awake = end.told as usize == after && after == told + FEW as usize;
    end.expect(awake, || {
        format!("of {FEW} drops after it was woken, {} were told of", after - told)
    });
    let exact = |line: &&serde_json::Value| line["kind"] == "drop" && line["drop"]["confidence"] == "exact";
    let last = end
        .lines
        .iter()
        .filter(|line| line["kind"] == "drop")
        .rev()
        .take(FEW as usize);
    let sure = last.filter(exact).count();
    end.expect(sure == FEW as usize, || {
        format!("of the last {FEW} drops {sure} were exact")
    });
    Ok(end.outcome())
}
