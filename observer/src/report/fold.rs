//! Repeats: the first packet of a flow with one fate is told at once, later ones are counted. Memory is bounded: a flood of
//! random flows pushes out those that have been quiet the longest.

use std::collections::{BTreeMap, HashMap};

use super::record::{DropLine, Flow, Packet, PathLine, Time};
use super::words;

/// So many flows are remembered.
pub const MAX_FLOWS: usize = 1024;
/// At least this long between two counts of one flow, in nanoseconds.
const COUNT_INTERVAL_NS: u64 = 1_000_000_000;

/// What makes two packets repeats of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    flow: String,
    cause: String,
}

impl Key {
    /// Of this drop: its connection, or its addresses and ports, and its cause.
    pub fn of(line: &DropLine) -> Self {
        Self {
            flow: flow(line.flow.as_ref(), &line.packet),
            cause: words::cause(&line.drop),
        }
    }

    /// Of this packet that lives: its connection, or its addresses and ports, and in a connection its direction. The
    /// answers go another way.
    pub fn of_pass(line: &PathLine) -> Self {
        let direction = |packet: &Packet| match (packet.src, packet.dst) {
            (Some(src), Some(dst)) => format!("{src} {dst}"),
            _ => String::new(),
        };
        Self {
            flow: flow(line.flow.as_ref(), &line.packet),
            cause: direction(&line.packet),
        }
    }
}

fn flow(flow: Option<&Flow>, packet: &Packet) -> String {
    match flow {
        Some(flow) => flow.id.clone(),
        None => format!(
            "{:?} {:?} {:?} {:?} {:?}",
            packet.proto, packet.src, packet.sport, packet.dst, packet.dport
        ),
    }
}

/// A flow that has been told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// The packet and its fate, in words.
    pub what: String,
    /// Packets so far, the first included.
    pub count: u64,
    /// Of the earliest packet.
    pub first: Time,
    /// Of the latest packet.
    pub last: Time,
    shown: u64,
    shown_at: Time,
    seq: u64,
}

impl Repeats {
    /// Whether the count may be rewritten in place: each of the first few, then ten times a second.
    pub fn is_due_in_place(&self) -> bool {
        self.count <= 8 || self.last.nanos_since(self.shown_at) >= COUNT_INTERVAL_NS / 10
    }
}

/// The flows that have been told of.
#[derive(Debug, Default)]
pub struct Fold {
    flows: HashMap<Key, Repeats>,
    by_age: BTreeMap<u64, Key>,
    next_seq: u64,
    /// Packets of flows that were pushed out before their last count was shown.
    forgotten: u64,
}

impl Fold {
    /// Counts a packet. `None`: it is the first of its kind, to be told at once.
    pub fn add(&mut self, key: &Key, time: Time, what: impl FnOnce() -> String) -> Option<&Repeats> {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.by_age.insert(seq, key.clone());
        if let Some(repeats) = self.flows.get_mut(key) {
            self.by_age.remove(&repeats.seq);
            repeats.seq = seq;
            repeats.count += 1;
            // Records of different CPUs may come in another order than they were made.
            repeats.first = repeats.first.min(time);
            repeats.last = repeats.last.max(time);
            // Looked up again: a borrow that is returned on one path would last over the other.
            return self.flows.get(key);
        }
        let repeats = Repeats {
            what: what(),
            count: 1,
            first: time,
            last: time,
            shown: 1,
            shown_at: time,
            seq,
        };
        self.flows.insert(key.clone(), repeats);
        self.forget_oldest();
        None
    }

    fn forget_oldest(&mut self) {
        while self.flows.len() > MAX_FLOWS {
            let Some((_, key)) = self.by_age.pop_first() else {
                return;
            };
            if let Some(repeats) = self.flows.remove(&key) {
                self.forgotten += repeats.count - repeats.shown;
            }
        }
    }

    /// The flow's count is on the screen.
    pub fn shown(&mut self, key: &Key, now: Time) {
        if let Some(repeats) = self.flows.get_mut(key) {
            repeats.shown = repeats.count;
            repeats.shown_at = now;
        }
    }

    /// The flows whose count has doubled since it was shown, not more than once a second each.
    pub fn due(&mut self, now: Time) -> Vec<(Key, Repeats)> {
        self.take(now, |repeats| {
            repeats.count >= 2 * repeats.shown && now.nanos_since(repeats.shown_at) >= COUNT_INTERVAL_NS
        })
    }

    /// The flows with repeats that were not shown, the most frequent first, and how many packets are beyond telling.
    pub fn rest(&mut self, now: Time) -> (Vec<(Key, Repeats)>, u64) {
        let mut rest = self.take(now, |repeats| repeats.count > repeats.shown);
        rest.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
        (rest, std::mem::take(&mut self.forgotten))
    }

    fn take(&mut self, now: Time, is_wanted: impl Fn(&Repeats) -> bool) -> Vec<(Key, Repeats)> {
        let wanted = self.flows.iter().filter(|(_, repeats)| is_wanted(repeats));
        let mut taken: Vec<_> = wanted
            .map(|(key, repeats)| (key.clone(), repeats.clone()))
            .collect();
        taken.sort_by_key(|(_, repeats)| repeats.first);
        for (key, _) in &taken {
            self.shown(key, now);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key {
            flow: number.to_string(),
            cause: "policy".into(),
        }
    }

    const fn seconds(count: u64) -> Time {
        Time(count * 1_000_000_000)
    }

    #[test]
    fn the_first_is_told_at_once_and_repeats_when_they_double() {
        let mut fold = Fold::default();
        assert_eq!(fold.add(&key(1), seconds(0), || "x".into()), None);
        assert_eq!(
            fold.add(&key(1), seconds(0), || "x".into())
                .map(|repeats| repeats.count),
            Some(2)
        );
        assert!(fold.due(seconds(0)).is_empty(), "less than a second ago");
        let due = fold.due(seconds(1));
        assert_eq!((due.len(), due[0].1.count), (1, 2));
        fold.add(&key(1), seconds(2), || "x".into());
        assert!(fold.due(seconds(9)).is_empty(), "three is not twice two");
        let (rest, forgotten) = fold.rest(seconds(9));
        assert_eq!((rest.len(), rest[0].1.count, forgotten), (1, 3, 0));
        assert!(fold.rest(seconds(9)).0.is_empty());
    }

    #[test]
    fn a_flood_of_flows_takes_bounded_memory() {
        let mut fold = Fold::default();
        fold.add(&key(0), seconds(0), String::new);
        fold.add(&key(0), seconds(0), String::new);
        for number in 1..20_000 {
            fold.add(&key(number), seconds(1), String::new);
        }
        assert_eq!((fold.flows.len(), fold.by_age.len()), (MAX_FLOWS, MAX_FLOWS));
        assert_eq!(fold.rest(seconds(2)).1, 1, "the repeat that was never shown");
    }
}
