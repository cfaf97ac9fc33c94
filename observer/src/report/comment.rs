//! What a capture says of itself and of a packet, in comments: `KEY: VALUE`, a line each. What comes from the kernel or a ruleset
//! is escaped, so that it cannot begin a line of its own.

use std::fmt::Write as _;

use super::record::{DropLine, HintKind, Line, Netns, Start};
use super::{escape, words};

/// What made the capture.
pub const PROGRAM: &str = concat!("observer ", env!("CARGO_PKG_VERSION"));
/// The line that says what killed the packet.
pub const CAUSE: &str = "observer";
/// The line that says how sure that is.
pub const CONFIDENCE: &str = "confidence";
/// The line that says on which host it was.
pub const NODE: &str = "node";

/// An option of pcapng holds 65,535 bytes, and a reader's eye much less.
const MAX_BYTES: usize = 4096;
/// A name of a device and the like.
const MAX_WORD_BYTES: usize = 128;

/// Of the whole capture.
pub fn section(node: &str, start: Option<&Start>) -> String {
    let mut text = String::new();
    if let Some(start) = start {
        add(&mut text, "kernel", &start.kernel);
        if !start.filter.text.is_empty() {
            add(&mut text, "filter", &start.filter.text);
        }
    }
    add(&mut text, NODE, node);
    finished(text)
}

/// Of a packet: what killed it comes first, since that is what a column shows.
pub fn packet(line: &Line, drop: &DropLine) -> String {
    let info = &drop.drop;
    let mut text = String::new();
    add(&mut text, CAUSE, &words::cause(info));
    add(&mut text, CONFIDENCE, &words::confidence(info));
    add(&mut text, "at", &words::whereabouts(drop, &line.node));
    if let Some(rule) = info.rule.as_ref().and_then(|rule| rule.text.as_deref()) {
        add(&mut text, "rule", rule);
    }
    if let Some(meaning) = &info.text {
        add(&mut text, "means", meaning);
    }
    if let Some(flow) = words::flow(
        drop.flow.as_ref(),
        &drop.packet,
        drop.names.as_deref(),
        drop.matched,
    ) {
        add(&mut text, "flow", &flow);
    }
    if let Some(note) = &info.note {
        add(&mut text, "note", note);
    }
    for hint in &drop.hints {
        let key = match hint.kind {
            HintKind::NearMiss => "near miss",
            HintKind::Owner => "owner",
            HintKind::Fix => "fix",
        };
        add(&mut text, key, &hint.text);
    }
    finished(text)
}

/// The namespace that an interface is in.
pub fn netns(netns: Option<&Netns>) -> String {
    match netns {
        Some(Netns {
            inode,
            name: Some(name),
        }) => format!("network namespace {} ({inode})", word(name)),
        Some(Netns { inode, name: None }) => format!("network namespace {inode}"),
        None => "network namespace not known".to_owned(),
    }
}

/// A name, made harmless.
pub fn word(name: &str) -> String {
    let mut word = escape(name).into_owned();
    cut(&mut word, MAX_WORD_BYTES);
    word
}

/// The value of a key in a comment, as [`packet`] and [`section`] write them.
pub fn value<'a>(comment: &'a str, key: &str) -> Option<&'a str> {
    comment
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

fn add(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key}: {}", escape(value));
}

fn finished(mut text: String) -> String {
    cut(&mut text, MAX_BYTES);
    text.truncate(text.trim_end_matches('\n').len());
    text
}

/// Shortens it to so many bytes at most, at a whole character.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
}
