//! The terminal: another page of it while `top` runs, and everything as it was whatever ends it.

use std::env;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use crossterm::cursor::{Hide, Show};
use crossterm::style::ResetColor;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{execute, queue};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

/// Where the terminal does not say how large it is, as many serial lines do not.
const USUAL: Rect = Rect::new(0, 0, 80, 24);
/// A page goes out in one piece, as a rule.
const BUFFER_BYTES: usize = 64 << 10;

/// Whether the terminal is not as it was.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Whether there is a terminal that a page can be drawn on.
///
/// # Errors
/// There is none.
pub(super) fn check() -> anyhow::Result<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        bail!("top needs a terminal for its keys and its page: use observer watch");
    }
    if env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        bail!(
            "top needs a terminal whose cursor it can move, and TERM says that this one has none: use observer watch"
        );
    }
    Ok(())
}

/// The terminal of this process. Dropping it makes all as it was.
pub(super) struct Screen {
    pub(super) pages: Pages<CrosstermBackend<BufWriter<File>>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open() -> anyhow::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        restore_on_panic();
        enable_raw_mode().context("cannot set the terminal's modes")?;
        IS_OPEN.store(true, Ordering::SeqCst);
        let opened = execute!(out, EnterAlternateScreen, Hide)
            .map_err(anyhow::Error::from)
            .and_then(|()| Pages::new(CrosstermBackend::new(out)));
        match opened {
            Ok(pages) => Ok(Self { pages }),
            Err(error) => {
                restore();
                Err(error.context("cannot draw on the terminal"))
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal as it was, once. Nothing that another part of this process may hold is waited for: it is called when that
/// panics, too.
fn restore() {
    if !IS_OPEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut bytes = Vec::new();
    let _ = queue!(bytes, ResetColor, Show, LeaveAlternateScreen);
    // There is nobody to tell if the terminal is gone.
    let _ = nix::unistd::write(io::stdout().as_fd(), &bytes);
    let _ = disable_raw_mode();
}

fn restore_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        before(info);
    }));
}

/// Pages on a terminal of any kind.
pub(super) struct Pages<B: Backend> {
    terminal: Terminal<B>,
    area: Rect,
}

impl<B: Backend<Error: Send + Sync + 'static>> Pages<B> {
    pub(super) fn new(backend: B) -> anyhow::Result<Self> {
        let area = area(&backend)?;
        let options = TerminalOptions {
            viewport: Viewport::Fixed(area),
        };
        Ok(Self {
            terminal: Terminal::with_options(backend, options)?,
            area,
        })
    }

    /// Draws a page, as large as the terminal is by now. What has not changed is not sent.
    pub(super) fn draw(&mut self, page: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        let area = area(self.terminal.backend())?;
        if area != self.area {
            self.area = area;
            self.terminal.resize(area)?;
        }
        self.terminal.draw(page)?;
        Ok(())
    }

    /// Makes the next page go out as a whole.
    pub(super) fn forget(&mut self) -> anyhow::Result<()> {
        Ok(self.terminal.resize(self.area)?)
    }
}

fn area<B: Backend<Error: Send + Sync + 'static>>(backend: &B) -> anyhow::Result<Rect> {
    let size = backend.size()?;
    Ok(match (size.width, size.height) {
        (0, _) | (_, 0) => USUAL,
        (width, height) => Rect::new(0, 0, width, height),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Says to a test that it is the process on the terminal.
    const PANICS: &str = "OBSERVER_TEST_PANICS_ON_ITS_PAGE";

    /// On a pseudo-terminal of script(1); `stty` says what its modes are before and afterwards.
    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        if env::var_os(PANICS).is_some() {
            // What drops it does not matter: in the program as it is shipped nothing is dropped then.
            std::mem::forget(Screen::open().expect("opens"));
            panic!("as it may");
        }
        let test = env::current_exe().expect("a path");
        let name = "cli::top::screen::tests::a_panic_leaves_the_terminal_as_it_was";
        let run = format!("stty -g; {PANICS}=1 {} --exact {name}; stty -g", test.display());
        let output = Command::new("script")
            .args(["-qec", &run, "/dev/null"])
            .output()
            .expect("script");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (opened, left) = (text.find("\u{1b}[?1049h"), text.rfind("\u{1b}[?1049l"));
        assert!(opened.is_some() && opened < left, "{text:?}");
        assert!(text.rfind("\u{1b}[?25l") < text.rfind("\u{1b}[?25h"), "{text:?}");
        let modes = |line: Option<&str>| line.unwrap_or_default().trim().to_owned();
        assert!(text.contains("as it may"), "it did not panic: {text:?}");
        assert_eq!(modes(text.lines().next()), modes(text.lines().last()), "{text:?}");
    }
}
