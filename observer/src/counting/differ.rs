//! What has risen between two readings of a namespace's counters.
//!
//! A counter can jump without a packet: rules are replaced, zeroed (`iptables -Z`), restored with other numbers. Worst is what
//! every change of a legacy table does: the kernel takes the new table with counters at zero, and the tool adds the old
//! numbers to them a moment later (`TC_COMMIT`, libiptc; `IPT_SO_SET_ADD_COUNTERS`). Whoever reads in between sees the
//! counters fall to zero and come back, or new ones begin at zero and jump to what they were restored with. So what a counter
//! that fell counts up to its old height are packets, but that it is back at that height is none; and a new one is read
//! several times before it can rise.

use std::collections::HashMap;

use super::reading::{Count, Place, Shape, TableReading};
use crate::report::record::{Backend, TableFamily};

/// So many readings after its first a new counter tells nothing. That all of them fall between a table's replacement and its
/// counters' coming is next to impossible.
const QUIET_NEW: u8 = 2;
/// So many after a counter fell: it may be set to anything below its old height, too.
const QUIET_FELL: u8 = 1;
/// So many readings a counter that fell may come back.
const MAY_COME_BACK: u8 = 8;
/// So many heights are kept.
const MOST_HEIGHTS: usize = MAY_COME_BACK as usize;

/// The counters of one namespace, as the tools of one backend and family showed them last.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    tables: HashMap<(Backend, TableFamily, String, Option<u64>), Book>,
    /// Whether in the last reading a table was new or rewritten, or a counter had fallen.
    pub(super) is_restless: bool,
}

/// A table's.
#[derive(Debug, Default)]
struct Book {
    hash: u64,
    keys: Vec<Key>,
    entries: Vec<Entry>,
}

/// What a counter is known by when its ruleset has been rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    chain: String,
    is_policy: bool,
    handle: Option<u64>,
    text: String,
}

/// One counter.
#[derive(Clone, Debug)]
struct Entry {
    /// What it showed last, and when.
    base: Count,
    since_ns: u64,
    /// Readings that tell nothing yet.
    quiet: u8,
    /// Heights above what it shows, from which it fell and to which it may come back. The latest fall last.
    heights: Vec<Height>,
    /// Packets told of since watching began.
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Height {
    /// What it showed.
    count: Count,
    /// What has been told of since it fell from there.
    told: Count,
    /// Readings until it is taken not to come back.
    left: u8,
}

/// A counter that has risen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rise {
    /// Index of the table among those that were read.
    pub(super) table: usize,
    /// Index of the place in its shape.
    pub(super) place: usize,
    /// By so many packets, at least.
    pub(super) packets: u64,
    /// And bytes.
    pub(super) bytes: u64,
    /// It was read before at this moment of `CLOCK_MONOTONIC`.
    pub(super) since_ns: u64,
    /// Packets since watching began, these included.
    pub(super) total: u64,
}

impl Ledger {
    /// Compares a reading with the one before, and keeps it. Tables that it lacks are forgotten.
    pub(super) fn take(&mut self, tables: &[TableReading], now_ns: u64) -> Vec<Rise> {
        self.is_restless = false;
        let mut rises = Vec::new();
        let mut kept = HashMap::with_capacity(tables.len());
        for (index, table) in tables.iter().enumerate() {
            let key = (table.backend, table.family, table.name.clone(), table.handle);
            let book = match self.tables.remove(&key) {
                Some(book) if book.hash == table.shape.hash => book,
                book => {
                    self.is_restless = true;
                    book.unwrap_or_default().rewritten(table, now_ns)
                }
            };
            let fell = book.fell(&table.shape, &table.counts);
            self.is_restless |= fell.contains(&true);
            kept.insert(key, book.compared((index, table), &fell, now_ns, &mut rises));
        }
        self.tables = kept;
        rises
    }
}

impl Book {
    /// The book for another shape of the table: counters are found again by chain and text, if there is one of that text
    /// before and after. Of several with the same text nobody knows which is which.
    fn rewritten(self, table: &TableReading, now_ns: u64) -> Self {
        let keys: Vec<Key> = table.shape.places.iter().map(Key::of).collect();
        let (before, after) = (numbers(&self.keys), numbers(&keys));
        let entries = keys.iter().zip(&table.counts).map(|(key, count)| {
            let only = |of: &HashMap<&Key, (usize, usize)>| {
                of.get(key)
                    .filter(|(number, _)| *number == 1)
                    .map(|(_, index)| *index)
            };
            let known = only(&after)
                .and(only(&before))
                .and_then(|index| self.entries.get(index));
            known.cloned().unwrap_or_else(|| Entry::new(*count, now_ns))
        });
        Self {
            hash: table.shape.hash,
            entries: entries.collect(),
            keys,
        }
    }

