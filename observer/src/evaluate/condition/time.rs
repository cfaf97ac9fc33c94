//! The match `time`: the hour, the day, the date (net/netfilter/xt_time.c, v5.10 … v6.18).

use std::fmt;

use crate::report::record::{civil_from_days, days_from_civil};
use crate::ruleset::xtables::save::{Extension, Opt};

const DAY: i64 = 86_400;
/// `XT_TIME_MAX_DAYTIME`
const LAST_SECOND: u32 = 86_399;
/// From Monday on, as the kernel counts them.
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// The calendar begins anew: in so many days, which are whole weeks, too.
const ERA_DAYS: i64 = 146_097;

/// When a rule is one. All times are UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeAsk {
    /// Seconds since 1970, first and last.
    dates: [i64; 2],
    /// Seconds since midnight, first and last; if the last is before the first, over midnight.
    daytime: [u32; 2],
    /// A bit for each day of the week, Monday's the lowest.
    weekdays: u8,
    /// A bit for each day of the month, the first's the second lowest.
    monthdays: u32,
    /// After midnight it is still the day before.
    contiguous: bool,
    /// As it is written.
    text: Box<str>,
}

impl TimeAsk {
    /// Of the match as it is saved; `None` if something of it is not known here, as the time zone of the kernel.
    pub fn of(extension: &Extension) -> Option<Self> {
        let mut ask = Self {
            dates: [0, i64::from(i32::MAX)],
            daytime: [0, LAST_SECOND],
            weekdays: 0x7f,
            monthdays: !1,
            contiguous: false,
            text: extension.to_string().trim().into(),
        };
        for option in &extension.options {
            ask.take(option)?;
        }
        Some(ask)
    }

    fn take(&mut self, option: &Opt) -> Option<()> {
        let name = &*option.name;
        match (name, option.values.as_slice()) {
            ("--utc", []) => return (!option.negated).then_some(()),
            ("--contiguous", []) if !option.negated => {
                self.contiguous = true;
                return Some(());
            }
            _ => {}
        }
        let value = option.only()?;
        match name {
            "--weekdays" => {
                let days = value
                    .split(',')
                    .try_fold(0, |days, word| Some(days | weekday(word)?))?;
                self.weekdays = if option.negated { !days & 0x7f } else { days };
            }
            "--monthdays" => {
                let days = value
                    .split(',')
                    .try_fold(0, |days, word| Some(days | monthday(word)?))?;
                self.monthdays = if option.negated { !days & !1 } else { days };
            }
            _ if option.negated => return None,
            "--datestart" => self.dates[0] = date(value)?,
            "--datestop" => self.dates[1] = date(value)?,
            "--timestart" => self.daytime[0] = daytime(value)?,
            "--timestop" => self.daytime[1] = daytime(value)?,
            _ => return None,
        }
        Some(())
    }

    /// Whether it is so, so many seconds after 1970 began.
    pub fn holds(&self, at: i64) -> bool {
        let [first_date, last_date] = self.dates;
        if at < first_date || at > last_date {
            return false;
        }
        let [first, last] = self.daytime.map(i64::from);
        let daytime = at.rem_euclid(DAY);
        let mut day_of = at;
        if first < last {
            if daytime < first || daytime > last {
                return false;
            }
        } else {
            if daytime < first && daytime > last {
                return false;
            }
            if self.contiguous && daytime <= last {
                day_of -= DAY;
            }
        }
        let (weekday, monthday) = day(day_of);
        self.weekdays >> weekday & 1 != 0 && self.monthdays >> monthday & 1 != 0
    }

    /// That time in words.
    pub fn words(at: i64) -> String {
        let (weekday, monthday) = day(at);
        let seconds = at.rem_euclid(DAY);
        let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
        format!(
            "it is {hour:02}:{minute:02} UTC on {}, the {monthday}. of the month",
            WEEKDAYS[weekday]
        )
    }
}

impl fmt::Display for TimeAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-m {}", self.text)
    }
}

/// The day of the week, 0 for Monday, and of the month, 1 for the first.
fn day(at: i64) -> (usize, u32) {
    let days = at.div_euclid(DAY);
    // 1970 began on a Thursday.
    let weekday = (days + 3).rem_euclid(7);
    let of_era = days.rem_euclid(ERA_DAYS).cast_unsigned();
    let (_, _, monthday) = civil_from_days(of_era);
    (
        usize::try_from(weekday).unwrap_or(0),
        u32::try_from(monthday).unwrap_or(1),
    )
}

/// `Mon`, `Mo`, `1`
fn weekday(word: &str) -> Option<u8> {
    if let Ok(number) = word.parse::<u8>() {
        return (1..=7).contains(&number).then(|| 1 << (number - 1));
    }
    let is_it = |name: &&str| name.eq_ignore_ascii_case(word) || name[..2].eq_ignore_ascii_case(word);
    let index = WEEKDAYS.iter().position(is_it)?;
    Some(1 << index)
}

