//! What the screen says of one line of the trace: three to five rows a drop.

use super::clock::{second_of_day, span, time_of_day};
use super::fold::Repeats;
use super::layout::{INDENT, Row, Tone};
use super::record::{
    Candidate, Cause, Confidence, CounterInfo, Disagreement, DropInfo, DropLine, Hint, HintKind, Line, Lost,
    Rule, Start, Summary, Time, Tool,
};
use super::terminal::Look;
use super::{way, words};

/// From this width on, where it died stands beside what died.
const WIDE: usize = 120;
/// Shorter than any span that is told.
const NANOS_PER_MILLI: u64 = 1_000_000;
/// Between what died, where and by whom on one line.
const GAP: &str = "   ";
/// So many candidates are named.
const MAX_CANDIDATES: usize = 5;

pub(super) fn drop(line: &Line, drop: &DropLine, look: Look) -> String {
    let (what, place) = (
        words::packet(&drop.packet, drop.names.as_deref()),
        words::whereabouts(drop, &line.node),
    );
    let by = by(drop);
    let all = format!("{what}{GAP}{place}{GAP}{}", by.words);
    let mut rows = if all.chars().count() + by.end_columns() <= look.width.saturating_sub(INDENT) {
        vec![Row {
            end: by.end,
            ..Row::new("DROP", all)
        }]
    } else if look.width >= WIDE {
        vec![Row::new("DROP", format!("{what}{GAP}{place}")), by]
    } else {
        vec![Row::new("DROP", what), Row::new("at", place), by]
    };
    rows[0].time = time_of_day(line.time);
    rows[0].tone = Tone::Alarm;
    rows.extend(why(drop));
    rows.extend(
        words::flow(
            drop.flow.as_ref(),
            &drop.packet,
            drop.names.as_deref(),
            drop.matched,
        )
        .map(|flow| Row::new("flow", flow)),
    );
    rows.extend(drop.drop.note.as_ref().map(|note| Row::new("note", note.clone())));
    rows.extend(drop.drop.disagreement.iter().flat_map(disagreement));
    rows.extend(drop.hints.iter().flat_map(hint));
    rows.extend(way::of_drop(drop, look));
    render(&rows, look)
}

/// What dropped it, in words.
pub(super) fn by_words(drop: &DropLine) -> String {
    by(drop).words
}

fn by(drop: &DropLine) -> Row {
    let info = &drop.drop;
    let default = if info.cause == Some(Cause::Policy) {
        "default "
    } else {
        ""
    };
    let tool = info
        .tool
        .map(|tool| format!(" ({})", tool.name()))
        .unwrap_or_default();
    let priority = info
        .priority
        .map(|priority| format!(", priority {priority}"))
        .unwrap_or_default();
    let tone = match info.confidence {
        Confidence::Exact => Tone::Good,
        Confidence::Inferred | Confidence::Unknown => Tone::Care,
    };
    Row {
        end: Some((words::confidence(info), tone)),
        ..Row::new("by", format!("{default}{}{priority}{tool}", words::cause(info)))
    }
}

/// The rule and the way to it; of a hook function and in other layers, what it means; where nothing is known, what it may have been.
pub(super) fn why(drop: &DropLine) -> Vec<Row> {
    let info = &drop.drop;
    let mut rows = Vec::new();
    if info.chain_path.len() > 1 {
        rows.push(Row::new("path", info.chain_path.join(" → ")));
    }
    if let Some(rule) = &info.rule {
        rows.push(Row::new("rule", rule_words(info, rule)));
    }
    if !matches!(info.cause, Some(Cause::Rule | Cause::Policy)) {
        rows.extend(info.text.as_ref().map(|text| Row::new("why", text.clone())));
    }
    rows.extend(
        info.candidates
            .iter()
            .take(MAX_CANDIDATES)
            .map(|candidate| Row::new("may", may_be(candidate))),
    );
    if info.candidates.len() > MAX_CANDIDATES {
        rows.push(Row::new(
            "",
            format!("and {} more", info.candidates.len() - MAX_CANDIDATES),
        ));
    }
    rows
}

/// A counter's rule; where the tool gave no text, what else is known of it.
pub(super) fn rule_text(info: &CounterInfo) -> Option<String> {
    let rule = info.rule.as_ref()?;
    Some(rule_words(&info.as_drop(), rule))
}

