//! How often the kernel's memory is asked for: not once for each rule.

use std::cell::Cell;

use super::*;
use crate::kernel::Gathered;
use crate::ruleset::Rule;

/// Memory that counts what it costs to read it.
struct Counted<'a> {
    dump: &'a Dump,
    runs: Cell<usize>,
}

impl Reader for Counted<'_> {
    fn read_into(&self, address: u64, to: &mut [u8]) -> bool {
        self.runs.set(self.runs.get() + 1);
        self.dump.read_into(address, to)
    }

    fn gather(&self, pieces: &[(u64, usize)]) -> Gathered {
        self.runs.set(self.runs.get() + 1);
        self.dump.gather(pieces)
    }
}

/// Rules of an extension each, whose operations the kernel allocates for each rule.
fn rules(dump: &mut Dump, count: u64) -> Vec<Vec<u8>> {
    let original = ops("match");
    (0..count)
        .map(|index| {
            let at = BLOBS + 0x100_0000 + 0x100 * index;
            dump.put(at, &dump.bytes(original, 0x80).expect("was put"));
            let mut extension = expr("match", &[NAMES + 32]);
            extension[..8].copy_from_slice(&at.to_ne_bytes());
            rule(index + 1, &[extension, expr("counter", &[0x5000]), verdict(0, 0)])
        })
        .collect()
}

/// The rules of `FORWARD`, and in how many runs everything was read.
fn read_of(count: u64) -> (Vec<Rule>, usize) {
    let mut dump = memory(&[]);
    let rules = rules(&mut dump, count);
    put_chain(&mut dump, FORWARD, NAMES + 8, 1, 0, &rules);
    put_list(&mut dump, &[FORWARD, USER, GONE]);
    let counted = Counted {
        dump: &dump,
        runs: Cell::new(0),
    };
    let mut reading = reading(&counted);
    (
        reading.tables.remove(0).chains.remove(0).rules,
        counted.runs.get(),
    )
}

#[test]
fn five_hundred_rules_take_no_more_runs_than_two() {
    let (few, of_few) = read_of(2);
    let (many, of_many) = read_of(500);
    assert_eq!((few.len(), many.len()), (2, 500));
    assert!(
        many.iter()
            .all(|rule| rule.comment.as_deref() == Some("a comment")
                && rule.step == Step::Drop
                && rule.counter.is_some())
    );
    assert_eq!(of_many, of_few, "each rule has operations of its own");
}
