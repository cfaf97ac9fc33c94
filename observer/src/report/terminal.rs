//! What standard output is: a terminal or not, how wide, with colour or without.

use std::env;
use std::io::{IsTerminal, stdout};
use std::os::fd::AsRawFd;

/// Columns where neither the terminal nor `COLUMNS` says how many.
pub const DEFAULT_WIDTH: usize = 80;
/// Below this many columns text is not made any narrower.
const MIN_WIDTH: usize = 40;

/// Whether what is written there can be written over: on a terminal, and not on `TERM=dumb`.
pub fn takes_back(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// How text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// A person watches: lines may be rewritten.
    pub is_terminal: bool,
    /// Columns.
    pub width: usize,
    /// Colour.
    pub color: bool,
}

impl Look {
    /// Of standard output. Colour only on a terminal, without a `NO_COLOR` that is not empty, and not on `TERM=dumb`.
    pub fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let takes_back = takes_back(&stdout());
        let width = window_width()
            .filter(|_| is_terminal)
            .or_else(columns)
            .unwrap_or(DEFAULT_WIDTH);
        Self {
            is_terminal: takes_back,
            width: width.max(MIN_WIDTH),
            color: takes_back && !is_set("NO_COLOR"),
        }
    }

    /// The same after the window may have changed its size.
    #[must_use]
    pub fn refreshed(self) -> Self {
        match window_width().filter(|_| self.is_terminal) {
            Some(width) => Self {
                width: width.max(MIN_WIDTH),
                ..self
            },
            None => self,
        }
    }

    /// Neither terminal nor colour.
    pub fn plain(width: usize) -> Self {
        Self {
            is_terminal: false,
            width: width.max(MIN_WIDTH),
            color: false,
        }
    }
}

fn columns() -> Option<usize> {
    env::var("COLUMNS")
        .ok()?
        .parse()
        .ok()
        .filter(|columns| *columns > 0)
}

fn window_width() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `winsize` through the pointer, which lives until the call returns.
    let result = unsafe { libc::ioctl(stdout().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
