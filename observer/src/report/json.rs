//! One JSON object a line, flushed line by line. What a terminal could take for something else is written as `\uXXXX`, which
//! means the same: the trace may be looked at on one.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::Report;
use super::escape::is_unsafe;
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
    append(line, buffer)?;
    buffer.push(b'\n');
    Ok(())
}

/// The value as JSON of which nothing steers a terminal.
///
/// # Errors
/// What serde says of a value that cannot be JSON.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut buffer = Vec::new();
    append(value, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

fn append(value: &impl Serialize, buffer: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(buffer, Plain))
}

/// serde's own way to write, but for what it leaves as it is: DEL, C1, marks of writing direction, what is invisible.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // C1 and all that lies behind it begin with a byte above 0x7f.
        while let Some(at) = rest.bytes().position(|byte| byte >= 0x7f) {
            let (plain, more) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let Some(c) = more.chars().next() else { break };
            let (one, after) = more.split_at(c.len_utf8());
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            } else {
                out.write_all(one.as_bytes())?;
            }
            rest = after;
        }
        out.write_all(rest.as_bytes())
    }
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
            drop.in_dev = Some("a\nb\u{1b}[2J\u{9b}2J\u{7f}é\u{202e}日\u{e0001}".into());
        }
        for line in &lines {
            json.line(line).expect("writes");
        }
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.lines().count(), lines.len());
        assert!(!text.contains(|c| c != '\n' && is_unsafe(c)));
        assert!(text.contains("\\u009b2J\\u007fé\\u202e日\\udb40\\udc01"));
        for (written, line) in text.lines().zip(&lines) {
            assert_eq!(&serde_json::from_str::<Line>(written).expect("reads"), line);
        }
    }
}
