//! What the answer looks like: the trace's lines as data, and one file for each output. This file chooses.

mod block;
mod capture;
mod clock;
pub mod comment;
mod counters;
mod escape;
mod explain;
mod file;
mod fold;
mod icmp;
mod json;
mod kept;
mod layout;
mod metrics;
mod otlp;
mod pass;
pub mod record;
pub mod review;
mod tally;
mod terminal;
mod text;
pub mod top;
mod way;
mod words;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use capture::Capture;
pub use clock::span;
pub use escape::escape;
pub use explain::explanation;
pub use file::TraceFile;
pub use fold::MAX_FLOWS;
pub use json::{Json, json};
pub use layout::wrap;
pub use metrics::{Metrics, MetricsServer, Running, answered as scraped};
pub use otlp::{Credentials, Endpoint, Otlp, OtlpConfig, read as collected};
pub use tally::Tally;
pub use terminal::{Look, takes_back};
pub use text::Text;
pub use words::{cause, counter as counter_words, endpoint, talk as flow_words};

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

    /// What the run has come to so far. Of use to metrics alone: all others are told by the summary.
    fn running(&mut self, _running: &Running) {}

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

/// The screen, and beside it the files of `--write` and `--pcap`, and metrics.
pub struct Outputs {
    /// Gone once it has failed.
    screen: Option<Box<dyn Report>>,
    /// Those that have not failed.
    files: Vec<(PathBuf, Box<dyn Report>)>,
    /// What is counted for whoever asks.
    metrics: Option<Metrics>,
    /// What is sent to a collector.
    otlp: Option<Otlp>,
    /// What was wrong with the first file that failed, in one line.
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
        let file = TraceFile::create(path).map_err(|error| cannot_create("--write", path, &error))?;
        Ok(Self::new(screen).with_file(path, file))
    }

    /// Besides, a capture of at most `snaplen` bytes of each packet in the file `path`.
    ///
    /// # Errors
    /// As [`Outputs::open`].
    pub fn with_capture(self, path: &Path, snaplen: u16) -> anyhow::Result<Self> {
        let file = Capture::create(path, snaplen).map_err(|error| cannot_create("--pcap", path, &error))?;
        Ok(self.with_file(path, file))
    }

    /// Besides, the metrics that a server shows.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Besides, all of it to a collector.
    #[must_use]
    pub fn with_otlp(mut self, otlp: Otlp) -> Self {
        self.otlp = Some(otlp);
        self
    }

    /// Anything for the screen.
    pub fn new(screen: impl Report + 'static) -> Self {
        Self {
            screen: Some(Box::new(screen)),
            files: Vec::new(),
            metrics: None,
            otlp: None,
            file_error: None,
        }
    }

    /// Anything for a file; `path` is for its error.
    #[must_use]
    pub fn with_file(mut self, path: &Path, file: impl Report + 'static) -> Self {
        self.files.push((path.to_owned(), Box::new(file)));
        self
    }

    /// What was wrong with the first file that failed, if any; to be asked for after the last line.
    pub fn file_error(&self) -> Option<&str> {
        self.file_error.as_deref()
    }

    /// A file that fails is left as it is, said once, and not written again; the screen and the other files go on.
    fn keep(&mut self, action: impl Fn(&mut dyn Report) -> io::Result<()>) {
        let first_error = &mut self.file_error;
        self.files.retain_mut(|(path, file)| {
            let Err(error) = action(file.as_mut()) else {
                return true;
            };
            let advice = if error.kind() == io::ErrorKind::StorageFull {
                "; free some space"
            } else {
                ""
            };
            let message = format!(
                "{}: {error}{advice}; the file ends there",
                escape(&path.to_string_lossy())
            );
            let _ = writeln!(io::stderr(), "observer: {message}");
            first_error.get_or_insert(message);
            false
        });
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
        if let Some(metrics) = &mut self.metrics {
            metrics.line(line)?;
        }
        if let Some(otlp) = &mut self.otlp {
            otlp.line(line)?;
        }
        self.keep(|file| file.line(line));
        self.show(|screen| screen.line(line))
    }

    fn tick(&mut self, now: Time) -> io::Result<()> {
        if let Some(otlp) = &mut self.otlp {
            otlp.tick(now)?;
        }
        self.keep(|file| file.tick(now));
        self.show(|screen| screen.tick(now))
    }

    fn running(&mut self, running: &Running) {
        if let Some(metrics) = &mut self.metrics {
            metrics.running(running);
        }
        if let Some(otlp) = &mut self.otlp {
            otlp.running(running);
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.keep(|file| file.finish());
        let shown = self.show(|screen| screen.finish());
        // It may wait for the collector: last.
        if let Some(Err(error)) = self.otlp.as_mut().map(Report::finish) {
            say(&format!("--otlp: {error}"));
        }
        shown
    }
}

/// One line on standard error.
fn say(message: &str) {
    // There is nobody left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "observer: {}", escape(message));
}

fn cannot_create(option: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let path = escape(&path.to_string_lossy()).into_owned();
    match error.raw_os_error() {
        Some(libc::ELOOP) => {
            anyhow::anyhow!(
                "{option} {path}: is a symbolic link, which is not followed; name the file itself"
            )
        }
        _ => anyhow::anyhow!("{option} {path}: {error}; name a file in a directory that you may write to"),
    }
}
