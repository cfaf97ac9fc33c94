//! One JSON object a line, flushed line by line.

use std::io::{self, Write};

use super::Report;
use super::record::{Line, Time};

/// Writes every line of the trace as JSON.
pub struct Json<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            buffer: Vec::new(),
        }
    }
}

impl<W: Write> Report for Json<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        encode(line, &mut self.buffer)?;
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }

    fn tick(&mut self, _now: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Puts the line and its line feed into `buffer`, so that one write takes it out whole.
pub(super) fn encode(line: &Line, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    serde_json::to_writer(&mut *buffer, line)?;
    buffer.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples;

    #[test]
    fn each_line_is_one_object_and_one_line() {
        let mut out = Vec::new();
        let mut json = Json::new(&mut out);
        let mut lines = samples::all();
        if let crate::report::record::Event::Drop(drop) = &mut lines[2].event {
            drop.in_dev = Some("a\nb\u{1b}[2J".into());
        }
        for line in &lines {
            json.line(line).expect("writes");
        }
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.lines().count(), lines.len());
        assert!(!text.contains('\u{1b}'));
        for (written, line) in text.lines().zip(&lines) {
            assert_eq!(&serde_json::from_str::<Line>(written).expect("reads"), line);
        }
    }
}
