//! The kernel's clock in the trace's time.

use nix::time::{ClockId, clock_gettime};

use crate::report::record::Time;

/// The wall-clock time of a moment of `CLOCK_MONOTONIC`, by how long ago it was: right even if the wall clock was set
/// since this program began.
pub fn wall(monotonic_ns: u64) -> Time {
    let age = now_ns(ClockId::CLOCK_MONOTONIC).saturating_sub(monotonic_ns);
    Time(now_ns(ClockId::CLOCK_REALTIME).saturating_sub(age))
}

/// `CLOCK_MONOTONIC` now.
pub fn monotonic_ns() -> u64 {
    now_ns(ClockId::CLOCK_MONOTONIC)
}

/// Processor time of this program so far, in nanoseconds.
pub fn process_ns() -> u64 {
    now_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn now_ns(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else { return 0 };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec()).unwrap_or(0))
}
