//! A long list that is taken apart while another is made of it: memory is given back piece by piece, and none of it moves to grow.

/// So many of it lie together.
const PIECE: usize = 512;

/// The list.
#[derive(Debug)]
pub(super) struct Pieces<T>(Vec<Vec<T>>);

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Pieces<T> {
    /// Appends one.
    pub(super) fn push(&mut self, item: T) {
        match self.0.last_mut().filter(|last| last.len() < PIECE) {
            Some(last) => last.push(item),
            None => {
                let mut piece = Vec::with_capacity(if self.0.is_empty() { 1 } else { PIECE });
                piece.push(item);
                self.0.push(piece);
            }
        }
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

impl<T> IntoIterator for Pieces<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_comes_back_in_order() {
        for count in [0, 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let mut pieces = Pieces::default();
            (0..count).for_each(|item| pieces.push(item));
            assert!(pieces.iter().copied().eq(0..count));
            assert!(pieces.into_iter().eq(0..count));
        }
    }
}
