//! What was listed of rulesets, the last of each: a large one takes much memory, and what was replaced is not asked any more.

use std::collections::HashMap;

use crate::report::record::{Backend, TableFamily};

/// What is listed: a namespace's inode, and a backend's tables of a family or one of them.
pub type Wanted = (u32, Backend, TableFamily, String);

/// What was listed last, with the generation of the snapshot that it is of. Not a hash of the rules: large matches lie behind pointers.
pub struct Last<T> {
    kept: HashMap<Wanted, (u32, T)>,
    most: usize,
}

impl<T: Clone> Last<T> {
    /// Nothing yet, and never more than so many.
    pub fn new(most: usize) -> Self {
        Self {
            kept: HashMap::new(),
            most,
        }
    }

    /// What is known of a snapshot.
    pub fn get(&self, wanted: &Wanted, generation: u32) -> Option<T> {
        let (of, known) = self.kept.get(wanted)?;
        (*of == generation).then(|| known.clone())
    }

    /// Forgets what was known of another snapshot: before the next is listed, so that not both are there.
    pub fn forget(&mut self, wanted: &Wanted) {
        self.kept.remove(wanted);
    }

    /// Keeps what was listed.
    pub fn put(&mut self, wanted: Wanted, generation: u32, listed: T) {
        if self.kept.len() >= self.most && !self.kept.contains_key(&wanted) {
            self.kept.clear();
        }
        self.kept.insert(wanted, (generation, listed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inode: u32) -> Wanted {
        (inode, Backend::Legacy, TableFamily::Ip, String::new())
    }

    #[test]
    fn of_each_namespace_the_last_is_kept() {
        let mut last = Last::new(2);
        last.put(of(1), 7, "first");
        last.put(of(2), 7, "other");
        last.put(of(1), 8, "second");
        assert_eq!((last.get(&of(1), 7), last.get(&of(1), 8)), (None, Some("second")));
        assert_eq!(last.get(&of(2), 7), Some("other"));
        last.forget(&of(2));
        assert_eq!(last.get(&of(2), 7), None);
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let mut last = Last::new(2);
        (0..5).for_each(|inode| last.put(of(inode), 1, inode));
        let known = (0..5).filter(|inode| last.get(&of(*inode), 1).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [4]);
    }
}
