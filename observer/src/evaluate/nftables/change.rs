//! What differs between a packet before and after a rule.

use std::fmt::{Debug, Display};

use super::packet::{Bits, Packet};
use super::path::{Change, Place};

/// What a rule changed.
pub(super) fn changes(place: Place, before: &Packet, after: &Packet) -> Vec<Change> {
    if before == after {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let mut add = |field, from: String, to: String| {
        if from != to {
            changes.push(Change {
                place,
                field,
                from,
                to,
            });
        }
    };
    add("saddr", shown(before.source), shown(after.source));
    add("daddr", shown(before.destination), shown(after.destination));
    add("sport", shown(before.sport), shown(after.sport));
    add("dport", shown(before.dport), shown(after.dport));
    add("mark", bits(before.mark), bits(after.mark));
    add(
        "ct mark",
        bits(before.connection.mark),
        bits(after.connection.mark),
    );
    add("ttl", shown(before.ttl), shown(after.ttl));
    add("dscp", shown(before.dscp), shown(after.dscp));
    add(
        "ct state",
        named(before.connection.state),
        named(after.connection.state),
    );
    changes
}

fn shown<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

fn named<T: Debug>(value: Option<T>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| format!("{value:?}").to_lowercase())
}

/// `0x4000`; of which only some bits are known: `0x4000 of 0xff00`.
pub(super) fn bits(bits: Bits) -> String {
    match bits.known() {
        u32::MAX => format!("{:#x}", bits.value()),
        0 => "?".to_owned(),
        known => format!("{:#x} of {known:#x}", bits.value()),
    }
}
