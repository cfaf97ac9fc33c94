//! A rule is it only in its own family's hook, on its own device, where its own machinery freed the packet.

use super::*;
use crate::ruleset::{HookDevice, HookFunction};

const CHAIN: u64 = 0xffff_8880_0000_1000;

/// One table of nf_tables with one base chain and one counted drop in it, on a device if it is one's.
fn one_rule(family: TableFamily, hook: Hook, device: Option<u32>) -> Snapshot {
    let mut chain = base(hook, Policy::Accept, vec![rule(Step::Drop)]);
    chain.address = CHAIN;
    let mut snapshot = snapshot();
    snapshot.tables = vec![Table {
        backend: Backend::Nft,
        family,
        name: "t".to_owned(),
        chains: vec![chain],
        hash: 0,
        address: 0,
    }];
    snapshot.places = vec![FORWARD_RULE];
    snapshot
        .hooks
        .functions
        .extend(device.map(|ifindex| HookFunction {
            hook,
            family: TableFamily::Netdev,
            device: Some(HookDevice {
                ifindex,
                name: format!("eth{ifindex}"),
            }),
            address: 0,
            name: "nft_do_chain_netdev".to_owned(),
            private: CHAIN,
            priority: Some(0),
            in_nat: false,
        }));
    snapshot
}

fn site(family: TableFamily, hook: Hook, function: &str) -> Site<'_> {
    Site {
        hook,
        family,
        bridged: false,
        function: Some(function),
    }
}

fn confidence(event: &DropEvent, snapshot: &Snapshot, site: Site<'_>) -> Confidence {
    decide(
        event,
        snapshot,
        Some(site),
        "nft_do_chain",
        &mut Pending::default(),
    )
    .confidence
}

#[test]
fn a_counted_rule_of_the_bridge_is_exact_in_the_bridge_s_hook_only() {
    let snapshot = one_rule(TableFamily::Bridge, Hook::Forward, None);
    let moved = event(&[(0, 1, 60)]);
    let bridge = site(TableFamily::Bridge, Hook::Forward, "nft_do_chain_bridge");
    assert_eq!(confidence(&moved, &snapshot, bridge), Confidence::Exact);
    let ip = site(TableFamily::Inet, Hook::Forward, "nft_do_chain_ipv4");
    assert_eq!(confidence(&moved, &snapshot, ip), Confidence::Unknown);
    let other = site(TableFamily::Bridge, Hook::Input, "nft_do_chain_bridge");
    assert_eq!(confidence(&moved, &snapshot, other), Confidence::Unknown);
}

#[test]
fn a_device_s_rule_is_not_it_on_another_device() {
    let snapshot = one_rule(TableFamily::Netdev, Hook::Ingress, Some(7));
    let ingress = site(TableFamily::Netdev, Hook::Ingress, "nft_do_chain_netdev");
    let mut moved = event(&[(0, 1, 60)]);
    moved.dev_ifindex = 7;
    assert_eq!(confidence(&moved, &snapshot, ingress), Confidence::Exact);
    moved.dev_ifindex = 8;
    assert_eq!(confidence(&moved, &snapshot, ingress), Confidence::Unknown);
}

#[test]
fn egress_counts_the_link_header_and_ingress_does_not() {
    let moved = event(&[(0, 1, 74)]);
    for (hook, expected) in [
        (Hook::Egress, Confidence::Exact),
        (Hook::Ingress, Confidence::Inferred),
    ] {
        let snapshot = one_rule(TableFamily::Netdev, hook, Some(7));
        let site = site(TableFamily::Netdev, hook, "nft_do_chain_netdev");
        assert_eq!(confidence(&moved, &snapshot, site), expected, "{hook:?}");
    }
}

#[test]
fn the_ingress_of_inet_is_told_from_the_device_s_own() {
    let snapshot = one_rule(TableFamily::Inet, Hook::Ingress, Some(7));
    let moved = event(&[(0, 1, 60)]);
    let inet = site(TableFamily::Netdev, Hook::Ingress, "nft_do_chain_inet_ingress");
    assert_eq!(confidence(&moved, &snapshot, inet), Confidence::Exact);
    let netdev = site(TableFamily::Netdev, Hook::Ingress, "nft_do_chain_netdev");
    assert_eq!(confidence(&moved, &snapshot, netdev), Confidence::Unknown);
}

#[test]
fn a_rule_of_ip_is_not_it_where_a_chain_of_inet_was_walked() {
    let snapshot = one_rule(TableFamily::Ip, Hook::Forward, None);
    let moved = event(&[(0, 1, 60)]);
    let ip = site(TableFamily::Inet, Hook::Forward, "nft_do_chain_ipv4");
    assert_eq!(confidence(&moved, &snapshot, ip), Confidence::Exact);
    let inet = site(TableFamily::Inet, Hook::Forward, "nft_do_chain_inet");
    assert_eq!(confidence(&moved, &snapshot, inet), Confidence::Unknown);
}

#[test]
fn what_the_hook_s_caller_freed_no_rule_dropped_where_nf_tables_frees_by_itself() {
    let moved = event(&[(0, 1, 60)]);
    for (nft_frees, expected) in [(false, Confidence::Exact), (true, Confidence::Unknown)] {
        let mut snapshot = one_rule(TableFamily::Ip, Hook::Forward, None);
        snapshot.nft_frees = nft_frees;
        let verdict = decide(
            &moved,
            &snapshot,
            inet(Hook::Forward),
            "nf_hook_slow",
            &mut Pending::default(),
        );
        assert_eq!(verdict.confidence, expected, "{nft_frees}");
    }
}

#[test]
fn the_only_rule_without_a_counter_is_inferred_and_one_of_two_is_not_named() {
    let mut snapshot = one_rule(TableFamily::Ip, Hook::Forward, None);
    snapshot.places.clear();
    snapshot.uncounted = vec![FORWARD_RULE];
    let site = site(TableFamily::Inet, Hook::Forward, "nft_do_chain_ipv4");
    let mut whole = event(&[]);
    functions::make_whole(&mut whole);
    let named = |event: &DropEvent, snapshot: &Snapshot| {
        let verdict = decide(
            event,
            snapshot,
            Some(site),
            "nft_do_chain",
            &mut Pending::default(),
        );
        (verdict.culprit, verdict.confidence)
    };
    let it = Culprit::Place(FORWARD_RULE);
    assert_eq!(named(&whole, &snapshot), (it, Confidence::Inferred));
    let candidates = Culprit::OneOf(vec![FORWARD_RULE]);
    assert_eq!(
        named(&event(&[]), &snapshot),
        (candidates, Confidence::Unknown),
        "a match of x_tables may have dropped it"
    );
    snapshot.uncounted.push(FORWARD_POLICY);
    assert_eq!(named(&whole, &snapshot).1, Confidence::Unknown);
}
