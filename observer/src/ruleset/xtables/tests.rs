//! A table as the kernel lays it out, put together by hand.

use std::rc::Rc;

use super::{Blob, Names, decode, is_same, read};
use crate::kernel::Dump;
use crate::report::record::{Hook, TableFamily};
use crate::ruleset::layout::XtLayout;
use crate::ruleset::{Policy, Step, Table};

/// Pointers that stand for the kernel's structures.
const STANDARD: u64 = 0x100;
const ERROR: u64 = 0x200;
const REJECT: u64 = 0x300;
const COMMENT: u64 = 0x400;
const NFQUEUE: u64 = 0x500;
const LOG: u64 = 0x600;

const ACCEPT: i32 = -2;
const DROP: i32 = -1;
const RETURN: i32 = -5;
const NONE: u32 = u32::MAX;
/// `sizeof(struct ipt_entry)`, `sizeof(struct ip6t_entry)`
const IPT: usize = 112;
const IP6T: usize = 168;

struct Kernel;

impl Names for Kernel {
    fn target(&mut self, address: u64) -> Option<Rc<str>> {
        let name = match address {
            STANDARD => "",
            ERROR => "ERROR",
            REJECT => "REJECT",
            NFQUEUE => "NFQUEUE",
            LOG => "LOG",
            _ => return None,
        };
        Some(name.into())
    }

    fn matching(&mut self, address: u64) -> Option<Rc<str>> {
        (address == COMMENT).then(|| "comment".into())
    }
}

struct Builder {
    bytes: Vec<u8>,
    family: TableFamily,
    rules: u64,
}

impl Builder {
    fn new(family: TableFamily) -> Self {
        Self {
            bytes: Vec::new(),
            family,
            rules: 0,
        }
    }

    /// Adds an entry and returns its offset.
    fn entry(&mut self, target: u64, data: &[u8], comment: Option<&str>, goto: bool) -> u32 {
        let (head, flags, mask, target_offset) = if self.family == TableFamily::Ip6 {
            (IP6T, 131, 4, 140)
        } else {
            (IPT, 82, 2, 88)
        };
        let at = self.bytes.len();
        let mut entry = vec![0; head];
        if let Some(text) = comment {
            let mut matching = vec![0; 32 + 256];
            matching[..2].copy_from_slice(&288_u16.to_ne_bytes());
            matching[8..16].copy_from_slice(&COMMENT.to_ne_bytes());
            matching[32..32 + text.len()].copy_from_slice(text.as_bytes());
            entry.extend(matching);
        }
        let target_at = entry.len();
        let mut body = vec![0; 32];
        body[8..16].copy_from_slice(&target.to_ne_bytes());
        body.extend(data);
        body.resize(body.len().next_multiple_of(8), 0);
        entry.extend(body);
        let len = entry.len() as u16;
        entry[target_offset..target_offset + 2].copy_from_slice(&(target_at as u16).to_ne_bytes());
        entry[target_offset + 2..target_offset + 4].copy_from_slice(&len.to_ne_bytes());
        entry[head - 16..head - 8].copy_from_slice(&(0x1000 + 16 * self.rules).to_ne_bytes());
        entry[flags] = if goto { mask } else { 0 };
        self.rules += 1;
        self.bytes.extend(entry);
        at as u32
    }

    fn verdict(&mut self, verdict: i32) -> u32 {
        self.entry(STANDARD, &verdict.to_ne_bytes(), None, false)
    }

    fn jump(&mut self, to: u32, goto: bool) -> u32 {
        self.entry(STANDARD, &to.cast_signed().to_ne_bytes(), None, goto)
    }

    fn name(&mut self, name: &str) -> u32 {
        let mut data = [0; 32];
        data[..name.len()].copy_from_slice(name.as_bytes());
        self.entry(ERROR, &data, None, false)
    }

    fn blob(self, hook_entry: [u32; 5], underflow: [u32; 5]) -> Blob {
        Blob {
            bytes: self.bytes,
            hook_entry,
            underflow,
            address: 0xffff_8880_0000_0000,
            family: self.family,
            one_cpu: false,
        }
    }
}

