//! The text of one row's details: its numbers, and its newest drop as `watch` tells it.

use super::cause::{CauseKey, may_be_of};
use super::fit::pieces;
use super::kept::LONGEST_BYTES;
use super::page::{Entry, Page, View};
use super::state::Details;
use super::sure::drops;
use crate::report::clock::time_of_day;
use crate::report::counters::rate;
use crate::report::layout::wrap;
use crate::report::record::{Event, Line, Lost};
use crate::report::terminal::Look;
use crate::report::{Report, Text, escape};

/// The lines, none wider than the screen.
pub(super) fn text(details: &Details, page: &Page, columns: usize) -> Vec<String> {
    let entry = page.find(details.view, details.id);
    let mut lines = Vec::new();
    let mut say = |words: &str| lines.extend(wrapped(words, columns));
    let now = entry.unwrap_or(&details.entry);
    say(&now.what);
    if let Some(cause) = &now.cause {
        say(&format!("dropped by: {cause}"));
    }
    say(&format!(
        "{}, {}: {}",
        drops(now.packets),
        rate(now.per_second),
        now.sure.words()
    ));
    say(&format!(
        "the first at {}, the last at {}",
        time_of_day(now.first),
        time_of_day(now.last)
    ));
    if entry.is_none() {
        say("it is no longer among the rows: others were faster");
    }
    say("");
    match &details.line {
        Some(line) => {
            if let Event::Lost(lost) = &line.event {
                told(lost, now, page).iter().for_each(|words| say(words));
            }
            for words in rendered(line, columns) {
                lines.extend(pieces(&words, columns));
            }
        }
        None => say(&format!(
            "What is known of the newest one takes more than {} KiB and is not kept: use observer watch.",
            LONGEST_BYTES >> 10
        )),
    }
    lines
}

/// What `watch` says of a line.
pub(super) fn rendered(line: &Line, columns: usize) -> Vec<String> {
    let mut page = Vec::new();
    let mut text = Text::new(&mut page, Look::plain(columns));
    // Memory takes it all.
    let _ = text.line(line);
    drop(text);
    String::from_utf8_lossy(&page)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Of a row of drops that were only counted: which causes were told one by one where the kernel gave the same reason.
fn told(lost: &Lost, entry: &Entry, page: &Page) -> Vec<String> {
    let is_of_row = |words: &str, whole: &str| match &entry.cause {
        Some(cause) => **cause == *words,
        None => *entry.what == *whole,
    };
    let folds: Vec<_> = lost
        .flows
        .iter()
        .filter(|flow| {
            let cause = CauseKey::of_fold(flow).shown(Some(&flow.netns));
            is_of_row(&cause.words, &cause.whole)
        })
        .collect();
    let causes = page.entries(View::Causes).iter().filter(|cause| {
        let drop = cause.newest.as_ref().and_then(|line| line.as_drop());
        drop.is_some_and(|drop| {
            folds
                .iter()
                .any(|fold| may_be_of(fold, &drop.drop, drop.netns.as_ref()))
        })
    });
    let mut told: Vec<String> = causes
        .map(|cause| format!("  {} by {}", cause.packets, cause.what))
        .collect();
    told.sort();
    if !told.is_empty() {
        let head =
            "Of these the kernel gave no more than a number. Told one by one, there and for the same reason:";
        told.insert(0, head.to_owned());
        told.push(String::new());
    }
    told
}

pub(super) fn wrapped(words: &str, columns: usize) -> Vec<String> {
    wrap(&escape(words), columns.max(1))
        .iter()
        .flat_map(|line| pieces(line, columns).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fit;
    use super::super::key::Key;
    use super::super::model::Model;
    use super::super::state::{Mode, State};
    use super::*;
    use crate::report::record::samples;

    fn opened(lines: Vec<Line>) -> (Page, Details) {
        let mut model = Model::default();
        for line in lines {
            model.line(line, Duration::from_secs(2));
        }
        let page = Page::of(&model, Duration::from_secs(2));
        let mut state = State::default();
        state.key(Key::Enter, &page);
        let Mode::Details(details) = state.mode else {
            panic!("details")
        };
        (page, details)
    }

    #[test]
    fn they_have_numbers_near_misses_and_what_to_do() {
        let (page, details) = opened(vec![samples::drop_line(samples::policy_drop())]);
        let text = text(&details, &page, 80).join("\n");
        for part in [
            "policy DROP of filter FORWARD (iptables-legacy) in node02",
            "1 drop, 0.5/s: 1 exact",
            "DROP tcp 10.224.0.0:41234 → 10.224.2.16:80 SYN 60 bytes",
            "near 2 ACCEPT rules missed only by their address",
            "fix  let Docker's own chain pass it",
            "iptables -I DOCKER-USER",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn of_a_fold_it_says_what_was_told_there() {
        let (page, details) = opened(vec![
            samples::drop_line(samples::policy_drop()),
            samples::flood_line(),
        ]);
        let text = text(&details, &page, 200).join("\n");
        for part in [
            "Told one by one, there and for the same reason:",
            "1 by policy DROP of filter FORWARD (iptables-legacy) in node02",
            "FOLD folded in the kernel since",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_screen_whatever_the_names() {
        let mut drop = samples::rule_drop();
        drop.drop.chain = Some("日本\u{202e}\u{1b}[2J".repeat(30));
        drop.in_dev = Some("語".repeat(200));
        let (page, details) = opened(vec![samples::drop_line(drop)]);
        for columns in [0, 1, 2, 17, 40, 80, 300] {
            for line in text(&details, &page, columns) {
                assert!(fit::columns(&line) <= columns, "{columns}: {line}");
                assert!(!line.contains(['\u{1b}', '\u{202e}']));
            }
        }
    }
}
