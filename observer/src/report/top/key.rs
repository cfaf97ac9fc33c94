//! Keys, and what they ask for that the page alone cannot do.

/// A key, whatever the terminal sends for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The cursor keys and their kin.
    Up,
    /// As `Up`.
    Down,
    /// As `Up`.
    PageUp,
    /// As `Up`.
    PageDown,
    /// As `Up`.
    Home,
    /// As `Up`.
    End,
    /// Shows details, takes a search.
    Enter,
    /// Goes back.
    Escape,
    /// The other view.
    Tab,
    /// Takes a character of a search away.
    Backspace,
    /// Ctrl-C: ends, wherever one is.
    Interrupt,
    /// Ctrl-L: something else has written on the terminal.
    Redraw,
    /// Anything that can be typed.
    Char(char),
}

/// What a key asks for beyond the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: the page may have changed.
    Nothing,
    /// The end.
    Quit,
    /// What is kept, in a file.
    Freeze,
    /// The whole page once more.
    Redraw,
}