/// INPUT: policy ACCEPT. FORWARD: DROP "no echo, please", jump USER, goto USER, LOG; policy DROP.
/// USER: REJECT, NFQUEUE.
fn blob(family: TableFamily) -> Blob {
    // Jumps lead to where USER begins, which is known only once it is laid out: lay it out twice.
    let lay = |user: u32| {
        let mut builder = Builder::new(family);
        let input = builder.verdict(ACCEPT);
        let forward = builder.entry(STANDARD, &DROP.to_ne_bytes(), Some("no echo, please"), false);
        builder.jump(user, false);
        builder.jump(user, true);
        builder.entry(LOG, &[0; 40], None, false);
        let policy = builder.verdict(DROP);
        builder.name("USER");
        let first = builder.entry(REJECT, &[0; 8], None, false);
        builder.entry(NFQUEUE, &[0; 8], None, false);
        builder.verdict(RETURN);
        builder.name("ERROR");
        let blob = builder.blob(
            [NONE, input, forward, NONE, NONE],
            [NONE, input, policy, NONE, NONE],
        );
        (blob, first)
    };
    let (_, user) = lay(0);
    lay(user).0
}

fn decoded(blob: &Blob) -> Option<Table> {
    decode("filter", blob, &mut Kernel)
}

#[test]
fn chains_rules_and_policies_are_told_apart() {
    for family in [TableFamily::Ip, TableFamily::Ip6] {
        let table = decoded(&blob(family)).expect("decodes");
        let names: Vec<&str> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
        assert_eq!(names, ["INPUT", "FORWARD", "USER"]);
        let base = |chain: usize| {
            table.chains[chain]
                .base
                .as_ref()
                .map(|base| (base.hook, base.policy))
        };
        assert_eq!(base(0), Some((Hook::Input, Policy::Accept)));
        assert_eq!(base(1), Some((Hook::Forward, Policy::Drop)));
        assert_eq!(base(2), None);
        let steps = |chain: usize| {
            table.chains[chain]
                .rules
                .iter()
                .map(|rule| rule.step)
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(0), []);
        assert_eq!(
            steps(1),
            [Step::Drop, Step::Jump(2), Step::Goto(2), Step::Continue]
        );
        assert_eq!(steps(2), [Step::Drop, Step::MayDrop]);
        assert_eq!(
            table.chains[1].rules[0].comment.as_deref(),
            Some("no echo, please")
        );
        assert_eq!(table.chains[2].rules[0].target.as_deref(), Some("REJECT"));
    }
}

#[test]
fn every_rule_and_policy_has_its_own_counter() {
    let table = decoded(&blob(TableFamily::Ip)).expect("decodes");
    let counter = |chain: usize, rule: usize| {
        table.chains[chain].rules[rule]
            .counter
            .map(|counter| counter.address)
    };
    assert_eq!(counter(1, 0), Some(0x1010));
    assert_eq!(counter(1, 1), Some(0x1020));
    assert_eq!(
        counter(2, 0),
        Some(0x1070),
        "the entry with the chain's name has a counter, too"
    );
    let policy = table.chains[1].base.as_ref().and_then(|base| base.counter);
    assert_eq!(policy.map(|counter| counter.address), Some(0x1050));
}

#[test]
fn with_one_cpu_the_counters_lie_in_the_entries() {
    let mut blob = blob(TableFamily::Ip);
    blob.one_cpu = true;
    let table = decoded(&blob).expect("decodes");
    let counter = table.chains[1].rules[0].counter.expect("counter");
    assert!(counter.plain);
    assert_eq!(counter.address, blob.address + u64::from(blob.hook_entry[2]) + 96);
}

#[test]
fn the_hash_is_of_the_rules_and_not_of_their_counters() {
    let before = decoded(&blob(TableFamily::Ip)).expect("decodes").hash;
    let mut counted = blob(TableFamily::Ip);
    let at = counted.hook_entry[2] as usize + 96;
    counted.bytes[at..at + 8].copy_from_slice(&0x9999_u64.to_ne_bytes());
    assert_eq!(decoded(&counted).expect("decodes").hash, before);
    let mut changed = blob(TableFamily::Ip);
    changed.bytes[counted.hook_entry[2] as usize] ^= 1;
    assert_ne!(decoded(&changed).expect("decodes").hash, before);
}

