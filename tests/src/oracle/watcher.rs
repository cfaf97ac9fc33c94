//! The observer that is tried, and the lines that it writes.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::observer::{Observer, code};

/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) struct Watcher {
    observer: Observer,
    file: File,
    /// How much of the file has been read.
    at: u64,
    rest: Vec<u8>,
}

impl Watcher {
    pub(super) fn start(program: &Path, directory: &Path, netns: &str, probes: &str) -> Result<Self> {
        let words = ["watch", "-o", "json", "--netns", netns, "--probes", probes];
        let args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let path = directory.join("stdout");
        let observer = Observer::watch(program, &args, directory, &path, PATIENCE)?;
        Ok(Self {
            observer,
            file: File::open(&path).context("observer's output")?,
            at: 0,
            rest: Vec::new(),
        })
    }

    /// The lines that it has written since the last call.
    pub(super) fn lines(&mut self) -> Result<Vec<Value>> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let read = self.file.read_to_end(&mut self.rest)?;
        self.at += read as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                serde_json::from_slice(line)
                    .with_context(|| format!("no JSON: {}", String::from_utf8_lossy(line)))
            })
            .collect()
    }

    /// Ends it: the rest of its lines.
    pub(super) fn end(&mut self) -> Result<Vec<Value>> {
        self.observer.signal(Signal::SIGINT)?;
        let status = self.observer.wait(PATIENCE)?;
        if code(status) != 0 {
            bail!(
                "observer ended with {}: {}",
                code(status),
                self.observer.stderr().trim()
            );
        }
        // What observer says where a stack was taken for one that it was not.
        let said = self.observer.stderr();
        if said.contains("not the remembered one") {
            bail!("{}", said.trim());
        }
        self.lines()
    }
}
