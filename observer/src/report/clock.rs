//! Times as people read them: the local time of day, and spans.

use super::record::Time;

/// `14:03:07.123`, local time.
pub fn time_of_day(time: Time) -> String {
    let (hour, minute, second) = local(time);
    format!(
        "{hour:02}:{minute:02}:{second:02}.{:03}",
        time.subsec_nanos() / 1_000_000
    )
}

/// `14:03:07`, local time.
pub fn second_of_day(time: Time) -> String {
    let (hour, minute, second) = local(time);
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// `850 ms`, `7 s`, `2 min 5 s`, `3 h 20 min`.
pub fn span(nanos: u64) -> String {
    let (millis, seconds) = (nanos / 1_000_000, nanos / 1_000_000_000);
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{seconds}.{} s", millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn local(time: Time) -> (i32, i32, i32) {
    let Ok(seconds) = libc::time_t::try_from(time.seconds()) else {
        return (0, 0, 0);
    };
    let mut broken = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live, aligned values; localtime_r() keeps neither. An all-zero `tm` is a valid one
    // (its only pointer, the zone's name, is null), so it may be read even if the call fails.
    let broken = unsafe {
        libc::localtime_r(&raw const seconds, broken.as_mut_ptr());
        broken.assume_init()
    };
    (broken.tm_hour, broken.tm_min, broken.tm_sec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [
            (0, "0 ms"),
            (850_000_000, "850 ms"),
            (7_250_000_000, "7.2 s"),
            (59_999_000_000, "59 s"),
            (125_000_000_000, "2 min 5 s"),
            (12_000_000_000_000, "3 h 20 min"),
        ];
        for (nanos, text) in spans {
            assert_eq!(span(nanos), text);
        }
    }

    #[test]
    fn the_time_of_day_has_milliseconds() {
        let text = time_of_day(Time(1_714_572_187_123_456_789));
        // The hour, and in some places the minute, depends on the time zone.
        assert!(text.ends_with(":07.123") && text.len() == 12, "{text}");
    }
}
