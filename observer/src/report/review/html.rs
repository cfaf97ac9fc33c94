//! One page that stands alone: no script, no style or picture from elsewhere, and a policy in it that forbids both.

use std::fmt::Write as _;

use super::plot::{Item, bars, columns};
use super::{escape, file, second, span, tables, totals};
use crate::review::Review;

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Dropped packets</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #ddd; vertical-align: top; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; white-space: nowrap; }
svg { width: 100%; height: auto; }
rect { fill: #b3392f; }
text { font-size: 11px; fill: #444; }
</style>
</head>
<body>
<h1>Dropped packets</h1>
";

pub(super) fn page(review: &Review, top: usize) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("<ul>\n");
    for line in totals(review) {
        let _ = writeln!(page, "<li>{}</li>", safe(&line));
    }
    page.push_str("</ul>\n");
    let times: Vec<Item> = review
        .timeline
        .bars()
        .iter()
        .map(|bar| Item {
            name: second(bar.from),
            packets: bar.packets,
        })
        .collect();
    if !times.is_empty() {
        let width = span(review.timeline.width_ns());
        let _ = writeln!(page, "<h2>Timeline</h2>\n<p>Packets in {width} each.</p>");
        page.push_str(&columns(&times));
    }
    for table in tables(review, top) {
        if table.rows.is_empty() {
            continue;
        }
        let _ = writeln!(page, "<h2>{}</h2>", table.title);
        let items: Vec<Item> = table
            .rows
            .iter()
            .map(|row| Item {
                name: row.name.clone(),
                packets: row.packets,
            })
            .collect();
        page.push_str(&bars(&items));
        page.push_str(
            "<table>\n<tr><th class=\"n\">packets</th><th>what</th><th>first</th><th>last</th></tr>\n",
        );
        for row in &table.rows {
            let _ = writeln!(
                page,
                "<tr><td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                row.packets,
                safe(&row.name),
                second(row.first),
                second(row.last)
            );
        }
        page.push_str("</table>\n");
        if let Some(rest) = table.rest {
            let _ = writeln!(page, "<p>{}</p>", safe(&rest));
        }
    }
    page.push_str("<h2>Files</h2>\n<ul>\n");
    for seen in &review.files {
        let _ = writeln!(page, "<li>{}</li>", safe(&file(seen)));
    }
    page.push_str("</ul>\n</body>\n</html>\n");
    page
}

/// Text that is no markup, in an element or an attribute.
pub(super) fn safe(text: &str) -> String {
    let text = escape(text);
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
