//! Lines out of the pieces of a watch, however these are cut; none longer than an object of the API can be.

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};

/// etcd keeps no object of more than 1.5 MiB; JSON takes more room than what it keeps.
const MAX_LINE_BYTES: usize = 8 << 20;

/// What has come of a line that has not ended.
#[derive(Default)]
pub(super) struct Lines {
    rest: BytesMut,
    /// So much of it has no line feed.
    looked_at: usize,
}

impl Lines {
    /// # Errors
    /// A line is too long.
    pub(super) fn add(&mut self, piece: &Bytes) -> Result<()> {
        self.rest.extend_from_slice(piece);
        if self.rest.len() > MAX_LINE_BYTES && !self.rest[..MAX_LINE_BYTES].contains(&b'\n') {
            bail!("a line of more than {MAX_LINE_BYTES} bytes");
        }
        Ok(())
    }

    /// The next whole line, without its line feed.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let found = self.rest[self.looked_at..].iter().position(|byte| *byte == b'\n');
        let Some(found) = found else {
            self.looked_at = self.rest.len();
            return None;
        };
        let mut line = self.rest.split_to(self.looked_at + found + 1);
        self.looked_at = 0;
        line.truncate(line.len() - 1);
        Some(line.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<String> {
        std::iter::from_fn(|| lines.next())
            .map(|line| String::from_utf8(line.to_vec()).expect("UTF-8"))
            .collect()
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\n\ntwo words\nthree\nrest";
        for length in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(length) {
                lines.add(&Bytes::copy_from_slice(piece)).expect("short");
                found.extend(all(&mut lines));
            }
            assert_eq!(found, ["one", "", "two words", "three"], "{length}");
            assert_eq!(&*lines.rest, b"rest");
        }
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let mut lines = Lines::default();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let added = (0..9).map(|_| {
            let added = lines.add(&piece);
            assert!(lines.next().is_none());
            added
        });
        assert_eq!(added.filter(Result::is_err).count(), 1);
    }
}
