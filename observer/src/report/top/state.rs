//! Where one is on the page: view, selection, search, details; and what keys do to that.

use std::rc::Rc;

use super::key::{Key, Wish};
use super::page::{Entry, Page, Sort, View};
use crate::report::record::{Line, Time};

/// The longest text that is searched for, in characters.
const MOST_SEARCH: usize = 64;

/// Where one is.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) view: View,
    pub(super) sort: Sort,
    pub(super) search: String,
    pub(super) mode: Mode,
    /// The selected row of each view; absent: the first, whichever that is.
    selected: [Option<u64>; 2],
    /// So many rows are to be seen at once, as they were drawn last.
    pub(super) rows_seen: usize,
    /// Since when the display stands still.
    pub(super) paused: Option<Time>,
    /// Said in the last line until a key comes.
    pub(super) message: Option<String>,
}

/// What the page shows.
#[derive(Debug, Default)]
pub(super) enum Mode {
    #[default]
    Table,
    /// Characters go into the search; what it was before.
    Search(String),
    Details(Details),
    /// Scrolled by so many lines.
    Help(usize),
}

/// The details of a row.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) view: View,
    pub(super) id: u64,
    /// The row as it was when it was opened.
    pub(super) entry: Entry,
    /// Its newest line then: a drop that one reads does not change under one's eyes.
    pub(super) line: Option<Rc<Line>>,
    pub(super) scrolled: usize,
}

impl State {
    /// What a key does; `page` is what is to be seen.
    pub(super) fn key(&mut self, key: Key, page: &Page) -> Wish {
        self.message = None;
        match key {
            Key::Interrupt => return Wish::Quit,
            Key::Redraw => return Wish::Redraw,
            _ => {}
        }
        match &mut self.mode {
            Mode::Table => return self.in_table(key, page),
            Mode::Search(_) => self.in_search(key),
            Mode::Help(scrolled) => {
                if is_back(key) || key == Key::Char('?') {
                    self.mode = Mode::Table;
                } else {
                    scroll(scrolled, key, self.rows_seen);
                }
            }
            Mode::Details(_) => return self.in_details(key, page),
        }
        Wish::Nothing
    }

    fn in_table(&mut self, key: Key, page: &Page) -> Wish {
        match key {
            Key::Char('q') => return Wish::Quit,
            Key::Char('f') => return Wish::Freeze,
            Key::Char('p' | ' ') => self.pause(),
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('/') => self.mode = Mode::Search(self.search.clone()),
            Key::Char('?' | 'h') => self.mode = Mode::Help(0),
            Key::Tab => self.view = self.view.other(),
            Key::Escape => self.search.clear(),
            Key::Enter => {
                let shown = page.shown(self.view, &self.search, self.sort);
                if let Some(entry) = shown.get(self.position(&shown)) {
                    self.mode = Mode::Details(Details::of(self.view, entry));
                }
            }
            _ => self.moves(key, page),
        }
        Wish::Nothing
    }

    fn in_search(&mut self, key: Key) {
        match key {
            Key::Enter | Key::Down | Key::Up => self.mode = Mode::Table,
            Key::Escape => {
                if let Mode::Search(before) = std::mem::take(&mut self.mode) {
                    self.search = before;
                }
            }
            Key::Backspace => {
                self.search.pop();
            }
            Key::Char(c) if self.search.chars().count() < MOST_SEARCH => self.search.push(c),
            _ => {}
        }
    }

    fn in_details(&mut self, key: Key, page: &Page) -> Wish {
        let rows_seen = self.rows_seen;
        let Mode::Details(details) = &mut self.mode else {
            return Wish::Nothing;
        };
        match key {
            Key::Char('q') => return Wish::Quit,
            Key::Char('f') => return Wish::Freeze,
            Key::Char('p' | ' ') => self.pause(),
            Key::Escape | Key::Backspace => self.mode = Mode::Table,
            Key::Enter => {
                if let Some(entry) = page.find(details.view, details.id) {
                    *details = Details::of(details.view, entry);
                }
            }
            _ => scroll(&mut details.scrolled, key, rows_seen),
        }
        Wish::Nothing
    }

    fn pause(&mut self) {
        self.paused = match self.paused {
            Some(_) => None,
            None => Some(Time::now()),
        };
    }

    fn moves(&mut self, key: Key, page: &Page) {
        let shown = page.shown(self.view, &self.search, self.sort);
        let (at, last) = (self.position(&shown), shown.len().saturating_sub(1));
        let step = self.rows_seen.max(2) - 1;
        let to = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => (at + 1).min(last),
            Key::PageUp => at.saturating_sub(step),
            Key::PageDown => (at + step).min(last),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => return,
        };
        // The first row is selected by its place: whichever row is the fastest.
        let id = shown.get(to).filter(|_| to > 0).map(|entry| entry.id);
        self.selected[self.view as usize] = id;
    }

    /// Where the selected row is among those that are shown.
    pub(super) fn position(&self, shown: &[&Entry]) -> usize {
        let selected = self.selected[self.view as usize];
        selected
            .and_then(|id| shown.iter().position(|entry| entry.id == id))
            .unwrap_or(0)
    }
}

