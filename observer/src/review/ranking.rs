//! What is most frequent, in bounded memory.

use std::collections::HashMap;

use crate::report::record::Time;

/// A name is no longer than this, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// Counts packets by name. Where there are more names than room, those with the fewest packets are put together.
#[derive(Clone, Debug)]
pub struct Ranking {
    room: usize,
    counts: HashMap<String, Count>,
    others: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    packets: u64,
    first: Time,
    last: Time,
}

/// A name and its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The name.
    pub name: String,
    /// Packets; at the least so many, if some names were put together.
    pub packets: u64,
    /// When the first of them died.
    pub first: Time,
    /// When the last one did.
    pub last: Time,
}

impl Ranking {
    /// Room for so many names, two at the least.
    pub(super) fn with_room(room: usize) -> Self {
        Self {
            room: room.max(2),
            counts: HashMap::new(),
            others: 0,
        }
    }

    pub(super) fn add(&mut self, name: &str, packets: u64, time: Time) {
        let name = short(name);
        if let Some(count) = self.counts.get_mut(name) {
            count.packets = count.packets.saturating_add(packets);
            count.first = count.first.min(time);
            count.last = count.last.max(time);
            return;
        }
        if self.counts.len() >= self.room {
            self.put_together();
        }
        let count = Count {
            packets,
            first: time,
            last: time,
        };
        self.counts.insert(name.to_owned(), count);
    }

    /// The half with the fewest packets becomes one; so a flood of names that come once does not push out what is frequent.
    fn put_together(&mut self) {
        let mut packets: Vec<u64> = self.counts.values().map(|count| count.packets).collect();
        let middle = packets.len() / 2;
        let (_, median, above) = packets.select_nth_unstable(middle);
        // Of those with just as many as the middle one, only so many that half of the room is free.
        let mut ties = 1 + above.iter().filter(|packets| *packets == median).count();
        let median = *median;
        let others = &mut self.others;
        self.counts.retain(|_, count| {
            let is_tie = count.packets == median && ties > 0;
            ties -= usize::from(is_tie);
            let stays = is_tie || count.packets > median;
            if !stays {
                *others = others.saturating_add(count.packets);
            }
            stays
        });
    }

    /// The `most` frequent, the most frequent first; ties in the order of the alphabet.
    pub fn top(&self, most: usize) -> Vec<Ranked> {
        let mut all: Vec<Ranked> = self
            .counts
            .iter()
            .map(|(name, count)| Ranked {
                name: name.clone(),
                packets: count.packets,
                first: count.first,
                last: count.last,
            })
            .collect();
        all.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.name.cmp(&b.name)));
        all.truncate(most);
        all
    }

    /// How many names are told apart.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Packets of names that were put together.
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// As much of a name as is kept.
pub(super) fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}
