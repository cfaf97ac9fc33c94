//! Ranges of elements of a map, given out and taken back.

use std::collections::BTreeMap;

/// The free ranges: start to length.
#[derive(Debug, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// All of a map with room for so many elements.
    pub fn new(room: u32) -> Self {
        Self(BTreeMap::from([(0, room)]))
    }

    /// The first range that is long enough.
    pub fn allocate(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        let (start, len) = self
            .0
            .iter()
            .find(|(_, len)| **len >= count)
            .map(|(start, len)| (*start, *len))?;
        self.0.remove(&start);
        if len > count {
            self.0.insert(start + count, len - count);
        }
        Some(start)
    }

    /// Takes a range back; it grows together with its neighbours.
    pub fn release(&mut self, mut start: u32, count: usize) {
        let Some(mut count) = u32::try_from(count).ok().filter(|count| *count > 0) else {
            return;
        };
        if let Some((before, len)) = self.0.range(..start).next_back().map(|(at, len)| (*at, *len))
            && before + len == start
        {
            self.0.remove(&before);
            (start, count) = (before, len + count);
        }
        if let Some(len) = self.0.remove(&(start + count)) {
            count += len;
        }
        self.0.insert(start, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_out_and_grow_together_again() {
        let mut ranges = Ranges::new(100);
        let starts: Vec<u32> = [30, 40, 30]
            .iter()
            .filter_map(|count| ranges.allocate(*count))
            .collect();
        assert_eq!(starts, [0, 30, 70]);
        assert_eq!(ranges.allocate(1), None);
        ranges.release(0, 30);
        ranges.release(70, 30);
        ranges.release(30, 40);
        assert_eq!(ranges, Ranges::new(100));
        assert_eq!(ranges.allocate(0), Some(0));
    }
}