#[test]
fn a_table_that_does_not_hold_together_is_refused_or_harmless() {
    let whole = blob(TableFamily::Ip);
    for len in 0..whole.bytes.len() {
        let mut cut = blob(TableFamily::Ip);
        cut.bytes.truncate(len);
        assert!(decoded(&cut).is_none(), "cut at {len}");
    }
    for at in 0..whole.bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut broken = blob(TableFamily::Ip);
            broken.bytes[at] = value;
            decoded(&broken);
        }
    }
}

/// Where the parts of a table lie in [`in_memory`].
pub(in crate::ruleset) const LAYOUT: XtLayout = XtLayout {
    private: 8,
    name: 64,
    size: 0,
    hook_entry: 8,
    underflow: 28,
    stacksize: 48,
    jumpstack: 56,
    entries: 64,
    target_name: 0x10,
    match_name: 0x10,
};
pub(in crate::ruleset) const TABLE: u64 = 0x10_0000;
pub(in crate::ruleset) const PRIVATE: u64 = 0x20_0000;

/// A kernel with a table `filter` of IPv4.
pub(in crate::ruleset) fn filter_in_memory() -> Dump {
    in_memory(&blob(TableFamily::Ip))
}

/// A kernel with this table.
fn in_memory(blob: &Blob) -> Dump {
    let mut dump = Dump::default();
    dump.put(TABLE, &[0; 128]);
    dump.put(TABLE + LAYOUT.name, b"filter");
    dump.put_u64(TABLE + LAYOUT.private, PRIVATE);
    dump.put(PRIVATE, &[0; 64]);
    dump.put_u32(PRIVATE + LAYOUT.size, blob.bytes.len() as u32);
    let words = |at: u64, words: [u32; 5]| (at, words.map(u32::to_ne_bytes).concat());
    for (at, bytes) in [
        words(LAYOUT.hook_entry, blob.hook_entry),
        words(LAYOUT.underflow, blob.underflow),
    ] {
        dump.put(PRIVATE + at, &bytes);
    }
    dump.put(PRIVATE + LAYOUT.entries, &blob.bytes);
    for (at, name) in [
        (STANDARD, ""),
        (ERROR, "ERROR"),
        (REJECT, "REJECT"),
        (COMMENT, "comment"),
        (NFQUEUE, "NFQUEUE"),
        (LOG, "LOG"),
    ] {
        dump.put(at + LAYOUT.target_name, &[0; 32]);
        dump.put(at + LAYOUT.target_name, name.as_bytes());
    }
    dump
}

#[test]
fn a_table_is_the_same_only_while_every_byte_and_every_name_is() {
    let blob = blob(TableFamily::Ip);
    let mut dump = in_memory(&blob);
    let (table, location) = read(&dump, &LAYOUT, TABLE, TableFamily::Ip, false).expect("a table");
    assert_eq!(Some(table.chains), decoded(&blob).map(|table| table.chains));
    let same = |dump: &Dump| is_same(dump, &LAYOUT, TABLE, &location);
    assert!(same(&dump));
    let mut changed = self::blob(TableFamily::Ip);
    for at in (0..blob.bytes.len()).step_by(3) {
        changed.bytes[at] ^= 1;
        assert!(!same(&in_memory(&changed)), "byte {at}");
        changed.bytes[at] ^= 1;
    }
    dump.put_u32(PRIVATE + LAYOUT.underflow + 8, 0);
    assert!(!same(&dump), "another policy");
    dump.put_u32(PRIVATE + LAYOUT.underflow + 8, blob.underflow[2]);
    dump.put(REJECT + LAYOUT.target_name, b"OTHER");
    assert!(!same(&dump), "another target where the old one was");
    dump.put(REJECT + LAYOUT.target_name, b"REJECT");
    assert!(same(&dump));
    dump.put_u64(TABLE + LAYOUT.private, PRIVATE + 8);
    assert!(!same(&dump), "replaced");
}
