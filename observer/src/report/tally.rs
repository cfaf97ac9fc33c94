//! Counts drops by cause, in bounded memory.

use std::collections::HashMap;

use super::record::{CauseCount, CounterLine, DropInfo, Layer};
use super::words;

/// So many causes are told apart; the rest are counted together.
const MAX_CAUSES: usize = 256;

/// How many packets each cause has dropped.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: HashMap<(Layer, String), u64>,
    others: u64,
}

impl Tally {
    /// Counts one drop.
    pub fn add(&mut self, drop: &DropInfo) {
        self.add_words(drop.layer, words::cause(drop), 1);
    }

    /// Counts packets of which a counter tells.
    pub fn add_counted(&mut self, line: &CounterLine) {
        self.add_words(Layer::Netfilter, words::counter(&line.counter), line.packets);
    }

    pub(super) fn add_words(&mut self, layer: Layer, cause: String, packets: u64) {
        let is_room = self.counts.len() < MAX_CAUSES;
        match self.counts.get_mut(&(layer, cause.clone())) {
            Some(count) => *count = count.saturating_add(packets),
            None if is_room => {
                self.counts.insert((layer, cause), packets);
            }
            None => self.others = self.others.saturating_add(packets),
        }
    }

    /// The `most` frequent causes, the most frequent first; ties in the order of the alphabet.
    pub fn top(&self, most: usize) -> Vec<CauseCount> {
        let known = self.counts.iter().map(|((layer, text), count)| CauseCount {
            layer: *layer,
            text: text.clone(),
            count: *count,
        });
        let others = CauseCount {
            layer: Layer::Other,
            text: "all other causes".to_owned(),
            count: self.others,
        };
        let mut causes: Vec<CauseCount> = known.chain((self.others > 0).then_some(others)).collect();
        causes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        causes.truncate(most);
        causes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples;

    #[test]
    fn the_most_frequent_cause_comes_first() {
        let mut tally = Tally::default();
        tally.add(&samples::rule_drop().drop);
        for _ in 0..3 {
            tally.add(&samples::policy_drop().drop);
        }
        let top = tally.top(5);
        assert_eq!(top[0].text, "policy DROP of filter FORWARD");
        assert_eq!((top[0].count, top[1].count), (3, 1));
    }

    #[test]
    fn a_flood_of_causes_takes_bounded_memory() {
        let mut tally = Tally::default();
        for number in 0..10_000 {
            tally.add_words(Layer::Other, format!("cause {number}"), 1);
        }
        assert_eq!(tally.counts.len(), MAX_CAUSES);
        assert_eq!(tally.top(1)[0].count, 10_000 - MAX_CAUSES as u64);
    }
}
