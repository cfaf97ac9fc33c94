//! What there is to be seen at one moment: rows as text, and the totals. While the display is paused it stays as it was.

use std::cmp::Ordering;
use std::rc::Rc;
use std::time::Duration;

use super::model::{Model, Totals};
use super::rows::{Gone, Row};
use super::sure::Sure;
use crate::report::record::{Line, Time};

/// Causes or flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Causes,
    Flows,
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Rate,
    Total,
    Last,
    Name,
}

/// A row of either view.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// A cause with its namespace and rule; a flow.
    pub(super) what: Rc<str>,
    /// Of a flow: what killed it.
    pub(super) cause: Option<Rc<str>>,
    pub(super) per_second: f64,
    pub(super) packets: u64,
    pub(super) sure: Sure,
    pub(super) first: Time,
    pub(super) last: Time,
    pub(super) newest: Option<Rc<Line>>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) causes: Vec<Entry>,
    pub(super) flows: Vec<Entry>,
    pub(super) gone_causes: Gone,
    pub(super) gone_flows: Gone,
    pub(super) totals: Totals,
    /// All packets, a second.
    pub(super) per_second: f64,
}

impl View {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Causes => Self::Flows,
            Self::Flows => Self::Causes,
        }
    }
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Rate => Self::Total,
            Self::Total => Self::Last,
            Self::Last => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Total => "total",
            Self::Last => "last seen",
            Self::Name => "name",
        }
    }

    /// What comes first is less. Ties have an order, too: rows must not change places for nothing.
    fn compare(self, a: &Entry, b: &Entry) -> Ordering {
        let rate = || b.per_second.partial_cmp(&a.per_second).unwrap_or(Ordering::Equal);
        let total = || b.packets.cmp(&a.packets);
        let last = || b.last.cmp(&a.last);
        let name = || a.what.cmp(&b.what).then_with(|| a.cause.cmp(&b.cause));
        let order = match self {
            Self::Rate => rate().then_with(total).then_with(name),
            Self::Total => total().then_with(name),
            Self::Last => last().then_with(name),
            Self::Name => name(),
        };
        order.then_with(|| a.id.cmp(&b.id))
    }
}

impl Entry {
    fn of<T>(row: &Row<T>, at: Duration, what: &Rc<str>, cause: Option<&Rc<str>>) -> Self {
        Self {
            id: row.id,
            what: Rc::clone(what),
            cause: cause.cloned(),
            per_second: row.rate.per_second(at),
            packets: row.packets,
            sure: row.sure,
            first: row.first,
            last: row.last,
            newest: row.newest.clone(),
        }
    }

    fn has(&self, lower: &str) -> bool {
        let has = |text: &Rc<str>| text.to_lowercase().contains(lower);
        has(&self.what) || self.cause.as_ref().is_some_and(has)
    }
}

impl Page {
    /// How it stands now.
    pub(super) fn of(model: &Model, at: Duration) -> Self {
        Self {
            causes: model
                .causes
                .iter()
                .map(|row| Entry::of(row, at, &row.what.whole, None))
                .collect(),
            flows: model
                .flows
                .iter()
                .map(|row| Entry::of(row, at, row.what.words(), Some(&row.what.cause)))
                .collect(),
            gone_causes: model.causes.gone,
            gone_flows: model.flows.gone,
            totals: model.totals.clone(),
            per_second: model.totals.rate.per_second(at),
        }
    }

    pub(super) fn entries(&self, view: View) -> &[Entry] {
        match view {
            View::Causes => &self.causes,
            View::Flows => &self.flows,
        }
    }

    pub(super) fn gone(&self, view: View) -> Gone {
        match view {
            View::Causes => self.gone_causes,
            View::Flows => self.gone_flows,
        }
    }

    pub(super) fn find(&self, view: View, id: u64) -> Option<&Entry> {
        self.entries(view).iter().find(|entry| entry.id == id)
    }

    /// Rows that have the text somewhere, in either case of letters, in order.
    pub(super) fn shown(&self, view: View, search: &str, sort: Sort) -> Vec<&Entry> {
        let lower = search.to_lowercase();
        let mut shown: Vec<&Entry> = self
            .entries(view)
            .iter()
            .filter(|entry| lower.is_empty() || entry.has(&lower))
            .collect();
        shown.sort_by(|a, b| sort.compare(a, b));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples;

    fn page() -> Page {
        let mut model = Model::default();
        for seconds in 0..4 {
            model.line(
                samples::drop_line(samples::policy_drop()),
                Duration::from_secs(seconds),
            );
        }
        for _ in 0..3 {
            let mut line = samples::drop_line(samples::rule_drop());
            line.time.0 += 1;
            model.line(line, Duration::from_secs(9));
        }
        Page::of(&model, Duration::from_secs(9))
    }

    fn begins(page: &Page, view: View, search: &str, sort: Sort) -> Vec<String> {
        let shown = page.shown(view, search, sort);
        shown
            .iter()
            .map(|entry| entry.what.split(' ').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn rows_are_sorted_by_what_is_asked_for() {
        let page = page();
        let all = [
            (Sort::Rate, ["rule", "policy"]),
            (Sort::Total, ["policy", "rule"]),
            (Sort::Last, ["rule", "policy"]),
            (Sort::Name, ["policy", "rule"]),
        ];
        for (sort, expected) in all {
            assert_eq!(begins(&page, View::Causes, "", sort), expected, "{sort:?}");
        }
        let mut sort = Sort::default();
        for _ in 0..4 {
            sort = sort.next();
        }
        assert_eq!(sort, Sort::Rate);
    }

    #[test]
    fn a_search_finds_text_of_rules_and_causes_in_either_case() {
        let page = page();
        assert_eq!(
            begins(&page, View::Causes, "ctstate invalid", Sort::Rate),
            ["rule"]
        );
        assert_eq!(begins(&page, View::Flows, "POLICY drop", Sort::Rate), ["tcp"]);
        assert_eq!(begins(&page, View::Flows, "nginx", Sort::Rate).len(), 2);
        assert!(begins(&page, View::Causes, "no such thing", Sort::Rate).is_empty());
    }
}
