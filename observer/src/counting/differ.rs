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
mod tests {
    use super::super::reading::Shapes;
    use super::super::saved;
    use super::*;

    /// A quarter of a second.
    const TICK: u64 = 250_000_000;

    /// Readings one after the other, a tick apart.
    #[derive(Default)]
    struct Watch {
        ledger: Ledger,
        shapes: Shapes,
        now_ns: u64,
    }

    impl Watch {
        /// Has read this three times, so that it is settled.
        fn of(rules: &str) -> Self {
            let mut watch = Self::default();
            for _ in 0..3 {
                assert_eq!(watch.read(rules), []);
            }
            watch
        }

        /// `CHAIN NUMBER` (0 for the policy) and packets of what has risen.
        fn read(&mut self, rules: &str) -> Vec<(String, u64)> {
            self.now_ns += TICK;
            let text = format!("*filter\n{rules}\nCOMMIT\n");
            let tables = saved::tables(&text, Backend::Legacy, TableFamily::Ip, &self.shapes);
            assert_eq!(tables.len(), 1, "{text}");
            let rises = self.ledger.take(&tables, self.now_ns);
            self.shapes.keep(&tables);
            let told = rises.iter().map(|rise| {
                let place = &tables[rise.table].shape.places[rise.place];
                let number = place.rule.map_or(0, |rule| rule + 1);
                (format!("{} {number}", place.chain), rise.packets)
            });
            told.collect()
        }
    }

    fn risen(what: &str, packets: u64) -> Vec<(String, u64)> {
        vec![(what.to_owned(), packets)]
    }

    /// A policy, and rules `-d 10.0.0.N -j DROP`, each with what it has counted.
    fn rules(policy: u64, drops: &[(u8, u64)]) -> String {
        let lines = drops
            .iter()
            .map(|(host, packets)| format!("\n[{packets}:0] -A FORWARD -d 10.0.0.{host}/32 -j DROP"));
        format!(":FORWARD DROP [{policy}:0]{}", lines.collect::<String>())
    }

    #[test]
    fn counters_are_added_back_after_a_table_was_replaced() {
        let mut watch = Watch::of(&rules(1000, &[(1, 500)]));
        // Between IPT_SO_SET_REPLACE and IPT_SO_SET_ADD_COUNTERS.
        assert_eq!(watch.read(&rules(0, &[(1, 0)])), []);
        assert_eq!(watch.read(&rules(1000, &[(1, 502)])), risen("FORWARD 1", 2));
        assert_eq!(watch.read(&rules(1003, &[(1, 502)])), risen("FORWARD 0", 3));
    }

    #[test]
    fn it_may_be_read_in_between_several_times_and_count_meanwhile() {
        let mut watch = Watch::of(&rules(1000, &[]));
        let told: Vec<_> = [0, 0, 3, 0, 0, 1, 4, 1008]
            .map(|count| watch.read(&rules(count, &[])))
            .into_iter()
            .flatten()
            .map(|(_, packets)| packets)
            .collect();
        // 1, then 3 more before the last coming back; 8 in all.
        assert_eq!(told.iter().sum::<u64>(), 8, "{told:?}");
    }

    #[test]
    fn a_rule_that_was_added_together_with_its_counts_has_not_risen() {
        let mut watch = Watch::of(&rules(1000, &[(1, 500)]));
        // iptables-restore -c at the same time: the text has changed, too.
        assert_eq!(watch.read(&rules(0, &[(2, 0), (1, 0)])), []);
        assert_eq!(
            watch.read(&rules(1000, &[(2, 0), (1, 501)])),
            risen("FORWARD 2", 1)
        );
        assert_eq!(watch.read(&rules(1000, &[(2, 70), (1, 501)])), []);
        assert_eq!(
            watch.read(&rules(1000, &[(2, 72), (1, 501)])),
            risen("FORWARD 1", 2)
        );
    }

    #[test]
    fn zeroed_counters_count_anew() {
        let mut watch = Watch::of(&rules(1000, &[(1, 500)]));
        assert_eq!(watch.read(&rules(0, &[(1, 2)])), [], "iptables -Z");
        assert_eq!(
            watch.read(&rules(4, &[(1, 2)])),
            [],
            "it may have been set to that"
        );
        assert_eq!(watch.read(&rules(5, &[(1, 2)])), risen("FORWARD 0", 1));
        assert_eq!(watch.read(&rules(5, &[(1, 5)])), risen("FORWARD 1", 3));
    }

    #[test]
    fn restored_with_less_than_before_it_has_not_risen() {
        let mut watch = Watch::of(&rules(1000, &[]));
        // iptables-restore -c of an older file, read in between.
        assert_eq!(watch.read(&rules(0, &[])), []);
        assert_eq!(watch.read(&rules(400, &[])), []);
        assert_eq!(watch.read(&rules(401, &[])), risen("FORWARD 0", 1));
    }

