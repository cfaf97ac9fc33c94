//! Many pieces of the kernel's memory.

use std::ops::Range;

/// What was read of them.
#[derive(Debug, Default)]
pub struct Gathered {
    bytes: Vec<u8>,
    /// For each piece where it lies; `None`: it could not be read.
    pieces: Vec<Option<Range<usize>>>,
}

impl Gathered {
    /// Adds a piece, which `read` fills.
    pub(super) fn read(&mut self, len_bytes: usize, read: impl FnOnce(&mut [u8]) -> bool) {
        let start = self.bytes.len();
        self.bytes.resize(start + len_bytes, 0);
        let could = read(&mut self.bytes[start..]);
        self.pieces.push(could.then_some(start..start + len_bytes));
    }

    /// A piece, by its place among those that were asked for; `None` if it could not be read.
    pub fn get(&self, piece: usize) -> Option<&[u8]> {
        self.bytes.get(self.pieces.get(piece)?.clone()?)
    }
}
