//! For a terminal.

use std::fmt::Write as _;

use super::{escape, file, second, span, tables, totals};
use crate::review::Review;

/// The longest bar, in columns.
const BAR: u64 = 40;

pub(super) fn page(review: &Review, top: usize) -> String {
    let mut page = String::new();
    for seen in &review.files {
        let _ = writeln!(page, "{}", file(seen));
    }
    for line in totals(review) {
        let _ = writeln!(page, "{line}");
    }
    for table in tables(review, top) {
        if table.rows.is_empty() {
            continue;
        }
        let _ = writeln!(page, "\n{}", table.title);
        for row in &table.rows {
            let _ = writeln!(
                page,
                "{:>9}  {}\n           {} to {}",
                row.packets,
                escape(&row.name),
                second(row.first),
                second(row.last)
            );
        }
        if let Some(rest) = table.rest {
            let _ = writeln!(page, "           {rest}");
        }
    }
    let bars = review.timeline.bars();
    let most = bars.iter().map(|bar| bar.packets).max().unwrap_or(0).max(1);
    if !bars.is_empty() {
        let _ = writeln!(page, "\nTimeline, each line {}", span(review.timeline.width_ns()));
    }
    for bar in bars {
        let length = u128::from(bar.packets) * u128::from(BAR) / u128::from(most);
        // What is not nothing is seen.
        let length = (length as usize).max(usize::from(bar.packets > 0));
        let row = format!("{}  {:>9}  {}", second(bar.from), bar.packets, "#".repeat(length));
        let _ = writeln!(page, "{}", row.trim_end());
    }
    page
}