    #[test]
    fn zeroed_and_flooded_tells_less_never_more() {
        let mut watch = Watch::of(&rules(5, &[]));
        assert_eq!(watch.read(&rules(0, &[])), []);
        assert_eq!(watch.read(&rules(100, &[])), risen("FORWARD 0", 95));
        // Zeroed and counted beyond between two readings.
        assert_eq!(watch.read(&rules(150, &[])), risen("FORWARD 0", 50));
    }

    #[test]
    fn a_chain_that_is_zeroed_every_second_still_tells() {
        // kube-proxy writes its chains anew with counters at zero.
        let mut watch = Watch::of(&rules(0, &[(1, 40)]));
        let mut told = 0;
        for _ in 0..20 {
            for count in [0, 5, 10, 15] {
                let risen = watch.read(&rules(0, &[(1, count)]));
                told += risen.iter().map(|(_, packets)| packets).sum::<u64>();
            }
        }
        assert!((100..=300).contains(&told), "{told} of 300");
    }

    #[test]
    fn what_does_not_come_back_is_not_waited_for() {
        let mut watch = Watch::of(&rules(100, &[]));
        for _ in 0..=MAY_COME_BACK {
            assert_eq!(watch.read(&rules(0, &[])), []);
        }
        assert_eq!(watch.read(&rules(150, &[])), risen("FORWARD 0", 150));
    }

    #[test]
    fn rules_keep_their_counts_when_others_come_and_go_before_them() {
        let mut watch = Watch::of(&rules(10, &[(1, 500), (2, 0), (3, 7)]));
        // Rule 3 is rule 2 now; its number is the new one.
        assert_eq!(watch.read(&rules(10, &[(2, 0), (3, 9)])), risen("FORWARD 2", 2));
        assert_eq!(
            watch.read(&rules(10, &[(9, 50), (8, 60), (2, 1), (3, 9)])),
            risen("FORWARD 3", 1)
        );
    }

    #[test]
    fn of_rules_with_one_text_nobody_knows_which_is_which_after_a_change() {
        let mut watch = Watch::of(&rules(0, &[(1, 0), (2, 1), (1, 100)]));
        // The first of two was deleted, another put behind.
        for _ in 0..3 {
            assert_eq!(watch.read(&rules(0, &[(2, 1), (1, 100), (1, 0)])), []);
        }
        assert_eq!(
            watch.read(&rules(0, &[(2, 1), (1, 104), (1, 0)])),
            risen("FORWARD 2", 4)
        );
    }

    #[test]
    fn rules_with_one_text_that_change_places_have_not_risen() {
        // The same text as before: only the counts tell that the first was deleted and put behind.
        let mut watch = Watch::of(&rules(0, &[(1, 0), (1, 100)]));
        assert_eq!(watch.read(&rules(0, &[(1, 100), (1, 0)])), []);
        assert_eq!(watch.read(&rules(0, &[(1, 101), (1, 0)])), risen("FORWARD 1", 1));
        let mut watch = Watch::of(&rules(0, &[(1, 40), (1, 0)]));
        assert_eq!(watch.read(&rules(0, &[(1, 41), (1, 1)])).len(), 2);
    }

    #[test]
    fn a_rule_that_is_not_there_any_more_and_comes_back_is_new() {
        let mut watch = Watch::of(&rules(0, &[(1, 5)]));
        assert_eq!(watch.read(&rules(0, &[])), []);
        assert_eq!(watch.read(&rules(0, &[(1, 0)])), []);
        assert_eq!(watch.read(&rules(0, &[(1, 50)])), [], "restored with its counts");
        assert_eq!(watch.read(&rules(0, &[(1, 51)])), []);
        assert_eq!(watch.read(&rules(0, &[(1, 52)])), risen("FORWARD 1", 1));
    }

    #[test]
    fn a_policy_that_becomes_drop_begins_with_what_it_has_counted_already() {
        let accept = ":FORWARD ACCEPT [900:0]";
        let mut watch = Watch::of(accept);
        assert_eq!(watch.read(":FORWARD ACCEPT [950:0]"), []);
        for _ in 0..3 {
            assert_eq!(watch.read(&rules(960, &[])), []);
        }
        assert_eq!(watch.read(&rules(961, &[])), risen("FORWARD 0", 1));
        assert_eq!(watch.read(accept), []);
    }

    #[test]
    fn a_rule_that_is_replaced_by_another_in_its_place_is_not_taken_for_it() {
        let mut watch = Watch::of(&rules(0, &[(1, 5)]));
        for packets in [9, 10, 11] {
            assert_eq!(watch.read(&rules(0, &[(2, packets)])), []);
        }
        assert_eq!(watch.read(&rules(0, &[(2, 12)])), risen("FORWARD 1", 1));
    }

    #[test]
    fn rewritten_between_all_readings_what_is_there_still_counts() {
        let mut watch = Watch::of(&rules(0, &[(1, 0)]));
        for round in 1..9_u8 {
            let told = watch.read(&rules(u64::from(round) * 2, &[(100 + round, 0), (1, 0)]));
            assert_eq!(told, risen("FORWARD 0", 2));
        }
    }

