//! RFC 3339 in UTC, as the trace writes it.

use std::time::Duration;

/// `2026-11-23T16:50:26.800782975Z` as the time since 1970.
pub fn since_epoch(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let days = u64::try_from(days_since_epoch(year, month, day)).ok()?;
    Some(Duration::new(
        days * 86_400 + hour * 3_600 + minute * 60 + second,
        nanos,
    ))
}

/// Days from 1970-01-01 in the Gregorian calendar; a year begins in March here, so that the leap day is its last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (century, of_century) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    century * 146_097 + of_century * 365 + of_century / 4 - of_century / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_trace_is_read() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2000-02-29T12:00:00.5Z", 951_825_600, 500_000_000),
            ("2026-11-23T16:50:26.800782975Z", 1_795_452_626, 800_782_975),
        ] {
            assert_eq!(since_epoch(text), Some(Duration::new(seconds, nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-11-23",
            "2026-11-23T16:50Z",
            "2026-11-23T16:50:26",
        ] {
            assert_eq!(since_epoch(text), None, "{text}");
        }
    }
}
