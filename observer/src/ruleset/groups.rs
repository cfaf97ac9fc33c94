//! Counters that the kernel side compares at each drop, put together by what lies side by side: it reads 16 of them at once.
//!
//! x_tables gives a table's counters out one after the other (`xt_percpu_counter_alloc`, net/netfilter/x_tables.c); those of
//! nf_tables are allocated one by one, and mostly lie side by side all the same.

use std::collections::BTreeMap;

use observer_common::{GROUP_WORDS, Group, candidate};

use super::Counter;

const WORD_BYTES: u64 = 8;
const GROUP_BYTES: u64 = GROUP_WORDS as u64 * WORD_BYTES;

/// What a group's counters have in common: table, flags, and where the group begins.
type Key = (u32, u32, u64);

/// Groups, and what the kernel side's numbers mean.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// For the kernel side.
    pub groups: Vec<Group>,
    /// By the number that the kernel side gives a counter: its index among those that were put together.
    pub order: Vec<usize>,
}

impl Groups {
    /// Puts counters together, each with the index of its table if that is one of x_tables, else `NO_TABLE`.
    pub fn of(counters: &[(Counter, u32)]) -> Self {
        let mut near: BTreeMap<Key, BTreeMap<u32, usize>> = BTreeMap::new();
        let mut alone = Vec::new();
        for (index, (counter, table)) in counters.iter().enumerate() {
            let begin = counter.address & !(GROUP_BYTES - 1);
            let word = ((counter.address - begin) / WORD_BYTES) as u32;
            let is_near = !counter.plain
                && counter.address.is_multiple_of(WORD_BYTES)
                && word as usize <= GROUP_WORDS - 2;
            let group = is_near.then(|| near.entry((*table, flags(counter), begin)).or_default());
            match group {
                // Two rules may have the same counter, by its name: both are told to have moved then.
                Some(group) if !group.contains_key(&word) => {
                    group.insert(word, index);
                }
                _ => alone.push(index),
            }
        }
        let mut groups = Self::default();
        for ((table, flags, address), members) in near {
            let begins = members.keys().fold(0, |begins, word| begins | 1 << word);
            groups.add(
                Group {
                    address,
                    begins,
                    number: 0,
                    table,
                    flags,
                },
                members.into_values(),
            );
        }
        for index in alone {
            let (counter, table) = counters[index];
            let group = Group {
                address: counter.address,
                begins: 1,
                number: 0,
                table,
                flags: flags(&counter) | candidate::ALONE,
            };
            groups.add(group, [index]);
        }
        groups
    }

    fn add(&mut self, group: Group, members: impl IntoIterator<Item = usize>) {
        let number = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        self.groups.push(Group { number, ..group });
        self.order.extend(members);
    }
}

fn flags(counter: &Counter) -> u32 {
    let mut flags = 0;
    if counter.bytes_first {
        flags |= candidate::BYTES_FIRST;
    }
    if counter.plain {
        flags |= candidate::NOT_PER_CPU;
    }
    flags
}

#[cfg(test)]
mod tests {
    use observer_common::NO_TABLE;

    use super::*;

    const fn counter(address: u64) -> Counter {
        Counter {
            address,
            plain: false,
            bytes_first: false,
        }
    }

    #[test]
    fn what_lies_within_256_bytes_is_read_at_once_and_numbered_by_its_place() {
        let groups = Groups::of(&[(counter(0x1020), 0), (counter(0x1100), 0), (counter(0x1000), 0)]);
        let places: Vec<_> = groups
            .groups
            .iter()
            .map(|group| (group.address, group.begins, group.number))
            .collect();
        assert_eq!(places, [(0x1000, 0b1_0001, 0), (0x1100, 1, 2)]);
        assert_eq!(groups.order, [2, 0, 1]);
    }

    #[test]
    fn tables_and_layouts_are_not_mixed() {
        let other = Counter {
            bytes_first: true,
            ..counter(0x1020)
        };
        let groups = Groups::of(&[(counter(0x1000), 0), (counter(0x1010), 1), (other, NO_TABLE)]);
        assert_eq!(groups.groups.len(), 3);
    }

    #[test]
    fn nothing_is_read_beyond_a_page_and_nothing_is_left_out() {
        let last = counter(0x10f8);
        let plain = Counter {
            plain: true,
            ..counter(0x1000)
        };
        let groups = Groups::of(&[(last, 0), (plain, 0), (counter(0x1000), 0), (counter(0x1000), 0)]);
        let alone = groups
            .groups
            .iter()
            .filter(|group| group.flags & candidate::ALONE != 0);
        let alone: Vec<_> = alone.map(|group| (group.address, group.begins)).collect();
        assert_eq!(alone, [(0x10f8, 1), (0x1000, 1), (0x1000, 1)]);
        assert_eq!(
            groups.order,
            [2, 0, 1, 3],
            "a counter of two rules is there twice"
        );
    }
}
