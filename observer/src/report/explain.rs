//! What the screen says of a packet that was asked about: the packet, then each way that it may go.

use super::block::{self, render};
use super::clock::time_of_day;
use super::layout::{Row, Tone};
use super::record::{
    AskedPacket, Dependence, DropLine, ExplainedWay, Explanation, Fate, Packet, Passage, PathEvidence,
    Recorded, Still,
};
use super::terminal::Look;
use super::{way, words};

/// So many conditions of one way are told.
const MAX_CONDITIONS: usize = 8;

/// The answer as text.
pub fn explanation(told: &Explanation, look: Look) -> String {
    let mut rows = vec![Row {
        tone: Tone::Care,
        ..Row::new("ASK", packet(&told.packet))
    }];
    rows.extend(told.recorded.iter().flat_map(recorded));
    rows.extend(
        told.rulesets
            .iter()
            .map(|source| Row::new("from", format!("{}: {}", source.from, source.tables.join(", ")))),
    );
    if told.verdict == Fate::Depends {
        rows.push(Row::new(
            "",
            format!("it depends: {} ways are possible", told.ways.len()),
        ));
    }
    for one in &told.ways {
        rows.extend(way_rows(one, look));
    }
    rows.extend(told.notes.iter().map(|note| Row::new("note", note.clone())));
    render(&rows, look)
}

/// What a trace says of it, and what of that holds.
fn recorded(told: &Recorded) -> [Row; 2] {
    let line = DropLine {
        drop: told.drop.clone(),
        ..DropLine::default()
    };
    let then = format!(
        "line {}, {} on {}: {}",
        told.line,
        time_of_day(told.time),
        told.node,
        block::by_words(&line)
    );
    let tone = match told.now {
        Still::Passes => Tone::Good,
        Still::Same | Still::Other => Tone::Alarm,
        Still::Depends | Still::Unknown => Tone::Care,
    };
    let now = Row {
        tone,
        ..Row::new("NOW", told.text.clone())
    };
    [Row::new("then", then), now]
}

/// `tcp 10.224.0.0 → 10.224.2.16:80 SYN NEW, flannel.1 → cni0`
fn packet(asked: &AskedPacket) -> String {
    let headers = Packet {
        family: asked.family,
        proto: asked.proto,
        src: asked.src,
        sport: asked.sport,
        dst: asked.dst,
        dport: asked.dport,
        tcp_flags: asked.tcp_flags,
        icmp_type: asked.icmp_type,
        mark: asked.mark.unwrap_or_default(),
        ..Packet::default()
    };
    let mut text = words::headers(&headers);
    if let Some(state) = asked.ct_state {
        text.push(' ');
        text.push_str(state.name());
    }
    match (&asked.in_dev, &asked.out_dev) {
        (Some(in_dev), Some(out_dev)) => text.push_str(&format!(", {in_dev} → {out_dev}")),
        (Some(in_dev), None) => text.push_str(&format!(", in by {in_dev}")),
        (None, Some(out_dev)) => text.push_str(&format!(", out by {out_dev}")),
        (None, None) => {}
    }
    text
}

fn way_rows(told: &ExplainedWay, look: Look) -> Vec<Row> {
    let (label, tone) = match told.verdict {
        Fate::Pass => ("PASS", Tone::Good),
        Fate::Drop => ("DROP", Tone::Alarm),
        Fate::Depends | Fate::Unknown => ("?", Tone::Care),
    };
    let path: Vec<Passage> = told.path.iter().map(without_evidence).collect();
    let mut rows = Vec::new();
    match &told.drop {
        Some(drop) => {
            let line = DropLine {
                path,
                drop: drop.clone(),
                hints: told.hints.clone(),
                ..DropLine::default()
            };
            rows.push(Row {
                tone,
                ..Row::new(label, block::by_words(&line))
            });
            rows.extend(conditions(told));
            rows.extend(block::why(&line));
            rows.extend(line.hints.iter().flat_map(block::hint));
            rows.extend(way::of_drop(&line, look));
        }
        None => {
            rows.push(Row {
                tone,
                ..Row::new(label, told.text.clone())
            });
            rows.extend(conditions(told));
            if !path.is_empty() {
                rows.extend(way::of_pass(&path, look));
            }
        }
    }
    rows.extend(told.notes.iter().map(|note| Row::new("note", note.clone())));
    rows
}

/// All of this answer is replayed: it need not be said of each row.
fn without_evidence(passage: &Passage) -> Passage {
    Passage {
        evidence: PathEvidence::Observed,
        ..passage.clone()
    }
}

fn conditions(told: &ExplainedWay) -> Vec<Row> {
    let all = &told.depends_on;
    let mut rows: Vec<Row> = all.iter().take(MAX_CONDITIONS).map(dependence).collect();
    if all.len() > MAX_CONDITIONS {
        rows.push(Row::new("", format!("and {} more", all.len() - MAX_CONDITIONS)));
    }
    rows
}

/// `rule 3 of filter FORWARD matches (it is drawn by lot): -A FORWARD …`
fn dependence(told: &Dependence) -> Row {
    let rule = &told.rule;
    let number = rule
        .rule
        .number
        .map(|number| format!("rule {number} of "))
        .unwrap_or_default();
    let text = rule.rule.text.as_deref();
    let verb = match (text, told.matches) {
        // Of a base chain it is not known whether it is called at all.
        (None, true) if rule.rule.number.is_none() => "is asked",
        (None, false) if rule.rule.number.is_none() => "is not asked",
        (_, true) => "matches",
        (_, false) => "does not match",
    };
    let text = text.map(|text| format!(": {text}")).unwrap_or_default();
    let words = format!(
        "{number}{} {} {verb} ({}){text}",
        rule.table, rule.chain, told.because
    );
    Row::new("if", words)
}
