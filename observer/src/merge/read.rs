//! One trace, in memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::report::escape;
use crate::report::record::{Event, Line, Passage, PathStep};
use crate::review::next_line;

/// What is kept in memory, of all traces together.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// So many lines more.
    pub lines: usize,
    /// So many bytes more.
    pub bytes: usize,
}

impl Room {
    /// Takes one of so many equal shares.
    pub(super) fn share(&mut self, shares: usize) -> Self {
        let share = Self {
            lines: self.lines / shares.max(1),
            bytes: self.bytes / shares.max(1),
        };
        self.lines -= share.lines;
        self.bytes -= share.bytes;
        share
    }

    /// Puts back what was not needed of a share.
    pub(super) fn give_back(&mut self, rest: Self) {
        self.lines += rest.lines;
        self.bytes += rest.bytes;
    }

    /// Takes what a line needs; false if there is not as much.
    fn take(&mut self, line: &Line, text_bytes: usize) -> bool {
        let needed = needed_bytes(line, text_bytes);
        if self.lines == 0 || self.bytes < needed {
            return false;
        }
        self.lines -= 1;
        self.bytes -= needed;
        true
    }
}

/// About what a line takes. A short text can be of many elements, which are larger than their text: they are counted.
fn needed_bytes(line: &Line, text_bytes: usize) -> usize {
    let needed = match &line.event {
        Event::Drop(drop) => {
            size_of_val(drop.hints.as_slice())
                + size_of_val(drop.drop.candidates.as_slice())
                + size_of_val(drop.drop.chain_path.as_slice())
                + path_bytes(&drop.path)
                + 2 * text_bytes
        }
        Event::Path(path) => path_bytes(&path.path) + 2 * text_bytes,
        _ => 16 * text_bytes,
    };
    size_of::<Line>() + needed
}

fn path_bytes(path: &[Passage]) -> usize {
    let steps: usize = path.iter().map(|passage| passage.steps.len()).sum();
    size_of_val(path) + steps * size_of::<PathStep>()
}

/// A trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// As it was given.
    pub name: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// So many were none of a trace, or of a kind to come.
    pub(super) broken: u64,
    /// So many found no room.
    pub(super) left_out: u64,
    /// It ends with a summary.
    pub(super) is_whole: bool,
    /// The numbers of lines, from 0, that may be pieces of one way and need not.
    pub(super) apart: BTreeSet<usize>,
}

impl Trace {
    /// Reads a file. Each line takes of `room`; those that find none are counted.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(path: &Path, room: &mut Room) -> io::Result<Self> {
        Self::from(&path.to_string_lossy(), BufReader::new(File::open(path)?), room)
    }

    /// The same of anything that can be read.
    ///
    /// # Errors
    /// What the system says.
    pub fn from(name: &str, mut reader: impl BufRead, room: &mut Room) -> io::Result<Self> {
        let mut trace = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let mut text = Vec::new();
        while let Some(is_whole) = next_line(&mut reader, &mut text)? {
            match serde_json::from_slice::<Line>(&text) {
                Ok(line) if is_whole => {
                    trace.is_whole = matches!(line.event, Event::Summary(_));
                    if room.take(&line, text.len()) {
                        trace.lines.push(line);
                    } else {
                        trace.left_out += 1;
                    }
                }
                _ => trace.broken += 1,
            }
        }
        Ok(trace)
    }

    /// The host that it is from: that of its first line.
    pub fn node(&self) -> &str {
        self.lines.first().map_or("", |line| &line.node)
    }

    /// What was not read of it.
    pub(super) fn notes(&self) -> Vec<String> {
        let name = escape(&self.name);
        let mut notes = Vec::new();
        if self.broken > 0 {
            notes.push(format!(
                "{name}: {} lines are none of a trace and left out",
                self.broken
            ));
        }
        if self.left_out > 0 {
            notes.push(format!(
                "{name}: {} lines are left out, there is room for {} lines and {} MiB in all: watch with a narrower filter",
                self.left_out,
                super::MOST.lines,
                super::MOST.bytes >> 20
            ));
        }
        if !self.is_whole {
            notes.push(format!("{name}: was cut off, it has no summary"));
        }
        notes
    }
}
