//! The budget of the optional probes, as people type it: `2`, `0.5`, `10%`.

/// What `--budget` takes, in percent, where none is given.
pub const DEFAULT_PERCENT: &str = "2";

/// How much of one CPU the optional (path) probes may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget(u32);

impl Budget {
    /// No limit at all.
    pub const NO_LIMIT: Self = Self(u32::MAX);

    /// In thousandths of one CPU; [`u32::MAX`] where there is no limit.
    pub const fn permille(self) -> u32 {
        self.0
    }
}

impl Default for Budget {
    /// That of [`DEFAULT_PERCENT`].
    fn default() -> Self {
        Self(20)
    }
}

/// Reads a percentage from 0.1 to 100, rounded to a tenth of a percent; 100 is no limit.
///
/// # Errors
/// One line that says how to write it.
pub fn parse(text: &str) -> Result<Budget, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    // f64 also reads `inf`, `nan` and `1e1`; nobody means those here.
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent = number.parse::<f64>().ok().filter(|_| is_plain(number));
    match percent {
        Some(percent) if (0.1..100.0).contains(&percent) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 1 to 1000"
            )]
            let permille = (percent * 10.0).round() as u32;
            Ok(Budget(permille))
        }
        Some(100.0) => Ok(Budget::NO_LIMIT),
        _ => Err(
            "write a percentage of one CPU from 0.1 to 100, such as 2 or 0.5%; 100 is no limit".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_decimals_and_perhaps_a_sign() {
        for (text, permille) in [
            ("0.1", 1),
            ("0.5%", 5),
            ("2", 20),
            ("2 %", 20),
            ("2.25", 23),
            ("33.3%", 333),
            ("99.99", 1000),
        ] {
            assert_eq!(parse(text).map(Budget::permille), Ok(permille), "{text}");
        }
    }

    #[test]
    fn a_hundred_is_no_limit() {
        for text in ["100", "100%", "100.0"] {
            assert_eq!(parse(text), Ok(Budget::NO_LIMIT), "{text}");
        }
        assert_eq!(Budget::NO_LIMIT.permille(), u32::MAX);
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for text in [
            "", "%", ".", "0", "0.09", "-1", "+2", "100.1", "1e1", "inf", "NaN", "2%%", "2,5", "1.2.3",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_is_the_one_that_the_help_shows() {
        assert_eq!(parse(DEFAULT_PERCENT), Ok(Budget::default()));
    }
}