fn monthday(word: &str) -> Option<u32> {
    let number = word.parse::<u32>().ok()?;
    (1..=31).contains(&number).then(|| 1 << number)
}

/// `8:00`, `08:00:30`; seconds since midnight.
fn daytime(text: &str) -> Option<u32> {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let fits = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    fits.then_some(hour * 3600 + minute * 60 + second)
}

/// `2026-11-27T08:00:30`, or less of it from the right; seconds since 1970.
fn date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "0:0"));
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let year = parts.next()??;
    let month = parts.next().unwrap_or(Some(1))?;
    let day = parts.next().unwrap_or(Some(1))?;
    let fits = parts.next().is_none() && (1970..=2038).contains(&year) && (1..=12).contains(&month);
    if !fits || !(1..=31).contains(&day) {
        return None;
    }
    let time = if time.contains(':') {
        daytime(time)?
    } else {
        daytime(&format!("{time}:0"))?
    };
    let days = i64::try_from(days_from_civil(year, month, day)?).ok()?;
    Some(days * DAY + i64::from(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::xtables::save::Value;

    /// Friday, 27 November 2026, 14:50:30 UTC (`date -u -d @1795791030`).
    const NOW: i64 = 1_795_791_030;

    fn ask(text: &str) -> Option<TimeAsk> {
        let mut options: Vec<Opt> = Vec::new();
        let mut negated = false;
        for word in text.split(' ') {
            if word == "!" {
                negated = true;
            } else if word.starts_with("--") {
                options.push(Opt {
                    negated: std::mem::take(&mut negated),
                    name: word.into(),
                    values: Vec::new(),
                });
            } else {
                let value = Value {
                    text: word.into(),
                    quoted: false,
                };
                options.last_mut().expect("an option").values.push(value);
            }
        }
        TimeAsk::of(&Extension {
            name: "time".into(),
            options,
        })
    }

    fn holds(text: &str, at: i64) -> bool {
        ask(text).expect("it is known").holds(at)
    }

    #[test]
    fn hours_days_and_dates_are_utc() {
        for (text, expected) in [
            ("--timestart 14:50:30 --timestop 14:50:30", true),
            ("--timestart 14:50 --timestop 14:51", true),
            ("--timestart 14:51 --timestop 14:50", false),
            ("--timestart 14:51 --timestop 14:50:30", true),
            ("--timestart 22:00 --timestop 06:00", false),
            ("--timestop 14:50:29", false),
            ("--weekdays Fri", true),
            ("--weekdays Mo,fr", true),
            ("--weekdays 5", true),
            ("! --weekdays Fri", false),
            ("--weekdays Sat,Sun", false),
            ("--monthdays 27", true),
            ("--monthdays 26,28", false),
            ("! --monthdays 26,28", true),
            (
                "--datestart 2026-11-27T14:50:30 --datestop 2026-11-27T14:50:30",
                true,
            ),
            ("--datestart 2026-11-27T14:50:31", false),
            ("--datestop 2026-11-27", false),
            ("--datestart 2026-11 --datestop 2027", true),
            ("--utc --weekdays Fri", true),
        ] {
            assert_eq!(holds(text, NOW), expected, "{text}");
        }
    }

    #[test]
    fn after_midnight_it_may_still_be_the_day_before() {
        // Saturday, 01:00.
        let night = NOW - NOW.rem_euclid(DAY) + DAY + 3600;
        assert!(!holds("--timestart 22:00 --timestop 06:00 --weekdays Fri", night));
        assert!(holds(
            "--timestart 22:00 --timestop 06:00 --weekdays Fri --contiguous",
            night
        ));
        assert!(holds("--timestart 22:00 --timestop 06:00 --weekdays Sat", night));
    }

    #[test]
    fn it_is_said_as_it_is_written_and_what_the_clock_says() {
        let ask = ask("--timestart 08:00 --weekdays Mon").expect("it is known");
        assert_eq!(ask.to_string(), "-m time --timestart 08:00 --weekdays Mon");
        assert_eq!(
            TimeAsk::words(NOW),
            "it is 14:50 UTC on Fri, the 27. of the month"
        );
    }

    #[test]
    fn leap_days_are_days() {
        // 29 February 2028 and 1 March 2028, 00:00 UTC.
        assert_eq!(day(1_835_395_200), (1, 29));
        assert_eq!(day(1_835_481_600), (2, 1));
        assert_eq!(date("2028-03-01"), Some(1_835_481_600));
        assert_eq!(day(0), (3, 1));
        assert_eq!(day(-1), (2, 31));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for text in [
            "--kerneltz",
            "--localtz",
            "--weekdays Someday",
            "--monthdays 32",
            "--timestart 24:00",
            "! --timestart 10:00",
            "--datestart 1969",
            "--datestart 2026-13",
            "--timestart",
        ] {
            assert_eq!(ask(text), None, "{text}");
        }
    }
}
