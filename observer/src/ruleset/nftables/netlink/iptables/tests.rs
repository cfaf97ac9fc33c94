//! What the kernel sent of tables of iptables-nft, and what iptables-nft-save prints of the same.

use super::super::tests::{Named, sent};
use super::*;
use crate::kernel::netlink::{Attributes, Batch, messages};

/// What the kernel (6.18, x86_64) sent of `tests-data/saved/told-nft.*.save`; `observer-lab nft-netlink --record` writes it.
#[cfg(target_endian = "little")]
const SENT: [(Family, &[u8], &str); 2] = [
    (
        Family::Ip,
        include_bytes!("../../../../../tests-data/nft/told.v4.netlink"),
        include_str!("../../../../../tests-data/saved/told-nft.v4.save"),
    ),
    (
        Family::Ip6,
        include_bytes!("../../../../../tests-data/nft/told.v6.netlink"),
        include_str!("../../../../../tests-data/saved/told-nft.v6.save"),
    ),
];
/// As the machine names them that this was recorded on.
const PROTOCOLS: &str =
    "icmp 1\nigmp 2\ntcp 6\nudp 17\nipv6-frag 44\ngre 47\nipv6-icmp 58\nipip 94\nipcomp 108";

/// The sets of the namespace that this was recorded in.
struct Sets;

impl SetNames for Sets {
    fn name(&mut self, number: u16) -> Option<String> {
        ["a", "b"].get(usize::from(number)).map(|name| (*name).to_owned())
    }
}

fn read(family: Family, bytes: &[u8]) -> OfIptables {
    let mut collector = Collector {
        protocols: Protocols::read(PROTOCOLS),
        sets: Box::new(Sets),
        ..Collector::of(family, As::Rules { has_counters: false })
    };
    messages(bytes).for_each(|message| _ = collector.take(&message));
    collector.finish()
}

#[test]
#[cfg(target_endian = "little")]
fn every_rule_is_put_together_as_the_tool_prints_it_and_means_the_same() {
    for (family, sent, saved) in SENT {
        let ours = read(family, sent);
        assert_eq!(ours.not_told, Vec::new());
        let theirs = save::parse(saved).expect("parses");
        let theirs: Vec<_> = theirs.into_tables().collect();
        for (our, their) in ours.tables.iter().zip(&theirs) {
            let (text, printed) = (our.to_string(), their.to_string());
            for (our, their) in text.lines().zip(printed.lines()) {
                assert_eq!(our, their);
            }
            assert_eq!(our, their);
        }
        assert_eq!(ours.tables.len(), theirs.len());
    }
}

#[test]
#[cfg(target_endian = "little")]
fn bytes_cut_or_changed_anywhere_do_not_make_it_panic() {
    for (family, sent, _) in SENT {
        for at in (0..sent.len()).step_by(97) {
            read(family, &sent[..at]);
            let mut changed = sent.to_vec();
            changed[at] ^= 0xff;
            read(family, &changed);
        }
    }
}

const OF_IP: [u8; 4] = [2, 0, 0, 0];

/// Table filter with a chain and one rule of these expressions.
fn told(expressions: &[Named<'_>]) -> OfIptables {
    read(Family::Ip, sent("filter", "mine", expressions).bytes())
}

fn protocol(attributes: &mut Attributes<'_>) {
    attributes.be32(1, 8);
    attributes.be32(2, 16);
}

fn is_tcp(attributes: &mut Attributes<'_>) {
    attributes.be32(1, 8);
    attributes.be32(2, 0);
    attributes.nest(3, |data| data.bytes(1, &[6]));
}

fn drops(attributes: &mut Attributes<'_>) {
    attributes.be32(1, 0);
    attributes.nest(2, |data| data.nest(2, |verdict| verdict.be32(1, 0)));
}

#[test]
fn a_rule_that_nft_wrote_as_iptables_would_is_told() {
    let of = told(&[
        ("meta", &protocol),
        ("cmp", &is_tcp),
        ("counter", &|counter| {
            counter.bytes(1, &0_u64.to_be_bytes());
            counter.bytes(2, &0_u64.to_be_bytes());
        }),
        ("immediate", &drops),
    ]);
    let text = of.tables.first().expect("a table").to_string();
    assert!(text.contains("\n-A mine -p tcp -j DROP\n"), "{text}");
}

/// A condition that got lost would be a rule that matches too much.
#[test]
fn a_table_in_which_anything_is_not_known_is_left_to_the_tool() {
    let set: Named<'_> = ("lookup", &|lookup| {
        lookup.string(1, "blocked");
        lookup.be32(2, 8);
    });
    let cases: [&[Named<'_>]; 9] = [
        // A set, and what nothing is compared with.
        &[("meta", &protocol), set, ("immediate", &drops)],
        &[("meta", &protocol), ("immediate", &drops)],
        &[("meta", &protocol)],
        // Twice the same, of which the tool shows one; and twice a verdict.
        &[
            ("meta", &protocol),
            ("cmp", &is_tcp),
            ("meta", &protocol),
            ("cmp", &is_tcp),
        ],
        &[("immediate", &drops), ("immediate", &drops)],
        // What is asked behind the verdict.
        &[("immediate", &drops), ("meta", &protocol), ("cmp", &is_tcp)],
        // Another register than the one that was loaded.
        &[
            ("meta", &|meta| {
                meta.be32(1, 9);
                meta.be32(2, 16);
            }),
            ("cmp", &is_tcp),
        ],
        // An extension that there is not, and one of which less is there than it says.
        &[("match", &|found| {
            found.string(1, "geoip");
            found.be32(2, 0);
            found.bytes(3, &[0; 64]);
        })],
        &[("match", &|found| {
            found.string(1, "conntrack");
            found.be32(2, 3);
            found.bytes(3, &[0; 40]);
        })],
    ];
    for (index, case) in cases.iter().enumerate() {
        let of = told(case);
        assert!(of.tables.is_empty(), "{index}: {:?}", of.tables);
        let told = of.not_told.first().expect("a table");
        assert_eq!(told.1, "a rule of chain mine (handle 7)");
    }
}

#[test]
fn a_base_chain_that_iptables_does_not_make_is_left_to_the_tool() {
    let mut batch = Batch::default();
    batch.message(TABLE, 0, 0, &OF_IP, |table| table.string(1, "filter"));
    batch.message(CHAIN, 0, 0, &OF_IP, |chain| {
        chain.string(1, "filter");
        chain.string(3, "INPUT");
        chain.nest(4, |hook| {
            hook.be32(1, 1);
            hook.be32(2, 7);
        });
        chain.be32(5, 1);
        chain.string(7, "filter");
    });
    let of = read(Family::Ip, batch.bytes());
    assert_eq!(of.not_told, [("filter".to_owned(), "chain INPUT".to_owned())]);
}