    fn compared(
        mut self,
        (index, table): (usize, &TableReading),
        fell: &[bool],
        now_ns: u64,
        rises: &mut Vec<Rise>,
    ) -> Self {
        for (place, count) in table.counts.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(place) else {
                break;
            };
            let risen = if fell[place] {
                entry.fall(*count, now_ns);
                None
            } else {
                entry.take(*count, now_ns)
            };
            if let Some((risen, since_ns)) = risen {
                rises.push(Rise {
                    table: index,
                    place,
                    packets: risen.packets,
                    bytes: risen.bytes,
                    since_ns,
                    total: entry.total,
                });
            }
        }
        self
    }

    /// For each counter whether it fell, or another with the same text in its chain: these may have changed places.
    fn fell(&self, shape: &Shape, counts: &[Count]) -> Vec<bool> {
        let pairs = self.entries.iter().zip(counts);
        let mut fell: Vec<bool> = pairs
            .map(|(entry, count)| count.packets < entry.base.packets)
            .collect();
        fell.resize(counts.len(), false);
        if fell.contains(&true) {
            let keys = self.keys.iter().zip(&fell);
            let fallen: Vec<&Key> = keys.filter(|(_, fell)| **fell).map(|(key, _)| key).collect();
            let is_one = |place: usize| self.keys.get(place).is_some_and(|key| fallen.contains(&key));
            fell = (0..shape.places.len()).map(is_one).collect();
        }
        fell
    }
}

/// How many counters have a key, and the index of the last.
fn numbers(keys: &[Key]) -> HashMap<&Key, (usize, usize)> {
    let mut numbers: HashMap<&Key, (usize, usize)> = HashMap::new();
    for (index, key) in keys.iter().enumerate() {
        let (number, last) = numbers.entry(key).or_default();
        (*number, *last) = (*number + 1, index);
    }
    numbers
}

impl Key {
    fn of(place: &Place) -> Self {
        Self {
            chain: place.chain.clone(),
            is_policy: place.rule.is_none(),
            handle: place.handle,
            text: place.text.clone(),
        }
    }
}

impl Entry {
    fn new(count: Count, now_ns: u64) -> Self {
        Self {
            base: count,
            since_ns: now_ns,
            // The reading that it comes with is taken, too.
            quiet: QUIET_NEW + 1,
            heights: Vec::new(),
            total: 0,
        }
    }

    /// It fell, or may have changed places with one that did.
    fn fall(&mut self, count: Count, now_ns: u64) {
        let height = if self.base.packets > count.packets {
            self.base
        } else {
            count
        };
        if self.heights.len() >= MOST_HEIGHTS {
            self.heights.remove(0);
        }
        self.heights.push(Height {
            count: height,
            told: Count::default(),
            left: MAY_COME_BACK,
        });
        self.quiet = self.quiet.max(QUIET_FELL);
        (self.base, self.since_ns) = (count, now_ns);
    }

    /// By how much it has risen, and since when, if that can be told.
    fn take(&mut self, count: Count, now_ns: u64) -> Option<(Count, u64)> {
        let reached = self
            .heights
            .iter()
            .filter(|height| height.count.packets <= count.packets);
        let back = reached.max_by_key(|height| height.count.packets);
        let risen = match back {
            // Packets are only those beyond it, and of these only those that have not been told of.
            Some(height) => count.beyond(height.count).beyond(height.told),
            None if self.quiet > 0 => Count::default(),
            None => count.beyond(self.base),
        };
        for height in &mut self.heights {
            height.told = height.told.with(risen);
            height.left = height.left.saturating_sub(1);
        }
        self.heights
            .retain(|height| height.count.packets > count.packets && height.left > 0);
        self.quiet = self.quiet.saturating_sub(1);
        let since_ns = self.since_ns;
        (self.base, self.since_ns) = (count, now_ns);
        self.total = self.total.saturating_add(risen.packets);
        (risen.packets > 0).then_some((risen, since_ns))
    }
}

impl Count {
    /// How much more it is.
    fn beyond(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

#[cfg(test)]
mod tests;
