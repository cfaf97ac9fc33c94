//! One JSON object: `docs/captures-and-reports.md` describes it.

use serde::Serialize;

use crate::report::json;
use crate::report::record::Time;
use crate::review::{Ranked, Ranking, Review};

#[derive(Serialize)]
struct Object<'a> {
    schema: &'static str,
    files: Vec<File<'a>>,
    nodes: Vec<&'a str>,
    drops: u64,
    exact: u64,
    inferred: u64,
    unknown: u64,
    counted: u64,
    lived: u64,
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Time>,
    causes: Top,
    flows: Top,
    timeline: Timeline,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    kind: &'static str,
    understood: u64,
    passed_over: u64,
    broken: u64,
    cut_off: bool,
}

#[derive(Serialize)]
struct Top {
    top: Vec<Row>,
    /// Names beyond `top`.
    more: usize,
    /// Packets of names that were put together.
    others: u64,
}

#[derive(Serialize)]
struct Row {
    text: String,
    packets: u64,
    first: Time,
    last: Time,
}

#[derive(Serialize)]
struct Timeline {
    width_ns: u64,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    from: Time,
    packets: u64,
}

pub(super) fn object(review: &Review, top: usize) -> serde_json::Result<String> {
    let object = Object {
        schema: "observer.report/v1",
        files: review
            .files
            .iter()
            .map(|file| File {
                name: &file.name,
                kind: if file.is_capture { "capture" } else { "trace" },
                understood: file.understood,
                passed_over: file.passed_over,
                broken: file.broken,
                cut_off: file.is_cut_off,
            })
            .collect(),
        nodes: review.nodes.iter().map(String::as_str).collect(),
        drops: review.drops,
        exact: review.exact,
        inferred: review.inferred,
        unknown: review.unknown,
        counted: review.counted,
        lived: review.lived,
        lost: review.lost,
        first: review.first,
        last: review.last,
        causes: ranked(&review.causes, top),
        flows: ranked(&review.flows, top),
        timeline: Timeline {
            width_ns: review.timeline.width_ns(),
            bars: review
                .timeline
                .bars()
                .into_iter()
                .map(|bar| Bar {
                    from: bar.from,
                    packets: bar.packets,
                })
                .collect(),
        },
    };
    let mut text = json(&object)?;
    text.push('\n');
    Ok(text)
}

fn ranked(ranking: &Ranking, top: usize) -> Top {
    let top: Vec<Row> = ranking.top(top).into_iter().map(row).collect();
    Top {
        more: ranking.len() - top.len(),
        others: ranking.others(),
        top,
    }
}

fn row(ranked: Ranked) -> Row {
    Row {
        text: ranked.name,
        packets: ranked.packets,
        first: ranked.first,
        last: ranked.last,
    }
}
