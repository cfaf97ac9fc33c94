//! Rows and their heading, as wide as the terminal: what has no room is left out from the least important on.

use super::fit::{columns as columns_of, fit, pad, pad_left};
use super::model::Totals;
use super::page::{Entry, Page, View};
use super::state::State;
use crate::report::clock::second_of_day;
use crate::report::escape;

/// Columns of packets a second, packets, share, time of day and how sure it is.
const RATE: usize = 7;
const TOTAL: usize = 8;
const SHARE: usize = 5;
const LAST: usize = 8;
const SURE: usize = 8;
/// Before the selected row, and as many spaces before others.
const MARK: &str = "> ";
/// From these widths on there is room for the total, and for all.
const NARROW: usize = 30;
const MIDDLE: usize = 60;
const WIDE: usize = 100;
/// A cause beside its flow has at least so many columns.
const LEAST_CAUSE: usize = 16;
/// A flow beside which a cause stands has so many, if it is not shorter.
const LEAST_FLOW: usize = 46;

/// What has room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    view: View,
    columns: usize,
    total: bool,
    share: bool,
    last: bool,
    sure: bool,
    /// Columns of the cause or flow, and of a flow's cause.
    what: usize,
    cause: usize,
}

impl Columns {
    pub(super) fn of(view: View, columns: usize, seen: &[&&Entry]) -> Self {
        let is_flows = view == View::Flows;
        let (total, share, last) = (
            columns >= NARROW,
            columns >= MIDDLE && !is_flows,
            columns >= MIDDLE && is_flows,
        );
        let sure = columns >= if is_flows { WIDE } else { MIDDLE };
        let some = [
            (true, RATE),
            (total, TOTAL),
            (share, SHARE),
            (last, LAST),
            (sure, SURE),
        ];
        let used: usize = some
            .iter()
            .filter(|(is_shown, _)| *is_shown)
            .map(|(_, columns)| columns + 1)
            .sum();
        let left = columns.saturating_sub(MARK.len() + used);
        let longest = seen
            .iter()
            .map(|entry| columns_of(&escape(&entry.what)))
            .max()
            .unwrap_or(0);
        let beside = longest.min(left.saturating_sub(LEAST_CAUSE + 1));
        // A flow that is cut off says little, and its cause is in the row's details.
        let is_beside = is_flows && (beside == longest || beside >= LEAST_FLOW);
        let what = if is_beside { beside } else { left };
        let cause = if is_beside { left - what - 1 } else { 0 };
        Self {
            view,
            columns,
            total,
            share,
            last,
            sure,
            what,
            cause,
        }
    }

    pub(super) fn heading(&self) -> String {
        let (what, cause) = match self.view {
            View::Causes => ("CAUSE", ""),
            View::Flows => ("FLOW", "CAUSE"),
        };
        let fields = ["RATE/S", "TOTAL", "SHARE", "LAST", "SURE", what, cause];
        self.line("  ", fields)
    }

    pub(super) fn row(&self, entry: &Entry, totals: &Totals, is_selected: bool) -> String {
        let mark = if is_selected { MARK } else { "  " };
        let fields = [
            &per_second(entry.per_second),
            &entry.packets.to_string(),
            &share(entry.packets, totals.sure.packets()),
            &second_of_day(entry.last),
            entry.sure.word(),
            &entry.what,
            entry.cause.as_deref().unwrap_or_default(),
        ];
        self.line(mark, fields)
    }

    fn line(&self, mark: &str, [rate, total, share, last, sure, what, cause]: [&str; 7]) -> String {
        let mut line = format!("{mark}{} ", pad_left(rate, RATE));
        let numbers = [(self.total, total, TOTAL), (self.share, share, SHARE)];
        for (_, text, columns) in numbers.into_iter().filter(|(is_shown, ..)| *is_shown) {
            line.push_str(&pad_left(text, columns));
            line.push(' ');
        }
        let words = [(self.last, last, LAST), (self.sure, sure, SURE)];
        for (_, text, columns) in words.into_iter().filter(|(is_shown, ..)| *is_shown) {
            line.push_str(&pad(text, columns));
            line.push(' ');
        }
        line.push_str(&pad(what, self.what));
        if self.cause > 0 {
            line.push(' ');
            line.push_str(&pad(cause, self.cause));
        }
        pad(&line, self.columns)
    }
}

/// `0.4`, `12`, `70123`
fn per_second(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

fn share(packets: u64, all: u64) -> String {
    match u128::from(packets) * 100 / u128::from(all.max(1)) {
        0 if packets > 0 => "<1 %".to_owned(),
        percent => format!("{percent} %"),
    }
}

/// `[Causes 2]  Flows 5   by rate   "nginx": 1 of 2`
pub(super) fn tabs(state: &State, page: &Page, shown: usize, columns: usize) -> String {
    let tab = |view: View, name: &str| {
        let words = format!("{name} {}", page.entries(view).len());
        if view == state.view {
            format!("[{words}]")
        } else {
            format!(" {words} ")
        }
    };
    let mut words = format!(
        "{} {}  by {}",
        tab(View::Causes, "Causes"),
        tab(View::Flows, "Flows"),
        state.sort.word()
    );
    if !state.search.is_empty() {
        let all = page.entries(state.view).len();
        words.push_str(&format!("  \"{}\": {shown} of {all}", state.search));
    }
    let gone = page.gone(state.view);
    if gone.rows > 0 {
        words.push_str(&format!(
            "  {} more fell out, with {} drops",
            gone.rows, gone.packets
        ));
    }
    fit(&words, columns)
}
