//! The table at the end.

use std::fmt;
use std::time::Duration;

/// Rows of what was measured.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<[String; 3]>,
}

impl Table {
    /// Adds a row, and shows it at once: all of it takes a minute or two.
    pub(super) fn add(&mut self, what: &str, figure: String, target: &str) {
        eprintln!("bench: {what}: {figure}");
        self.rows.push([what.to_owned(), figure, target.to_owned()]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | figure | target |\n| --- | --- | --- |")?;
        for [what, figure, target] in &self.rows {
            writeln!(f, "| {what} | {figure} | {target} |")?;
        }
        Ok(())
    }
}

/// Sorts, and returns the value below which a part of all (0 to 1) lies.
pub(super) fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let index = (last as f64 * part).round() as usize;
    values.get(index).copied().unwrap_or_default()
}

/// `12.3 ms`
pub(super) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// `12.3 MiB`
pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut values: Vec<Duration> = [5, 1, 4, 2, 3].map(Duration::from_millis).to_vec();
        assert_eq!(ms(quantile(&mut values, 0.0)), "1.0 ms");
        assert_eq!(ms(quantile(&mut values, 0.5)), "3.0 ms");
        assert_eq!(ms(quantile(&mut values, 1.0)), "5.0 ms");
        assert_eq!(quantile(&mut [], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::default();
        table.add("size", mib(3 << 19), "< 12 MiB");
        assert!(table.to_string().ends_with("| size | 1.5 MiB | < 12 MiB |\n"));
    }
}
