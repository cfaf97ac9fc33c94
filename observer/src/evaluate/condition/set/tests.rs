//! What a packet is told of sets, by the matches that iptables-save prints.

use std::net::IpAddr;

use super::super::super::packet::{Dev, Packet};
use super::super::super::truth::Truth::{self, No, Unknown, Yes};
use super::super::super::{near_misses, xtables};
use super::super::{Ask, Condition};
use crate::evaluate::{Bounds, Unknown as Nowhere};
use crate::report::record::Hook;
use crate::ruleset::ipset::{self, Sets};
use crate::ruleset::xtables::save;

/// Sets of each type, saved by ipset 7.17.
const TYPES: &str = include_str!("../../../../tests-data/ipset/types.save");

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn tcp(src: &str, dst: &str, dport: u16) -> Packet {
    Packet {
        is_v6: src.contains(':'),
        src: Some(addr(src)),
        dst: Some(addr(dst)),
        proto: Some(6),
        sport: Some(40_000),
        dport: Some(dport),
        is_fragment: Some(false),
        ..Packet::default()
    }
}

fn icmp(src: &str, kind: u8, code: u8) -> Packet {
    Packet {
        proto: Some(if src.contains(':') { 58 } else { 1 }),
        sport: None,
        dport: None,
        icmp_type: Some(kind),
        icmp_code: Some(code),
        ..tcp(src, src, 0)
    }
}

/// The condition of a rule's only match.
fn condition(sets: &str, words: &str, more: &str) -> Condition {
    let text = format!("*filter\n:FORWARD DROP\n-A FORWARD -m set {words} -j ACCEPT\n{more}COMMIT\n");
    let saved: Vec<_> = save::parse(&text).expect("rules").into_tables().collect();
    let mut known = Sets::default();
    known.add(ipset::parse(sets).expect("sets"));
    known.changed_by(&saved);
    xtables::table(&saved[0], &known).chains[0].rules[0].conditions[0].clone()
}

fn asked_of(sets: &str, words: &str, packet: &Packet) -> Truth {
    condition(sets, words, "").holds(packet)
}

fn asked(words: &str, packet: &Packet) -> Truth {
    asked_of(TYPES, words, packet)
}

#[test]
fn the_longest_prefix_decides_and_nomatch_is_none() {
    let of = |src| tcp(src, "192.0.2.1", 80);
    for (words, inside, hole, within, outside) in [
        ("--match-set net src", Yes, No, Yes, No),
        ("! --match-set net src", No, Yes, No, Yes),
        ("--match-set net src --return-nomatch", No, Yes, No, No),
        ("! --match-set net src --return-nomatch", Yes, No, Yes, Yes),
    ] {
        let found = ["10.9.9.9", "10.1.9.9", "10.1.2.3", "11.0.0.1"].map(|src| asked(words, &of(src)));
        assert_eq!(found, [inside, hole, within, outside], "{words}");
    }
}

#[test]
fn of_two_networks_the_first_is_the_longer_one_first() {
    let of = |src, dst| asked("--match-set net-net src,dst", &tcp(src, dst, 80));
    assert_eq!(of("10.1.0.1", "192.168.0.1"), No, "covered by nomatch");
    assert_eq!(of("10.1.0.1", "192.168.1.1"), Yes);
    assert_eq!(of("10.2.0.1", "192.168.0.1"), Yes);
    assert_eq!(of("192.168.0.1", "10.2.0.1"), No);
    let three = |src, dst, port| asked("--match-set ip-port-net src,dst,dst", &tcp(src, dst, port));
    assert_eq!(three("10.0.0.1", "10.1.9.9", 80), Yes);
    assert_eq!(three("10.0.0.1", "10.1.2.9", 80), No);
    assert_eq!(three("10.0.0.1", "10.1.9.9", 81), No);
}

#[test]
fn types_and_codes_of_icmp_and_protocols_without_ports_are_ports() {
    for (packet, holds) in [
        (icmp("10.0.0.1", 8, 0), Yes),
        (icmp("10.0.0.1", 3, 1), Yes),
        (icmp("10.0.0.1", 99, 9), Yes),
        (icmp("10.0.0.1", 8, 1), No),
        (icmp("10.0.0.2", 8, 0), No),
    ] {
        assert_eq!(asked("--match-set ip-port src,src", &packet), holds, "{packet:?}");
    }
    let of = |proto| Packet {
        proto: Some(proto),
        sport: None,
        dport: None,
        ..tcp("10.0.0.1", "10.0.0.1", 0)
    };
    assert_eq!(asked("--match-set ip-port src,dst", &of(47)), Yes);
    assert_eq!(asked("--match-set ip-port src,dst", &of(253)), Yes);
    assert_eq!(asked("--match-set ip-port src,dst", &of(50)), No);
    let echo = icmp("fd00::1", 128, 0);
    assert_eq!(asked("--match-set ip6-port src,src", &echo), Yes);
    // A bitmap has ports of TCP and UDP only.
    assert_eq!(
        asked("--match-set bits-port dst", &tcp("10.0.0.1", "10.0.0.2", 80)),
        Yes
    );
    let sctp = Packet {
        proto: Some(132),
        ..tcp("10.0.0.1", "10.0.0.2", 80)
    };
    assert_eq!(asked("--match-set bits-port dst", &sctp), No);
}

