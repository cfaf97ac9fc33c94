//! Passing on what a growing file gains, while it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where a virtual machine's output goes.
pub enum Sink {
    /// To our own standard output and error, byte for byte.
    Plain,
    /// To our standard output, each line with a name before it: several machines print at once.
    Named(String),
}

impl Sink {
    /// Takes what the command wrote to its standard output.
    pub fn stdout(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain => write_all(io::stdout().lock(), bytes),
            Self::Named(name) => write_all(io::stdout().lock(), &with_name(name, bytes)),
        }
    }

    /// Takes what the command wrote to its standard error.
    pub fn stderr(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain => write_all(io::stderr().lock(), bytes),
            Self::Named(name) => write_all(io::stdout().lock(), &with_name(name, bytes)),
        }
    }

    /// Whether lines must be whole before they are passed on.
    pub fn by_line(&self) -> bool {
        matches!(self, Self::Named(_))
    }
}

/// A file that something else writes to, and how much of it has been passed on.
pub struct Relay {
    file: PathBuf,
    passed: u64,
    by_line: bool,
}

impl Relay {
    /// Begins at the start of `file`, which must exist.
    pub fn new(file: PathBuf, sink: &Sink) -> Self {
        Self {
            file,
            passed: 0,
            by_line: sink.by_line(),
        }
    }

    /// Passes on what is new.
    pub fn pass_on(&mut self, take: impl FnOnce(&[u8]) -> io::Result<()>) -> Result<()> {
        let new = self.read_on()?;
        let whole = if self.by_line {
            new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
        } else {
            new.len()
        };
        self.give(&new[..whole], take)
    }

    /// Passes on the rest, an unfinished line included.
    pub fn finish(&mut self, take: impl FnOnce(&[u8]) -> io::Result<()>) -> Result<()> {
        let new = self.read_on()?;
        self.give(&new, take)
    }

    fn give(&mut self, bytes: &[u8], take: impl FnOnce(&[u8]) -> io::Result<()>) -> Result<()> {
        if !bytes.is_empty() {
            take(bytes).context("cannot pass the output on")?;
            self.passed += bytes.len() as u64;
        }
        Ok(())
    }

    fn read_on(&self) -> Result<Vec<u8>> {
        let mut new = Vec::new();
        let mut read = || {
            let mut file = File::open(&self.file)?;
            file.seek(SeekFrom::Start(self.passed))?;
            file.read_to_end(&mut new)
        };
        read().with_context(|| format!("cannot read {}", self.file.display()))?;
        Ok(new)
    }
}

fn with_name(name: &str, bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .flat_map(|line| format!("{name}  {line}\n").into_bytes())
        .collect()
}

fn write_all(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}
