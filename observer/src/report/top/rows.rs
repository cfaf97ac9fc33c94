//! What is counted, row by row, in bounded memory: when there are too many, those fall out that have been quiet the longest,
//! and how many packets they had is known.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;

use super::rate::Rate;
use super::sure::Sure;
use crate::report::record::{Line, Time};

/// One thing that is counted.
#[derive(Clone, Debug)]
pub(super) struct Row<T> {
    /// Its own for ever.
    pub(super) id: u64,
    /// What it is.
    pub(super) what: T,
    /// Packets.
    pub(super) packets: u64,
    /// The same by how sure their cause is.
    pub(super) sure: Sure,
    /// The same of late.
    pub(super) rate: Rate,
    /// Of the earliest packet.
    pub(super) first: Time,
    /// Of the latest packet.
    pub(super) last: Time,
    /// The newest line about it; absent if it was too large to be kept.
    pub(super) newest: Option<Rc<Line>>,
    seen: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct News<'a> {
    pub(super) packets: u64,
    pub(super) sure: Sure,
    /// By the kernel's clock.
    pub(super) time: Time,
    /// Since watching began.
    pub(super) at: Duration,
    pub(super) line: Option<&'a Rc<Line>>,
}

/// All of a kind.
#[derive(Debug)]
pub(super) struct Rows<K, T> {
    rows: HashMap<K, Row<T>>,
    most: usize,
    next: u64,
    /// Rows that fell out, and their packets.
    pub(super) gone: Gone,
}

/// What fell out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) rows: u64,
    pub(super) packets: u64,
}

impl<K: Hash + Eq, T> Rows<K, T> {
    /// Remembers `most` of them; now and then a quarter more.
    pub(super) fn with_room(most: usize) -> Self {
        Self {
            rows: HashMap::new(),
            most,
            next: 0,
            gone: Gone::default(),
        }
    }

    /// Counts packets; `make` says what it is, the first time.
    pub(super) fn count(&mut self, key: K, news: News<'_>, make: impl FnOnce() -> T) -> &mut Row<T> {
        if self.rows.len() >= self.most + self.most / 4 && !self.rows.contains_key(&key) {
            self.make_room(news.at);
        }
        let next = &mut self.next;
        let row = self.rows.entry(key).or_insert_with(|| {
            *next += 1;
            Row {
                id: *next,
                what: make(),
                packets: 0,
                sure: Sure::default(),
                rate: Rate::default(),
                first: news.time,
                last: news.time,
                newest: None,
                seen: news.at,
            }
        });
        row.packets = row.packets.saturating_add(news.packets);
        row.sure.add(news.sure);
        row.rate.add(news.packets, news.at);
        // Records of different CPUs may come in another order than they were made.
        row.first = row.first.min(news.time);
        row.last = row.last.max(news.time);
        row.newest = news.line.cloned();
        row.seen = news.at;
        row
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Row<T>> {
        self.rows.values()
    }

    /// Keeps those that are fastest of late, and of those that are quiet the ones that were heard of last.
    fn make_room(&mut self, at: Duration) {
        let mut all: Vec<(f64, Duration, u64)> = self
            .iter()
            .map(|row| (row.rate.per_second(at), row.seen, row.id))
            .collect();
        all.sort_by(|a, b| {
            let by_rate = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
            by_rate.then_with(|| b.1.cmp(&a.1)).then_with(|| a.2.cmp(&b.2))
        });
        let gone: HashSet<u64> = all.iter().skip(self.most).map(|(_, _, id)| *id).collect();
        let count = &mut self.gone;
        self.rows.retain(|_, row| {
            let stays = !gone.contains(&row.id);
            if !stays {
                count.rows += 1;
                count.packets = count.packets.saturating_add(row.packets);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(packets: u64, seconds: u64) -> News<'static> {
        News {
            packets,
            sure: Sure::default(),
            time: Time(seconds * 1_000_000_000),
            at: Duration::from_secs(seconds),
            line: None,
        }
    }

    #[test]
    fn what_falls_out_is_what_has_been_quiet_the_longest_and_it_is_counted() {
        let mut rows = Rows::with_room(8);
        for number in 0..10 {
            rows.count(number, news(number + 1, number), || number);
        }
        rows.count(3, news(100, 30), || 3);
        assert_eq!((rows.iter().count(), rows.gone.rows), (10, 0));
        rows.count(77, news(1, 31), || 77);
        let mut left: Vec<u64> = rows.iter().map(|row| row.what).collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3, 4, 5, 6, 7, 8, 9, 77]);
        assert_eq!(rows.gone, Gone { rows: 2, packets: 3 });
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_the_busy_one_stays() {
        let mut rows = Rows::with_room(64);
        let mut told = 0;
        for number in 0..10_000_u64 {
            rows.count(number, news(1, 7), || number);
            rows.count(u64::MAX, news(5, 7), || u64::MAX);
            told += 6;
            assert!(rows.iter().count() <= 80);
        }
        let busy = rows.iter().find(|row| row.what == u64::MAX).expect("stays");
        assert_eq!(busy.packets, 50_000);
        let left: u64 = rows.iter().map(|row| row.packets).sum();
        assert_eq!(left + rows.gone.packets, told);
    }

    #[test]
    fn times_of_different_processors_may_come_in_any_order() {
        let mut rows = Rows::with_room(8);
        for seconds in [5, 3, 9] {
            rows.count(
                (),
                News {
                    at: Duration::ZERO,
                    ..news(1, seconds)
                },
                || (),
            );
        }
        let row = rows.iter().next().expect("a row");
        assert_eq!((row.first.seconds(), row.last.seconds(), row.id), (3, 9, 1));
    }
}