/// Its text; where the tool gave none, what the kernel's memory says of it.
fn rule_words(drop: &DropInfo, rule: &Rule) -> String {
    if let Some(text) = &rule.text {
        return text.clone();
    }
    let target = rule.target.as_ref().map(|target| format!("target {target}"));
    let comment = rule
        .comment
        .as_ref()
        .map(|comment| format!("comment \"{comment}\""));
    let known: Vec<String> = target.into_iter().chain(comment).collect();
    let without = match show_command(drop) {
        Some(command) => format!("(for its text: {command})"),
        None => "(its text is not known)".to_owned(),
    };
    if known.is_empty() {
        without
    } else {
        format!("{} {without}", known.join(", "))
    }
}

/// The command that shows a rule of nft's; not if a shell would read a name in it as more than a word.
fn show_command(drop: &DropInfo) -> Option<String> {
    let is_plain = |name: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain)
    };
    let table = drop.table.as_deref().filter(is_plain)?;
    let chain = drop.chain.as_deref().filter(is_plain)?;
    let family = drop.family?.name();
    (drop.tool == Some(Tool::Nft)).then(|| format!("nft -a list chain {family} {table} {chain}"))
}

fn may_be(candidate: &Candidate) -> String {
    let place = format!("{} {}", candidate.table, candidate.chain);
    let which = match (candidate.rule, &candidate.policy) {
        (Some(number), _) => format!("rule {number} of {place}"),
        (None, Some(policy)) => format!("policy {policy} of {place}"),
        (None, None) => place,
    };
    match &candidate.text {
        Some(text) => format!("{which}: {text}"),
        None => which,
    }
}

/// Kernel and replay at odds, and how that is seen again.
fn disagreement(disagreement: &Disagreement) -> Vec<Row> {
    let mut rows = vec![Row {
        tone: Tone::Care,
        ..Row::new("bug", disagreement.text.clone())
    }];
    let command = disagreement.command.as_ref();
    rows.extend(command.map(|command| Row::command(command)));
    rows
}

pub(super) fn hint(hint: &Hint) -> Vec<Row> {
    let label = match hint.kind {
        HintKind::NearMiss => "near",
        HintKind::Owner => "who",
        HintKind::Fix => "fix",
    };
    let mut rows = vec![Row {
        tone: Tone::Care,
        ..Row::new(label, hint.text.clone())
    }];
    if let Some(rule) = &hint.rule
        && let Some(text) = &rule.rule.text
    {
        let number = rule
            .rule
            .number
            .map(|number| format!("rule {number}: "))
            .unwrap_or_default();
        rows.push(Row::new("", format!("{number}{text}")));
    }
    rows.extend(hint.command.as_ref().map(|command| Row::command(command)));
    rows
}

/// `now` is when it is told: rows stand in the order of their times.
pub(super) fn repeats(repeats: &Repeats, tone: Tone, now: Time, look: Look) -> String {
    let took = repeats.last.nanos_since(repeats.first);
    let when = second_of_day(repeats.first);
    let took = if took < NANOS_PER_MILLI {
        format!("within 1 ms at {when}")
    } else {
        format!("in {} since {when}", span(took))
    };
    let words = format!("{took}  {}", repeats.what);
    let row = Row {
        time: time_of_day(now),
        tone,
        ..Row::new(&format!("×{}", repeats.count), words)
    };
    render(&[row], look)
}

pub(super) fn start(line: &Line, start: &Start, look: Look) -> String {
    let filter = if start.filter.text.is_empty() {
        "every packet"
    } else {
        &start.filter.text
    };
    let head = format!(
        "observer {} on {}, kernel {}: watching {filter}",
        start.version, line.node, start.kernel
    );
    let mut rows = vec![Row {
        time: time_of_day(line.time),
        ..Row::new("", head)
    }];
    if !start.attribution.is_empty() {
        rows.push(Row::new(
            "",
            format!("answers to expect: {}", expectations(start)),
        ));
    }
    rows.extend(start.notes.iter().map(|note| Row::new("note", note.clone())));
    render(&rows, look)
}

/// `legacy and iptables-nft: exact; nft: inferred`.
fn expectations(start: &Start) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (backend, expect) in &start.attribution {
        match groups.iter_mut().find(|(known, _)| known == expect) {
            Some((_, backends)) => backends.push(backend),
            None => groups.push((expect, vec![backend])),
        }
    }
    let words = groups
        .iter()
        .map(|(expect, backends)| format!("{}: {expect}", backends.join(" and ")));
    words.collect::<Vec<_>>().join("; ")
}

