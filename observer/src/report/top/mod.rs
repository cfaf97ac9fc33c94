//! `observer top`: what dies, on a page that is kept up to date. Lines of a trace and keys go in; what it draws comes out. It knows
//! no terminal and no clock: how long watching goes on is given with whatever happens.

mod cause;
mod details;
mod draw;
mod fit;
mod flow;
mod frozen;
mod kept;
mod key;
mod model;
mod page;
mod rate;
mod rows;
mod state;
mod sure;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ratatui::Frame;

pub use key::{Key, Wish};

use super::record::{CauseCount, Line, Time};
use super::{Running, escape};
use draw::Drawn;
use model::Model;
use page::Page;
use state::State;

/// What is counted, and what is seen of it.
#[derive(Debug, Default)]
pub struct Top {
    model: Model,
    state: State,
    page: Page,
    color: bool,
    /// Whether something has come that the page does not show.
    is_news: bool,
}

impl Top {
    /// Nothing yet.
    pub fn new(color: bool) -> Self {
        Self {
            color,
            is_news: true,
            ..Self::default()
        }
    }

    /// Takes a line of the trace.
    pub fn line(&mut self, line: Line, at: Duration) {
        self.model.line(line, at);
        self.is_news = true;
    }

    /// Takes what the run has come to so far.
    pub fn running(&mut self, running: &Running) {
        self.is_news |= self.model.running(running);
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Wish {
        self.state.key(key, &self.page)
    }

    /// Says something in the last line, until a key comes.
    pub fn say(&mut self, message: &str) {
        self.state.message = Some(escape(message).into_owned());
    }

    /// Whether the page would look different by now.
    pub fn is_stale(&self, at: Duration) -> bool {
        self.is_news || (self.state.paused.is_none() && self.model.is_moving(at))
    }

    /// Draws the page.
    pub fn draw(&mut self, frame: &mut Frame<'_>, at: Duration) {
        self.is_news = false;
        if self.state.paused.is_none() {
            self.page = Page::of(&self.model, at);
        }
        let drawn = Drawn {
            model: &self.model,
            page: &self.page,
            color: self.color,
        };
        drawn.draw(&mut self.state, frame);
    }

    /// What is kept, as a trace.
    pub fn frozen(&self, now: Time) -> Vec<Line> {
        frozen::lines(&self.model, now)
    }

    /// What dropped the most of what was told one by one or counted.
    pub fn by_cause(&self, most: usize) -> Vec<CauseCount> {
        self.model.tally().top(most)
    }
}
