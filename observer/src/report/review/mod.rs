//! What `observer report` prints: one file for each form. This file chooses, and has what they share.

mod html;
mod json;
mod markdown;
mod plot;
mod text;

#[cfg(test)]
mod tests;

use super::record::Time;
use super::{escape, span};
use crate::review::{FileSeen, Ranked, Ranking, Review};

/// The form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// For a terminal.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// Markdown, for a ticket.
    Markdown,
    /// One page with plots: no script, nothing from elsewhere.
    Html,
}

/// The whole report, ending in a line feed. `top`: so many causes and flows are named.
///
/// # Errors
/// It cannot be put as JSON.
pub fn review(review: &Review, form: Form, top: usize) -> serde_json::Result<String> {
    Ok(match form {
        Form::Text => text::page(review, top),
        Form::Json => json::object(review, top)?,
        Form::Markdown => markdown::page(review, top),
        Form::Html => html::page(review, top),
    })
}

/// A table: what it tells of, and its rows.
struct Table {
    title: &'static str,
    /// Name, packets, first and last.
    rows: Vec<Ranked>,
    /// What the rows leave out.
    rest: Option<String>,
}

fn tables(review: &Review, top: usize) -> [Table; 2] {
    [
        table("Causes", &review.causes, top),
        table("Flows", &review.flows, top),
    ]
}

fn table(title: &'static str, ranking: &Ranking, top: usize) -> Table {
    let rows = ranking.top(top);
    let more = ranking.len() - rows.len();
    let mut rest = Vec::new();
    if more > 0 {
        rest.push(format!("{more} more"));
    }
    if ranking.others() > 0 {
        rest.push(format!(
            "{} packets of others, too many to tell apart; the numbers above are the least",
            ranking.others()
        ));
    }
    Table {
        title,
        rows,
        rest: (!rest.is_empty()).then(|| rest.join("; ")),
    }
}

/// What it adds up to, a sentence each.
fn totals(review: &Review) -> Vec<String> {
    let mut lines = Vec::new();
    let nodes: Vec<_> = review.nodes.iter().map(|node| escape(node)).collect();
    if !nodes.is_empty() {
        lines.push(format!("Nodes: {}.", nodes.join(", ")));
    }
    lines.push(format!(
        "{} packets died: {} exact, {} inferred, {} unknown.",
        review.drops, review.exact, review.inferred, review.unknown
    ));
    if review.counted > 0 {
        lines.push(format!("{} more were counted, unseen.", review.counted));
    }
    if review.lived > 0 {
        lines.push(format!("{} packets that lived are told of.", review.lived));
    }
    if review.lost > 0 {
        lines.push(format!(
            "{} drops have no line of their own: their events were lost, or they were a flood.",
            review.lost
        ));
    }
    if let (Some(first), Some(last)) = (review.first, review.last) {
        lines.push(format!(
            "First {}, last {}, {} in between.",
            second(first),
            second(last),
            span(last.nanos_since(first))
        ));
    }
    lines
}

/// What is to be known of a file.
fn file(seen: &FileSeen) -> String {
    let what = if seen.is_capture {
        ("capture", "blocks")
    } else {
        ("trace", "lines")
    };
    let mut words = format!(
        "{}: {}, {} {}",
        escape(&seen.name),
        what.0,
        seen.understood,
        what.1
    );
    if seen.passed_over > 0 {
        words.push_str(&format!(", {} passed over", seen.passed_over));
    }
    if seen.broken > 0 && seen.is_capture {
        words.push_str(", broken or cut off behind that");
    } else if seen.broken > 0 {
        words.push_str(&format!(", {} broken", seen.broken));
    }
    if seen.is_cut_off {
        words.push_str(", cut off: it has no summary");
    }
    words
}

/// `2024-05-01 14:03:07 UTC`: a report is read elsewhere, too.
fn second(time: Time) -> String {
    let text = time.to_string();
    let text = text.split('.').next().unwrap_or_default();
    format!("{} UTC", text.replace('T', " "))
}
