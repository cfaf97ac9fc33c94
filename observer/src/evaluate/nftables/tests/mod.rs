//! The evaluator against rulesets that the real tool listed. `semantics.txt` is what `nft -a list ruleset` says of
//! `semantics.json`. The lab holds it against the kernel: `observer-lab nft-evaluate`.

mod gotos;
mod hostile;
mod kubernetes;
mod semantics;

use super::*;
use crate::ruleset::nftables::listing::Ruleset;

/// A TCP SYN that begins a connection and comes in by eth0.
pub(super) fn syn(source: &str, destination: &str, dport: u16) -> Packet {
    let tuple = Tuple {
        source: source.parse().ok(),
        destination: destination.parse().ok(),
        sport: Some(40_000),
        dport: Some(dport),
    };
    Packet {
        protocol: Some(6),
        source: tuple.source,
        destination: tuple.destination,
        sport: tuple.sport,
        dport: tuple.dport,
        tcp_flags: Some(2),
        length_bytes: Some(60),
        ttl: Some(64),
        later_fragment: Some(false),
        input: Device::Named("eth0".to_owned()),
        mark: Bits::exact(0),
        connection: Connection {
            state: Some(CtState::New),
            status: Bits::exact(0),
            mark: Bits::exact(0),
            direction: Some(Direction::Original),
            original: tuple,
            ..Connection::default()
        },
        ..Packet::default()
    }
}

pub(super) fn read(json: &str) -> Ruleset {
    Ruleset::read(json).expect("a ruleset")
}

/// The rules that a path surely matched, by their numbers in their chains: `base 1`.
fn matched(ruleset: &Ruleset, path: &Path) -> Vec<String> {
    let name = |step: &Step| {
        let chain = &ruleset.tables[step.place.table].chains[step.place.chain];
        match step.place.rule {
            Some(rule) => format!("{} {}", chain.name, rule + 1),
            None => format!("{} policy", chain.name),
        }
    };
    path.steps.iter().map(name).collect()
}