impl Details {
    fn of(view: View, entry: &Entry) -> Self {
        Self {
            view,
            id: entry.id,
            entry: entry.clone(),
            line: entry.newest.clone(),
            scrolled: 0,
        }
    }
}

fn is_back(key: Key) -> bool {
    matches!(key, Key::Escape | Key::Enter | Key::Backspace | Key::Char('q'))
}

/// Where the text ends is known when it is drawn: what is too far is put right then.
fn scroll(scrolled: &mut usize, key: Key, rows_seen: usize) {
    let step = rows_seen.max(2) - 1;
    *scrolled = match key {
        Key::Up | Key::Char('k') => scrolled.saturating_sub(1),
        Key::Down | Key::Char('j') => scrolled.saturating_add(1),
        Key::PageUp => scrolled.saturating_sub(step),
        Key::PageDown => scrolled.saturating_add(step),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => usize::MAX,
        _ => *scrolled,
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::model::Model;
    use super::*;
    use crate::report::record::samples;

    fn page(flows: u16) -> Page {
        let mut model = Model::default();
        for number in 0..flows {
            for _ in 0..=number {
                let mut drop = samples::policy_drop();
                drop.packet.dport = Some(number);
                model.line(samples::drop_line(drop), Duration::from_secs(1));
            }
        }
        Page::of(&model, Duration::from_secs(1))
    }

    fn typed(state: &mut State, page: &Page, text: &str) {
        for c in text.chars() {
            assert_eq!(state.key(Key::Char(c), page), Wish::Nothing, "{c}");
        }
    }

    fn selected(state: &State, page: &Page) -> u64 {
        let shown = page.shown(state.view, &state.search, state.sort);
        shown[state.position(&shown)].packets
    }

    #[test]
    fn the_selection_stays_with_its_row_and_the_first_with_its_place() {
        let (before, mut state) = (page(5), State::default());
        state.key(Key::Tab, &before);
        assert_eq!(selected(&state, &before), 5);
        typed(&mut state, &before, "jj");
        assert_eq!(selected(&state, &before), 3);
        typed(&mut state, &before, "s");
        state.sort = Sort::Name;
        assert_eq!(selected(&state, &before), 3);
        typed(&mut state, &before, "Gk");
        state.key(Key::Home, &before);
        state.sort = Sort::Rate;
        assert_eq!(selected(&state, &page(9)), 9);
    }

    #[test]
    fn a_search_is_taken_or_given_up_and_its_keys_do_nothing_else() {
        let (page, mut state) = (page(3), State::default());
        typed(&mut state, &page, "/qfp? s");
        assert_eq!((state.search.as_str(), state.paused), ("qfp? s", None));
        state.key(Key::Backspace, &page);
        state.key(Key::Enter, &page);
        assert_eq!(state.search, "qfp? ");
        typed(&mut state, &page, "/xyz");
        state.key(Key::Escape, &page);
        assert_eq!(state.search, "qfp? ");
        state.key(Key::Escape, &page);
        assert_eq!(state.search, "");
        typed(&mut state, &page, &format!("/{}", "x".repeat(500)));
        assert_eq!(state.search.len(), MOST_SEARCH);
    }

    #[test]
    fn details_keep_the_drop_that_one_reads_until_one_asks_for_the_newest() {
        let (page, mut state) = (page(2), State::default());
        state.key(Key::Enter, &page);
        let Mode::Details(details) = &state.mode else {
            panic!("details")
        };
        let before = Rc::clone(details.line.as_ref().expect("a line"));
        let mut later = page.clone();
        later.causes[0].newest = Some(Rc::new(samples::drop_line(samples::rule_drop())));
        state.key(Key::Down, &later);
        let Mode::Details(details) = &state.mode else {
            panic!("details")
        };
        assert_eq!((details.line.as_ref(), details.scrolled), (Some(&before), 1));
        state.key(Key::Enter, &later);
        let Mode::Details(details) = &state.mode else {
            panic!("details")
        };
        assert_eq!(details.line, later.causes[0].newest);
        state.key(Key::Escape, &later);
        assert!(matches!(state.mode, Mode::Table));
    }

    #[test]
    fn the_end_can_be_asked_for_from_everywhere() {
        let page = page(2);
        for words in ["", "/", "?"] {
            let mut state = State::default();
            typed(&mut state, &page, words);
            assert_eq!(state.key(Key::Interrupt, &page), Wish::Quit);
        }
        let mut state = State::default();
        assert_eq!(state.key(Key::Char('q'), &page), Wish::Quit);
        assert_eq!(state.key(Key::Char('f'), &page), Wish::Freeze);
        assert_eq!(state.key(Key::Redraw, &page), Wish::Redraw);
        typed(&mut state, &page, "?q");
        assert!(matches!(state.mode, Mode::Table));
    }

    #[test]
    fn nothing_is_selected_where_there_is_nothing() {
        let (page, mut state) = (Page::default(), State::default());
        for key in [Key::Enter, Key::Down, Key::End, Key::PageDown, Key::Tab, Key::Up] {
            assert_eq!(state.key(key, &page), Wish::Nothing);
        }
        assert!(matches!(state.mode, Mode::Table));
    }
}
