//! What the kernel says, read: records, symbols, types.

use std::hint::black_box;

use observer::capture::{Captured, decode};
use observer::kernel::{Symbols, Types};
use observer_common::{DropEvent, EventKind, flag};

use super::Job;

const RECORDS: usize = 1_000;
const FUNCTIONS: usize = 10_000;
const STRUCTURES: u32 = 5_000;

pub(super) fn jobs() -> Vec<Job> {
    let record = record();
    let (text, types) = (symbols(), types());
    vec![
        Job::new("1,000 records of drops decoded", move || {
            for _ in 0..RECORDS {
                black_box(decode(black_box(&record)));
            }
        }),
        Job::new("10,000 symbols read, 20 functions found", move || {
            let symbols = Symbols::parse(black_box(&text));
            for number in (0..FUNCTIONS).step_by(FUNCTIONS / 20) {
                assert!(symbols.range(&function(number)).is_some());
            }
        }),
        Job::new("5,000 structures of BTF read, 20 fields found", move || {
            let mut types = Types::parse(black_box(types.clone())).expect("types");
            for number in (0..STRUCTURES).step_by(STRUCTURES as usize / 20) {
                let field = format!("structure_{number}.second");
                assert_eq!(types.offset(None, &field), Some(4));
            }
        }),
    ]
}

/// A record that netfilter dropped, of zeros else.
pub(super) fn record() -> Vec<u8> {
    let mut bytes = vec![0; DropEvent::LEN_NETFILTER + 64 * size_of::<u64>()];
    bytes[..4].copy_from_slice(&(EventKind::Drop as u32).to_ne_bytes());
    let at = std::mem::offset_of!(DropEvent, flags);
    bytes[at..at + 4].copy_from_slice(&(flag::NETFILTER | flag::COMPARED).to_ne_bytes());
    assert!(
        matches!(decode(&bytes), Some(Captured::Drop(event)) if event.flags & flag::NETFILTER != 0),
        "the record is one of netfilter's"
    );
    bytes
}

fn function(number: usize) -> String {
    format!("function_number_{number}")
}

fn symbols() -> String {
    let line = |number: usize| {
        let address = 0xffff_ffff_8100_0000 + 64 * number as u64;
        format!(
            "{address:x} t {}.isra.0\n{:x} d data_{number}\n",
            function(number),
            address + (1 << 28)
        )
    };
    (0..FUNCTIONS).map(line).collect()
}

/// Structures of two numbers, each with a pointer to it: Documentation/bpf/btf.rst.
fn types() -> Vec<u8> {
    let mut names = b"\0int\0first\0second\0".to_vec();
    let (int, first, second) = (1, 5, 11);
    let mut words = vec![int, 1 << 24, 4, 32];
    for number in 0..STRUCTURES {
        let name = names.len() as u32;
        names.extend(format!("structure_{number}\0").bytes());
        let id = 2 + 2 * number;
        words.extend([name, 4 << 24 | 2, 8, first, 1, 0, second, 1, 32]);
        words.extend([0, 2 << 24, id]);
    }
    let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    let len = 4 * words.len() as u32;
    for word in [24, 0, len, len, names.len() as u32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    bytes.extend(names);
    bytes
}