/// Not so of `-m tcp ! --dport`: there a fragment never matches.
#[test]
fn a_fragment_is_in_no_set_of_ports_so_that_the_opposite_matches() {
    let fragment = Packet {
        is_fragment: Some(true),
        sport: None,
        dport: None,
        ..tcp("10.0.0.1", "10.0.0.1", 0)
    };
    assert_eq!(asked("--match-set ip-port src,dst", &fragment), No);
    assert_eq!(asked("! --match-set ip-port src,dst", &fragment), Yes);
    let perhaps = Packet {
        is_fragment: None,
        ..tcp("10.0.0.1", "10.0.0.2", 80)
    };
    assert_eq!(asked("--match-set ip-port src,dst", &perhaps), Unknown);
}

#[test]
fn fewer_directions_than_parts_never_match_and_more_do() {
    let packet = tcp("10.0.0.1", "10.0.0.2", 80);
    assert_eq!(asked("--match-set ip-port src", &packet), No);
    assert_eq!(asked("! --match-set ip-port src", &packet), Yes);
    assert_eq!(asked("--match-set ip src,dst,dst", &packet), Yes);
}

#[test]
fn what_is_not_known_of_a_packet_matters_only_where_a_member_may_fit() {
    let without_port = |src| Packet {
        sport: None,
        dport: None,
        ..tcp(src, "10.0.0.2", 0)
    };
    assert_eq!(
        asked("--match-set ip-port src,dst", &without_port("10.0.0.1")),
        Unknown
    );
    assert_eq!(
        asked("--match-set ip-port src,dst", &without_port("10.0.0.9")),
        No
    );
    let nobody = Packet {
        src: None,
        ..tcp("10.0.0.1", "10.0.0.2", 80)
    };
    assert_eq!(asked("--match-set net src", &nobody), Unknown);
    assert_eq!(asked("--match-set net src", &tcp("fd00::1", "fd00::2", 80)), No);
    let mark = |mark| Packet {
        mark,
        ..tcp("10.0.0.1", "10.0.0.2", 80)
    };
    assert_eq!(
        asked("--match-set ip-mark src,src", &mark(Some(0x3412_1234))),
        Yes
    );
    assert_eq!(asked("--match-set ip-mark src,src", &mark(Some(0x1334))), No);
    assert_eq!(asked("--match-set ip-mark src,src", &mark(None)), Unknown);
}

#[test]
fn link_layer_addresses_are_not_known_but_what_stands_beside_them_is() {
    for (set, ends) in [("ip-mac", "src,src"), ("bits-mac", "src,src")] {
        let words = format!("--match-set {set} {ends}");
        assert_eq!(
            asked(&words, &tcp("10.0.0.1", "10.0.0.2", 80)),
            Unknown,
            "{words}"
        );
        assert_eq!(asked(&words, &tcp("10.0.0.77", "10.0.0.2", 80)), No, "{words}");
    }
    assert_eq!(
        asked("--match-set mac src", &tcp("10.0.0.1", "10.0.0.2", 80)),
        Unknown
    );
}

#[test]
fn addresses_are_masked_as_the_set_says() {
    let of = |dst| tcp("192.0.2.1", dst, 80);
    assert_eq!(asked("--match-set ip-mask dst", &of("10.0.1.200")), Yes);
    assert_eq!(asked("--match-set ip-mask dst", &of("10.0.2.200")), No);
    assert_eq!(asked("--match-set bits-mask dst", &of("10.0.1.200")), Yes);
    assert_eq!(asked("--match-set bits-mask dst", &of("10.0.0.200")), No);
}

/// `multi` in `mtype_test_cidrs`: 10.0.0.0/8 has a member, so that 0.0.0.0/0 is not tried any more.
#[test]
fn another_device_of_the_same_network_hides_shorter_prefixes() {
    let by = |src, device| Packet {
        in_dev: Dev::named(device),
        ..tcp(src, "192.0.2.1", 80)
    };
    let asked = |packet: &Packet| asked("--match-set net-iface src,src", packet);
    assert_eq!(asked(&by("11.0.0.1", "eth0")), Yes);
    assert_eq!(asked(&by("10.0.0.1", "eth1")), Yes);
    assert_eq!(asked(&by("10.0.0.1", "eth0")), No);
    assert_eq!(asked(&by("10.1.0.1", "cali123")), Yes);
    assert_eq!(asked(&by("10.1.0.1", "eth1")), No);
    assert_eq!(asked(&by("10.3.0.1", "eth0")), No);
    // Whether a member for a bridge's port hides them depends on the kernel's hash.
    assert_eq!(asked(&by("10.2.0.1", "eth1")), Unknown);
    assert_eq!(asked(&by("10.2.0.1", "eth7")), No);
    let of_host = Packet {
        in_dev: Dev::Absent,
        ..tcp("11.0.0.1", "192.0.2.1", 80)
    };
    assert_eq!(asked(&of_host), No);
    assert_eq!(asked(&tcp("11.0.0.1", "192.0.2.1", 80)), Unknown);
}