pub(super) fn lost(line: &Line, lost: &Lost, look: Look) -> String {
    if lost.place == "flood" {
        return folded(line, lost, look);
    }
    let since = lost
        .since
        .map(|since| format!(" since {}", time_of_day(since)))
        .unwrap_or_default();
    let row = Row {
        time: time_of_day(line.time),
        tone: Tone::Care,
        ..Row::new(
            "LOST",
            format!("{} drops were not seen{since} ({})", lost.count, lost.place),
        )
    };
    render(&[row], look)
}

/// Drops that the kernel side only counted.
fn folded(line: &Line, lost: &Lost, look: Look) -> String {
    let since = lost
        .since
        .map(|since| format!(" since {}", time_of_day(since)))
        .unwrap_or_default();
    let flows = match lost.flow_count {
        None | Some(0) => String::new(),
        Some(1) => " in 1 flow".to_owned(),
        Some(flows) => format!(" in {flows} flows"),
    };
    let head = format!(
        "folded in the kernel{since}: {} drops{flows}, more than can be told one by one",
        lost.count
    );
    let mut rows = vec![Row {
        time: time_of_day(line.time),
        tone: Tone::Care,
        ..Row::new("FOLD", head)
    }];
    rows.extend(lost.flows.iter().map(|flow| {
        let place = flow.netns.name.clone();
        let place = place.unwrap_or_else(|| format!("netns {}", flow.netns.inode));
        let why = flow.reason.as_deref().or(flow.symbol.as_deref());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        Row::new(
            "",
            format!(
                "{} of {} {} → {} in {place}{why}",
                flow.count, flow.proto, flow.src, flow.dst
            ),
        )
    }));
    render(&rows, look)
}

pub(super) fn note(line: &Line, text: &str, look: Look) -> String {
    let row = Row {
        time: time_of_day(line.time),
        tone: Tone::Care,
        ..Row::new("NOTE", text.to_owned())
    };
    render(&[row], look)
}

pub(super) fn summary(line: &Line, summary: &Summary, look: Look) -> String {
    let folded = summary.folded.unwrap_or(0);
    let of_flood = if folded > 0 {
        format!("{folded} folded in the kernel, ")
    } else {
        String::new()
    };
    let seen = || {
        format!(
            "{} packets died in {}: {} reported, {} filtered, {of_flood}{} lost",
            summary.kernel_drops,
            span(summary.duration_ns),
            summary.reported(),
            summary.filtered,
            summary.lost.saturating_sub(folded)
        )
    };
    // No packet was seen.
    let counted = |counted| {
        format!(
            "{counted} packets counted in {} by rules and policies that drop",
            span(summary.duration_ns)
        )
    };
    let head = summary.counted.map_or_else(seen, counted);
    let mut rows = vec![Row {
        time: time_of_day(line.time),
        ..Row::new("SUM", head)
    }];
    if summary.reported() > 0 {
        let sure = format!(
            "{} exact, {} inferred, {} unknown",
            summary.exact, summary.inferred, summary.unknown
        );
        rows.push(Row::new("", format!("reported: {sure}")));
    }
    if summary.not_loss > 0 {
        rows.push(Row::new(
            "",
            format!(
                "filtered: {} of them are no loss (copies, duplicates, frames for others)",
                summary.not_loss
            ),
        ));
    }
    if let Some(count) = summary.disagreements {
        rows.push(Row {
            tone: Tone::Care,
            ..Row::new(
                "bug",
                format!("of {count} of them the rules, asked once more, came to something else than the kernel did; please report it"),
            )
        });
    }
    if !summary.reconciles() {
        rows.push(Row {
            tone: Tone::Care,
            ..Row::new("note", "these totals do not add up; please report it")
        });
    }
    let causes = summary.by_cause.iter();
    rows.extend(causes.map(|cause| Row::new(&format!("{:>4}", cause.count), cause.text.clone())));
    render(&rows, look)
}

pub(super) fn unfolded(count: u64, what: &str, tone: Tone, look: Look) -> String {
    let row = Row {
        tone,
        ..Row::new(&format!("+{count}"), what)
    };
    render(&[row], look)
}

pub(super) fn render(rows: &[Row], look: Look) -> String {
    let mut text = String::new();
    for row in rows {
        row.render(look, &mut text);
    }
    text
}
