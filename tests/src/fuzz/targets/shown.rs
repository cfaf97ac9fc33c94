//! What comes to a person's eyes: nothing that was read may steer it.

use observer::evaluate::{Course, Packet, Unknown};
use observer::explain::{Question, Rules, answer};
use observer::report::record::{Explanation, Line};
use observer::report::{self, Look, Report as _, Text, json};

/// What the text itself writes on a terminal with colour: takes a line back, sets words off.
const OWN: [&str; 8] = [
    "\x1b[1A\r\x1b[2K",
    "\x1b[0m",
    "\x1b[1m",
    "\x1b[2m",
    "\x1b[31m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[39m",
];

fn person() -> Look {
    Look {
        is_terminal: true,
        width: 80,
        color: true,
    }
}

/// A line of a trace, as it is shown on a terminal and in a file, and written again as JSON.
pub(super) fn line(line: &Line) {
    for look in [Look::plain(80), person()] {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out, look);
        // Twice, so that the second is told as a repeat.
        for _ in 0..2 {
            text.line(line).expect("memory takes it");
        }
        text.finish().expect("memory takes it");
        drop(text);
        check(String::from_utf8(out).expect("text is UTF-8"), look);
    }
    let written = json(line).expect("a line can be written");
    check(written.clone(), Look::plain(80));
    let again: Line = serde_json::from_str(&written).expect("what was written is read");
    assert_eq!(
        serde_json::to_string(&again).ok(),
        serde_json::to_string(line).ok()
    );
}

/// What is asked of rules, and shown.
pub(super) fn explained(packet: Packet, course: Course, rules: &Rules) -> Explanation {
    let told = answer(&Question { packet, course }, rules, &Unknown);
    explanation(&told);
    told
}

/// An answer, as it is shown on a terminal and in a file, and written as JSON.
pub(super) fn explanation(told: &Explanation) {
    for look in [Look::plain(80), person()] {
        check(report::explanation(told, look), look);
    }
    check(json(told).expect("an answer can be written"), Look::plain(80));
}

/// What `observer report` prints.
pub(super) fn page(text: String) {
    check(text, Look::plain(80));
}

fn check(mut text: String, look: Look) {
    if look.color {
        for own in OWN {
            text = text.replace(own, "");
        }
    }
    let steers = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
    };
    assert!(!text.contains(steers), "{}", text.escape_debug());
}