/// One that has gone by itself still hides shorter prefixes until it is cleared away, and no tool lists it.
#[test]
fn a_shorter_prefix_is_not_sure_where_members_go_by_themselves() {
    let sets = "create x hash:net,iface family inet timeout 9\nadd x 10.1.0.0/16,eth0 timeout 5\nadd x 10.0.0.0/8,eth1 timeout 5\n";
    let by = |src, device| {
        let packet = Packet {
            in_dev: Dev::named(device),
            ..tcp(src, "192.0.2.1", 80)
        };
        asked_of(sets, "--match-set x src,src", &packet)
    };
    assert_eq!(by("10.1.0.1", "eth0"), Yes);
    assert_eq!(by("10.2.0.1", "eth1"), Unknown);
    assert_eq!(by("11.0.0.1", "eth1"), No);
}

#[test]
fn a_list_has_what_one_of_its_sets_has() {
    let of = |src, dport| Packet {
        proto: Some(17),
        ..tcp(src, "192.0.2.1", dport)
    };
    assert_eq!(asked("--match-set list src,dst", &of("10.0.0.1", 80)), Yes);
    assert_eq!(asked("--match-set list src,dst", &of("10.7.7.7", 53)), Yes);
    assert_eq!(asked("--match-set list src,dst", &of("10.7.7.7", 80)), No);
    assert_eq!(
        asked("--match-set list src", &of("10.7.7.7", 53)),
        No,
        "too few directions for net-port"
    );
    let mixed = "create six hash:ip family inet6\ncreate l list:set size 8\nadd l six\n";
    assert_eq!(asked_of(mixed, "--match-set l src", &of("10.0.0.1", 80)), No);
    // A list whose set is not there cannot be looked through.
    let broken = "create l list:set size 8\nadd l gone\n";
    assert_eq!(
        asked_of(broken, "--match-set l src", &of("10.0.0.1", 80)),
        Unknown
    );
}

#[test]
fn counters_that_are_compared_are_not_known_but_who_is_not_in_the_set_is() {
    let words = "--match-set ip-mask src --packets-gt 5";
    assert_eq!(asked(words, &tcp("10.0.1.1", "192.0.2.1", 80)), Unknown);
    assert_eq!(asked(words, &tcp("10.0.2.1", "192.0.2.1", 80)), No);
    // Without counters nothing is compared.
    assert_eq!(
        asked(
            "--match-set ip src ! --packets-eq 5",
            &tcp("10.0.0.1", "192.0.2.1", 80)
        ),
        Yes
    );
    assert_eq!(
        asked(
            "--match-set ip src ! --update-counters",
            &tcp("10.0.0.1", "192.0.2.1", 80)
        ),
        Yes
    );
    let strange = condition(TYPES, "--match-set ip src --newer-option", "");
    assert!(matches!(strange.ask, Ask::Open(_)), "{strange:?}");
}

#[test]
fn a_set_that_rules_change_is_not_known() {
    let changed = |target: &str| {
        let more = format!("-A FORWARD -j SET {target}\n");
        condition(TYPES, "--match-set list src,dst", &more)
    };
    for target in ["--add-set net-port src,dst", "--del-set list src,dst"] {
        let Ask::Open(open) = changed(target).ask else {
            panic!("{target}");
        };
        assert!(!open.is_steady && open.why.contains("-j SET"), "{open:?}");
    }
    assert!(matches!(changed("--map-set net-port src,dst").ask, Ask::Set(_)));
    assert!(matches!(changed("--add-set mac src").ask, Ask::Set(_)));
}

#[test]
fn a_near_miss_says_which_set_and_what_the_packet_has() {
    let text = "*filter\n:FORWARD DROP\n-A FORWARD -m set --match-set ip src -j ACCEPT\n\
                -A FORWARD -m set --match-set ip-port dst,dst -j ACCEPT\n\
                -A FORWARD -m set ! --match-set net src -j ACCEPT\nCOMMIT\n";
    let saved: Vec<_> = save::parse(text).expect("rules").into_tables().collect();
    let mut sets = Sets::default();
    sets.add(ipset::parse(TYPES).expect("sets"));
    let table = xtables::table(&saved[0], &sets);
    let packet = tcp("10.0.0.3", "192.0.2.1", 80);
    let bounds = &mut Bounds::default();
    let found = near_misses(&table, Hook::Forward, (&packet, &[]), &Nowhere, bounds, 9);
    let mut texts: Vec<_> = found
        .iter()
        .map(|near| (near.misses[0].needs.as_str(), near.misses[0].has.as_deref()))
        .collect();
    texts.sort_unstable();
    assert_eq!(
        texts,
        [
            (
                "dst,dst in set ip-port (7 entries)",
                Some("192.0.2.1,tcp:80 is not in it")
            ),
            ("src in set ip (2 entries)", Some("10.0.0.3 is not in it")),
            ("src not in set net (3 entries)", Some("10.0.0.3 is in it")),
        ]
    );
}
