//! One trace, in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::report::escape;
use crate::report::record::{Event, Line};
use crate::review::next_line;

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
}

impl Trace {
    /// Reads a file. Each line takes one of `room`; those that find none are counted.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(path: &Path, room: &mut usize) -> io::Result<Self> {
        Self::from(&path.to_string_lossy(), BufReader::new(File::open(path)?), room)
    }

    /// The same of anything that can be read.
    pub(super) fn from(name: &str, mut reader: impl BufRead, room: &mut usize) -> io::Result<Self> {
        let mut trace = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let mut text = Vec::new();
        while let Some(is_whole) = next_line(&mut reader, &mut text)? {
            match serde_json::from_slice::<Line>(&text) {
                Ok(line) if is_whole && *room > 0 => {
                    *room -= 1;
                    trace.lines.push(line);
                }
                Ok(_) if is_whole => trace.left_out += 1,
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
                "{name}: {} lines are left out, there is room for {} in all: watch with a narrower filter",
                self.left_out,
                super::MAX_LINES
            ));
        }
        let is_whole = matches!(self.lines.last().map(|line| &line.event), Some(Event::Summary(_)));
        if !is_whole {
            notes.push(format!("{name}: was cut off, it has no summary"));
        }
        notes
    }
}
