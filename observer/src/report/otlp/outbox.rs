//! Requests that wait to be delivered, the oldest first: some in memory, the rest in a file, if there is one.

use std::collections::VecDeque;

use super::spool::Spool;

/// So many bytes wait in memory; a request that finds none waiting always fits.
const MAX_BYTES: usize = 4 << 20;

/// A request's body, and how many records are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) body: Vec<u8>,
    pub(super) records: u32,
}

/// All that wait.
pub(super) struct Outbox {
    memory: VecDeque<Parcel>,
    memory_bytes: usize,
    /// What comes after those in memory.
    spool: Option<Spool>,
}

impl Outbox {
    pub(super) fn new(spool: Option<Spool>) -> Self {
        Self {
            memory: VecDeque::new(),
            memory_bytes: 0,
            spool,
        }
    }

    /// Puts one behind all others; gives it back if there is no room.
    pub(super) fn push(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        let is_behind_file = self.spool.as_ref().is_some_and(|spool| !spool.is_empty());
        let fits = self.memory.is_empty() || self.memory_bytes + parcel.body.len() <= MAX_BYTES;
        if fits && !is_behind_file {
            self.memory_bytes += parcel.body.len();
            self.memory.push_back(parcel);
            return Ok(());
        }
        match &mut self.spool {
            Some(spool) => match spool.append(&parcel) {
                Ok(()) => Ok(()),
                Err(error) => {
                    log::warn!("--otlp-buffer: {error}");
                    Err(parcel)
                }
            },
            None => Err(parcel),
        }
    }

    /// The oldest, which stays until it is [taken](Self::pop).
    pub(super) fn first(&mut self) -> Option<&Parcel> {
        if self.memory.is_empty()
            && let Some(parcel) = self.spool.as_mut().and_then(Spool::take)
        {
            self.memory_bytes += parcel.body.len();
            self.memory.push_back(parcel);
        }
        self.memory.front()
    }

    /// Takes the oldest away.
    pub(super) fn pop(&mut self) {
        if let Some(parcel) = self.memory.pop_front() {
            self.memory_bytes -= parcel.body.len();
        }
        if self.memory.is_empty()
            && let Some(spool) = &mut self.spool
        {
            spool.settle();
        }
    }

    /// At the end: what is in memory goes to the file. How many records are kept, and how many are not.
    pub(super) fn close(mut self) -> (u64, u64) {
        let records =
            |parcels: &VecDeque<Parcel>| parcels.iter().map(|parcel| u64::from(parcel.records)).sum();
        let in_memory = records(&self.memory);
        let Some(spool) = &mut self.spool else {
            return (0, in_memory);
        };
        match spool.keep(self.memory.make_contiguous()) {
            Ok(()) => (in_memory + spool.records(), 0),
            Err(error) => {
                log::warn!("--otlp-buffer: {error}");
                (spool.records(), in_memory)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(number: u32, bytes: usize) -> Parcel {
        Parcel {
            body: vec![number as u8; bytes],
            records: number,
        }
    }

    #[test]
    fn what_fits_keeps_its_order_through_memory_and_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("buffer");
        let spool = Spool::open(&path, 64 << 20).expect("opens");
        let mut outbox = Outbox::new(Some(spool));
        for number in 0..10 {
            outbox.push(parcel(number, 1 << 20)).expect("fits");
        }
        for number in 0..4 {
            assert_eq!(outbox.first().map(|parcel| parcel.records), Some(number));
            outbox.pop();
        }
        outbox
            .push(parcel(10, 10))
            .expect("fits behind those in the file");
        for number in 4..11 {
            assert_eq!(
                outbox.first().cloned(),
                Some(parcel(number, if number == 10 { 10 } else { 1 << 20 }))
            );
            outbox.pop();
        }
        assert_eq!(outbox.first(), None);
        outbox.push(parcel(11, 10)).expect("fits");
        assert_eq!(outbox.close(), (11, 0));
        let mut again = Outbox::new(Some(Spool::open(&path, 64 << 20).expect("opens")));
        assert_eq!(again.first().cloned(), Some(parcel(11, 10)));
    }

    #[test]
    fn at_the_end_what_is_in_memory_comes_before_what_is_in_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("buffer");
        let mut outbox = Outbox::new(Some(Spool::open(&path, 64 << 20).expect("opens")));
        for number in 1..=6 {
            outbox.push(parcel(number, 1 << 20)).expect("fits");
        }
        assert_eq!(outbox.close(), (21, 0));
        let mut again = Outbox::new(Some(Spool::open(&path, 64 << 20).expect("opens")));
        for number in 1..=6 {
            assert_eq!(again.first().map(|parcel| parcel.records), Some(number));
            again.pop();
        }
        assert_eq!(again.first(), None);
    }

    #[test]
    fn without_a_file_what_does_not_fit_comes_back() {
        let mut outbox = Outbox::new(None);
        for number in 1..=4 {
            outbox.push(parcel(number, 1 << 20)).expect("fits");
        }
        assert_eq!(outbox.push(parcel(5, 1)), Err(parcel(5, 1)));
        assert_eq!(outbox.close(), (0, 10));
        let mut outbox = Outbox::new(None);
        outbox
            .push(parcel(1, MAX_BYTES + 1))
            .expect("the only one always fits");
    }
}