    #[test]
    fn what_counts_and_drops_nothing_is_never_told() {
        let text = |packets: u64| {
            format!(
                ":FORWARD ACCEPT [{packets}:0]\n:X - [0:0]\n[{packets}:0] -A FORWARD -j X\n[{packets}:0] -A FORWARD -j ACCEPT\n\
                 [{packets}:0] -A X -j RETURN\n[{packets}:0] -A X -j LOG --log-prefix DROP\n[{packets}:0] -A X"
            )
        };
        let mut watch = Watch::of(&text(1));
        assert_eq!(watch.read(&text(100)), []);
    }

    /// A ruleset in whose life everything happens that makes counters jump.
    struct Life {
        random: u64,
        /// Host, what its rule shows, and how many packets it has dropped in truth.
        rules: Vec<(u8, u64)>,
        truth: HashMap<u8, u64>,
        /// A replacement that has not added the counters back yet: so many readings more.
        pending: Option<(Vec<(u8, u64)>, u8)>,
    }

    impl Life {
        /// xorshift64
        fn below(&mut self, end: u64) -> u64 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.random % end
        }

        fn packets(&mut self) {
            for index in 0..self.rules.len() {
                let packets = self.below(4);
                let (host, count) = &mut self.rules[index];
                *count += packets;
                *self.truth.entry(*host).or_default() += packets;
            }
        }

        fn happen(&mut self) {
            if let Some((before, left)) = self.pending.take() {
                if left > 0 {
                    self.pending = Some((before, left - 1));
                } else {
                    for (rule, (_, count)) in self.rules.iter_mut().zip(before) {
                        rule.1 += count;
                    }
                }
                return;
            }
            let number = self.rules.len() as u64;
            match self.below(12) {
                // Replaced by the tool: the old counters come back one or two readings later.
                0..3 => {
                    let left = self.below(2) as u8;
                    self.pending = Some((self.rules.clone(), left));
                    self.rules.iter_mut().for_each(|rule| rule.1 = 0);
                }
                3 => self.rules.iter_mut().for_each(|rule| rule.1 = 0),
                4 if number > 1 => {
                    let index = self.below(number) as usize;
                    self.rules.remove(index);
                }
                5 if number < 6 => {
                    let (at, host) = (self.below(number + 1) as usize, self.below(5) as u8);
                    // Restored with a number of its own.
                    let count = self.below(2000);
                    self.rules.insert(at, (host, count));
                }
                6 => {
                    let (one, other) = (self.below(number) as usize, self.below(number) as usize);
                    self.rules.swap(one, other);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn whatever_happens_no_more_is_told_than_has_died() {
        let (mut all_told, mut all) = (0, 0);
        for seed in 1..400_u64 {
            let mut life = Life {
                random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                rules: vec![(1, 900), (2, 0), (3, 40)],
                truth: HashMap::new(),
                pending: None,
            };
            let mut watch = Watch::default();
            let mut told: HashMap<u8, u64> = HashMap::new();
            for _ in 0..200 {
                life.packets();
                life.happen();
                let before = life.rules.clone();
                for (place, packets) in watch.read(&rules(0, &before)) {
                    let number: usize = place
                        .rsplit(' ')
                        .next()
                        .and_then(|number| number.parse().ok())
                        .expect("a number");
                    *told.entry(before[number - 1].0).or_default() += packets;
                }
            }
            for (host, packets) in &told {
                let truth = life.truth.get(host).copied().unwrap_or(0);
                assert!(
                    *packets <= truth,
                    "seed {seed}: rule {host} dropped {truth}, told {packets}"
                );
            }
            all_told += told.values().sum::<u64>();
            all += life.truth.values().sum::<u64>();
        }
        // Half of the readings are in the middle of a change.
        assert!(all_told * 4 > all, "{all_told} of {all} were told");
    }

    #[test]
    fn a_table_that_is_being_replaced_is_restless() {
        let mut watch = Watch::of(&rules(7, &[(1, 5)]));
        assert!(!watch.ledger.is_restless);
        for restless in [rules(0, &[(1, 0)]), rules(7, &[(2, 0), (1, 5)])] {
            watch.read(&restless);
            assert!(watch.ledger.is_restless);
        }
        watch.read(&rules(8, &[(2, 0), (1, 5)]));
        assert!(!watch.ledger.is_restless);
    }

    #[test]
    fn totals_are_since_watching_began() {
        let mut watch = Watch::of(&rules(100, &[]));
        watch.read(&rules(103, &[]));
        let text = format!("*filter\n{}\nCOMMIT\n", rules(105, &[]));
        let tables = saved::tables(&text, Backend::Legacy, TableFamily::Ip, &watch.shapes);
        let rise = watch.ledger.take(&tables, watch.now_ns + 4 * TICK)[0];
        assert_eq!((rise.packets, rise.total, rise.since_ns), (2, 5, watch.now_ns));
    }
}
