//! Markdown, for a ticket. What comes from a trace is in code spans, where nothing in it means anything.

use std::fmt::Write as _;

use super::{escape, file, second, span, tables, totals};
use crate::review::Review;

pub(super) fn page(review: &Review, top: usize) -> String {
    let mut page = "# Dropped packets\n\n".to_owned();
    for line in totals(review) {
        let _ = writeln!(page, "- {}", code_free(&line));
    }
    for table in tables(review, top) {
        if table.rows.is_empty() {
            continue;
        }
        let _ = writeln!(
            page,
            "\n## {}\n\n| packets | what | first | last |\n| ---: | --- | --- | --- |",
            table.title
        );
        for row in &table.rows {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} |",
                row.packets,
                code(&row.name),
                second(row.first),
                second(row.last)
            );
        }
        if let Some(rest) = table.rest {
            let _ = writeln!(page, "\n{rest}");
        }
    }
    let bars = review.timeline.bars();
    if !bars.is_empty() {
        let width = span(review.timeline.width_ns());
        let _ = writeln!(
            page,
            "\n## Timeline\n\n| from, for {width} | packets |\n| --- | ---: |"
        );
    }
    for bar in bars.iter().filter(|bar| bar.packets > 0) {
        let _ = writeln!(page, "| {} | {} |", second(bar.from), bar.packets);
    }
    let _ = writeln!(page, "\n## Files\n");
    for seen in &review.files {
        let _ = writeln!(page, "- {}", code(&file(seen)));
    }
    page
}

/// A code span in a table: neither a backtick nor a bar may end it.
fn code(text: &str) -> String {
    let text = escape(text).replace('`', "'").replace('|', "\u{2502}");
    format!("`{text}`")
}

/// Sentences of ours with names in them: what could be markup or HTML is escaped.
fn code_free(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '!' | '#' | '|'
        ) {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}
