//! A namespace whose table is replaced while it is read.

use std::cell::Cell;

use super::*;
use crate::kernel::Dump;
use crate::ruleset::xtables::tests::{LAYOUT, PRIVATE, TABLE, filter_in_memory};

const NET: u64 = 0x80_0000;
const HOOKS: u64 = 0x100;
const INPUT: u64 = 1;
const LIST: u64 = 0x90_0000;
const IPT_DO_TABLE: u64 = 0xffff_ffff_8100_0000;
/// What the table holds once it is replaced.
const REPLACED: u64 = PRIVATE + 0x10_0000;

fn layout() -> Layout {
    Layout {
        net: Some(NetLayout {
            list: 0,
            inum: 0,
            ops: None,
            hooks: HOOKS,
            hooks_bridge: None,
            hooks_arp: None,
            devices: None,
            generic: None,
            entries: 8,
            priority: None,
            nat_entries: 0,
        }),
        xtables: Some(LAYOUT),
        nft: None,
    }
}

/// A namespace with one hook, which calls the table.
fn memory() -> Dump {
    let mut dump = filter_in_memory();
    dump.put(NET, &[0; 0x200]);
    dump.put_u64(NET + HOOKS + 8 * INPUT, LIST);
    dump.put(LIST, &[0; 64]);
    dump.put(LIST, &1_u16.to_ne_bytes());
    dump.put_u64(LIST + 8, IPT_DO_TABLE);
    dump.put_u64(LIST + 16, TABLE);
    dump
}

fn source<'a, R>(memory: &'a R, symbols: &'a Symbols, layout: &'a Layout) -> Source<'a, R> {
    Source {
        memory,
        symbols,
        layout,
        nft_net_id: None,
        one_cpu: false,
        nft_frees: false,
    }
}

/// Memory in which the table is replaced while its rules are read: what they lay in is gone. From the next reading on it is `after`.
struct Replacing<'a> {
    before: &'a Dump,
    after: &'a Dump,
    reads: Cell<usize>,
}

impl Reader for Replacing<'_> {
    fn read_into(&self, address: u64, to: &mut [u8]) -> bool {
        if address == PRIVATE + LAYOUT.entries {
            self.reads.set(self.reads.get() + 1);
            return false;
        }
        let dump = if self.reads.get() == 0 {
            self.before
        } else {
            self.after
        };
        dump.read_into(address, to)
    }
}

#[test]
fn a_table_that_is_replaced_while_it_is_read_is_read_again() {
    let symbols = Symbols::parse(&format!("{IPT_DO_TABLE:x} t ipt_do_table\n"));
    let layout = layout();
    let before = memory();
    let mut after = memory();
    let held = before.bytes(PRIVATE, 64).expect("was put");
    let len = before.u32(PRIVATE + LAYOUT.size).expect("was put");
    let entries = before
        .bytes(PRIVATE + LAYOUT.entries, len as usize)
        .expect("was put");
    after.put(REPLACED, &held);
    after.put(REPLACED + LAYOUT.entries, &entries);
    after.put_u64(TABLE + LAYOUT.private, REPLACED);
    let memory = Replacing {
        before: &before,
        after: &after,
        reads: Cell::new(0),
    };
    let read = Snapshot::read(&source(&memory, &symbols, &layout), NET).expect("stands still again");
    assert_eq!(memory.reads.get(), 1, "it was replaced while it was read");
    assert_eq!(read.tables.len(), 1, "and was read again");
}

#[test]
fn a_table_that_cannot_be_read_is_looked_at_again_once_it_is_replaced() {
    let symbols = Symbols::parse(&format!("{IPT_DO_TABLE:x} t ipt_do_table\n"));
    let layout = layout();
    let mut memory = memory();
    // No table is so large.
    memory.put_u32(PRIVATE + LAYOUT.size, u32::MAX);
    let read = Snapshot::read(&source(&memory, &symbols, &layout), NET).expect("the rest is read");
    assert!(read.tables.is_empty());
    assert!(
        !read.is_stale(&source(&memory, &symbols, &layout)),
        "until it is replaced"
    );
    memory.put_u64(TABLE + LAYOUT.private, REPLACED);
    assert!(read.is_stale(&source(&memory, &symbols, &layout)));
}
