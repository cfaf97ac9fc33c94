//! What the answer looks like: the trace's lines as data, and one file for each output. This file chooses.

mod block;
mod clock;
mod counters;
mod escape;
mod explain;
mod file;
mod fold;
mod icmp;
mod json;
mod layout;
mod pass;
pub mod record;
mod tally;
mod terminal;
mod text;
mod way;
mod words;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use clock::span;
pub use escape::escape;
pub use explain::explanation;
pub use file::TraceFile;
pub use fold::MAX_FLOWS;
pub use json::{Json, json};
pub use layout::wrap;
pub use tally::Tally;
pub use terminal::Look;
pub use text::Text;
pub use words::{cause, endpoint};

use record::{Line, Time};

/// Somewhere the lines of a trace go.
pub trait Report {
    /// Takes one line.
    ///
    /// # Errors
    /// What the system says of writing it.
    fn line(&mut self, line: &Line) -> io::Result<()>;

    /// Time passes: tells what had been held back. To be called about once a second.
    ///
    /// # Errors
    /// As [`Report::line`].
    fn tick(&mut self, now: Time) -> io::Result<()>;

    /// No line comes after this.
    ///
    /// # Errors
    /// As [`Report::line`].
    fn finish(&mut self) -> io::Result<()>;
}

/// What standard output shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The screen, and beside it the file of `--write`.
pub struct Outputs {
    /// Gone once it has failed.
    screen: Option<Box<dyn Report>>,
    file: Option<(PathBuf, Box<dyn Report>)>,
    /// What was wrong with the file, in one line.
    file_error: Option<String>,
}

impl Outputs {
    /// Standard output in `format`, and the trace as JSON in the file `write`.
    ///
    /// # Errors
    /// One line that says what to do, if the file cannot be created.
    pub fn open(format: Format, write: Option<&Path>) -> anyhow::Result<Self> {
        let screen: Box<dyn Report> = match format {
            Format::Text => Box::new(Text::new(io::stdout(), Look::of_stdout())),
            Format::Json => Box::new(Json::new(io::stdout())),
        };
        let Some(path) = write else {
            return Ok(Self::new(screen));
        };
        let file = TraceFile::create(path).map_err(|error| anyhow::anyhow!(cannot_create(path, &error)))?;
        Ok(Self::new(screen).with_file(path, file))
    }

    /// Anything for the screen.
    pub fn new(screen: impl Report + 'static) -> Self {
        Self {
            screen: Some(Box::new(screen)),
            file: None,
            file_error: None,
        }
    }

    /// Anything for the file; `path` is for its error.
    #[must_use]
    pub fn with_file(mut self, path: &Path, file: impl Report + 'static) -> Self {
        self.file = Some((path.to_owned(), Box::new(file)));
        self
    }

    /// What was wrong with the file, if anything; to be asked for after the last line.
    pub fn file_error(&self) -> Option<&str> {
        self.file_error.as_deref()
    }

    /// A file that fails is left as it is, said once, and not written again; the screen goes on.
    fn keep(&mut self, action: impl FnOnce(&mut dyn Report) -> io::Result<()>) {
        let Some((path, file)) = &mut self.file else {
            return;
        };
        let Err(error) = action(file.as_mut()) else { return };
        let advice = if error.kind() == io::ErrorKind::StorageFull {
            "; free some space"
        } else {
            ""
        };
        let message = format!(
            "{}: {error}{advice}; the trace ends there",
            escape(&path.to_string_lossy())
        );
        let _ = writeln!(io::stderr(), "observer: {message}");
        self.file_error = Some(message);
        self.file = None;
    }
}

impl Outputs {
    /// A screen that fails says so once; the file goes on, so that the trace has its summary.
    fn show(&mut self, action: impl FnOnce(&mut dyn Report) -> io::Result<()>) -> io::Result<()> {
        let Some(screen) = &mut self.screen else {
            return Ok(());
        };
        let result = action(screen.as_mut());
        if result.is_err() {
            self.screen = None;
        }
        result
    }
}

impl Report for Box<dyn Report> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.as_mut().line(line)
    }

    fn tick(&mut self, now: Time) -> io::Result<()> {
        self.as_mut().tick(now)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.as_mut().finish()
    }
}

/// The errors are the screen's; the file's are kept for [`Outputs::file_error`].
impl Report for Outputs {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.keep(|file| file.line(line));
        self.show(|screen| screen.line(line))
    }

    fn tick(&mut self, now: Time) -> io::Result<()> {
        self.keep(|file| file.tick(now));
        self.show(|screen| screen.tick(now))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.keep(|file| file.finish());
        self.show(|screen| screen.finish())
    }
}

fn cannot_create(path: &Path, error: &io::Error) -> String {
    let path = escape(&path.to_string_lossy()).into_owned();
    match error.raw_os_error() {
        Some(libc::ELOOP) => {
            format!("--write {path}: is a symbolic link, which is not followed; name the file itself")
        }
        _ => format!("--write {path}: {error}; name a file in a directory that you may write to"),
    }
}
