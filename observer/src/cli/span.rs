//! Spans of time as people type them: `30s`, `500ms`, `5m`, `2h`.

use std::time::Duration;

/// Reads a span; a bare number is seconds.
///
/// # Errors
/// One line that says how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis_each = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(advice()),
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis_each));
    // A year is for ever here, and keeps the arithmetic of clocks far from its end.
    let in_range = |millis: &u64| (1..=365 * 24 * 3_600_000).contains(millis);
    millis
        .filter(in_range)
        .map(Duration::from_millis)
        .ok_or_else(advice)
}

fn advice() -> String {
    "write a span like 500ms, 30s, 5m or 2h, at most a year".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1d",
            "99999999999999999999h",
            "18446744073709551615h",
            "١s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
