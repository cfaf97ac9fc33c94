//! What is said of drops that were only counted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use observer_common::Fold;

use super::line::Teller;
use crate::kernel::Symbols;
use crate::report::record::{Event, Line, Lost, LostFlow, Netns, Proto, Time};

/// So many flows are named in a line.
const FLOWS: usize = 8;

/// What lines have told of.
#[derive(Debug)]
pub(super) struct Told {
    /// So many drops.
    pub(super) count: u64,
    /// Until then.
    until: Time,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            count: 0,
            until: Time::now(),
        }
    }
}

impl Told {
    /// There is nothing to be told.
    pub(super) fn nothing(&mut self) {
        self.until = Time::now();
    }

    /// Of `count` drops so far those that no line has told of; `folds`: of which flows, as far as that is known.
    pub(super) fn lost(
        &mut self,
        count: u64,
        folds: &[Fold],
        teller: &mut Teller,
        symbols: &Symbols,
    ) -> Lost {
        let flows = most(folds);
        let lost = Lost {
            count: count.saturating_sub(self.count),
            since: Some(self.until),
            place: "flood".to_owned(),
            flow_count: Some(flows.len() as u64),
            flows: flows
                .iter()
                .take(FLOWS)
                .map(|fold| named(fold, teller, symbols))
                .collect(),
        };
        self.count = count;
        self.until = Time::now();
        lost
    }
}

/// The line.
pub(super) fn line(lost: Lost, teller: &Teller) -> Line {
    Line::new(Time::now(), teller.node.clone(), Event::Lost(lost))
}

/// The flows over all processors, those of which the most was counted first.
fn most(folds: &[Fold]) -> Vec<Fold> {
    let mut all: BTreeMap<_, Fold> = BTreeMap::new();
    for fold in folds {
        let key = fold.key;
        let of = (key.inode, key.src, key.dst, key.proto, key.reason, key.location);
        let sum = all.entry(of).or_insert(Fold { count: 0, ..*fold });
        sum.count = sum.count.saturating_add(fold.count);
    }
    let mut all: Vec<Fold> = all.into_values().collect();
    all.sort_by_key(|fold| Reverse(fold.count));
    all
}

fn named(fold: &Fold, teller: &mut Teller, symbols: &Symbols) -> LostFlow {
    let key = fold.key;
    LostFlow {
        netns: Netns {
            inode: key.inode,
            name: teller.names.name(key.inode),
        },
        proto: Proto(u8::try_from(key.proto).unwrap_or(u8::MAX)),
        src: address(key.src),
        dst: address(key.dst),
        reason: (key.reason != 0).then(|| teller.reasons.name(key.reason)),
        symbol: symbols.of(key.location).map(|symbol| symbol.name.to_owned()),
        count: fold.count,
    }
}

/// Two words in memory order, IPv4 mapped.
fn address(words: [u64; 2]) -> IpAddr {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use observer_common::FoldKey;

    use super::*;

    #[test]
    fn flows_are_added_up_over_processors_and_the_largest_comes_first() {
        let of = |proto, count| Fold {
            key: FoldKey {
                proto,
                ..FoldKey::default()
            },
            count,
            ..Fold::default()
        };
        let all = most(&[of(6, 4), of(17, 5), of(6, 3), of(1, u64::MAX), of(1, 1)]);
        let told: Vec<_> = all.iter().map(|fold| (fold.key.proto, fold.count)).collect();
        assert_eq!(told, [(1, u64::MAX), (6, 7), (17, 5)]);
    }

    #[test]
    fn addresses_are_what_they_were() {
        let v4 = [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, 10, 0, 0, 1])];
        assert_eq!(address(v4), IpAddr::from([10, 0, 0, 1]));
        let v6 = [
            u64::from_ne_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0]),
            u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        assert_eq!(address(v6).to_string(), "2001:db8::1");
    }
}
