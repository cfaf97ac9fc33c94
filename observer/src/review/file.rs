//! One file: what it is, and line by line with a limit to each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::{FileSeen, Review, captures, traces};

/// Longer than any line that observer writes.
const MOST_LINE_BYTES: usize = 4 << 20;
/// What has a line as long as this will have no end either. Without optimising the search for one takes its time.
const ENDLESS_BYTES: usize = if cfg!(test) { 8 << 20 } else { 64 << 20 };
/// So much is looked at to know what a file is.
const HEAD_BYTES: u64 = 64 * 1024;
/// The first block of pcapng, alike in either order of bytes.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Reads a file, `-` for standard input, and adds it up.
///
/// # Errors
/// What the system says of opening or reading it; a line without an end. What else the file holds is no error, however broken.
pub fn read(review: &mut Review, path: &Path) -> io::Result<()> {
    if path.as_os_str() == "-" {
        from(review, "-", io::stdin().lock())
    } else {
        from(review, &path.to_string_lossy(), File::open(path)?)
    }
}

/// The same of anything that can be read.
///
/// # Errors
/// As [`read`].
pub fn from(review: &mut Review, name: &str, mut reader: impl Read) -> io::Result<()> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let mut seen = FileSeen {
        name: name.to_owned(),
        is_capture: head.starts_with(&SECTION),
        ..FileSeen::default()
    };
    let whole = io::Cursor::new(head).chain(reader);
    if seen.is_capture {
        captures::add(review, &mut seen, whole)?;
    } else {
        trace(review, &mut seen, BufReader::new(whole))?;
    }
    review.files.push(seen);
    Ok(())
}

fn trace(review: &mut Review, seen: &mut FileSeen, mut reader: impl BufRead) -> io::Result<()> {
    let mut traces = traces::Traces::default();
    let mut line = Vec::new();
    while let Some(is_whole) = next_line(&mut reader, &mut line)? {
        if is_whole {
            traces.add(review, seen, &line);
        } else {
            seen.broken += 1;
        }
    }
    seen.is_cut_off = traces.is_cut_off();
    Ok(())
}

/// The next line, without its line feed; false if it was longer than any of a trace, and is left out.
///
/// # Errors
/// What the system says of reading it, or it does not end.
pub fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let mut length = 0_usize;
    loop {
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if buffer.is_empty() {
            return Ok((length > 0).then_some(length <= MOST_LINE_BYTES));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        length = length.saturating_add(part.len());
        if length > ENDLESS_BYTES {
            let text = format!(
                "a line goes on for more than {} MiB: it is no trace",
                ENDLESS_BYTES >> 20
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if length <= MOST_LINE_BYTES {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(length <= MOST_LINE_BYTES));
        }
    }
}
