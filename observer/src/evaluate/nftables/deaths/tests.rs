//! What a chain changes of a packet, and what the list does not tell, never makes a death sure.

use std::collections::HashSet;

use super::*;
use crate::evaluate::nftables::{Bits, CtState, Device};
use crate::ruleset::nftables::listing::Ruleset;

const DROP: &str = r#"{"drop": null}"#;

fn mark_is(mark: u32) -> String {
    format!(r#"{{"match": {{"op": "==", "left": {{"meta": {{"key": "mark"}}}}, "right": {mark}}}}}"#)
}

fn set_mark(mark: u32) -> String {
    format!(r#"{{"mangle": {{"key": {{"meta": {{"key": "mark"}}}}, "value": {mark}}}}}"#)
}

fn dport_is(port: u16) -> String {
    format!(
        r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {port}}}}}"#
    )
}

/// A base chain `b` of these rules, with handles from 1, in a table that also has `more`; its policy accepts.
fn ruleset(rules: &[Vec<String>], more: &str) -> Ruleset {
    let mut objects = vec![
        r#"{"chain": {"family": "inet", "table": "t", "name": "b", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}}"#.to_owned(),
    ];
    if !more.is_empty() {
        objects.push(more.to_owned());
    }
    for (index, rule) in rules.iter().enumerate() {
        let (handle, statements) = (index + 1, rule.join(","));
        objects.push(format!(
            r#"{{"rule": {{"family": "inet", "table": "t", "chain": "b", "handle": {handle}, "expr": [{statements}]}}}}"#
        ));
    }
    let json = format!(r#"{{"nftables": [{}]}}"#, objects.join(","));
    Ruleset::read(&json).expect("a ruleset")
}

fn packet(mark: u32) -> Packet {
    Packet {
        protocol: Some(6),
        source: "10.0.0.1".parse().ok(),
        destination: "10.0.0.2".parse().ok(),
        sport: Some(40_000),
        dport: Some(80),
        later_fragment: Some(false),
        input: Device::Named("eth0".to_owned()),
        mark: Bits::exact(mark),
        connection: crate::evaluate::nftables::Connection {
            state: Some(CtState::New),
            ..Default::default()
        },
        ..Packet::default()
    }
}

/// The numbers of the rules that the packet can have died by, and whether it can have lived on.
fn died(ruleset: &Ruleset, in_part: &[u64], packet: &Packet) -> (Vec<usize>, bool) {
    let evaluator = Evaluator::new(ruleset).past(&in_part.iter().copied().collect::<HashSet<_>>());
    let deaths = evaluator
        .deaths((Family::Inet, "t", "b"), packet, &mut 1000)
        .expect("a base chain");
    assert!(!deaths.is_open);
    let mut numbers: Vec<usize> = deaths
        .places
        .iter()
        .filter_map(|place| Some(place.rule? + 1))
        .collect();
    numbers.sort_unstable();
    (numbers, deaths.survives)
}

fn own(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|one| (*one).to_owned()).collect()
}

#[test]
fn a_packet_that_is_known_dies_where_the_rules_say() {
    let rules = ruleset(&[own(&[&dport_is(81), DROP]), own(&[&dport_is(80), DROP])], "");
    assert_eq!(died(&rules, &[], &packet(0)), (vec![2], false));
}

/// By its mark in the end it met the third rule only; it came without a mark, and met the first two.
#[test]
fn a_mark_that_the_chain_sets_is_not_what_the_packet_came_with() {
    let rules = [
        own(&[&mark_is(0), &set_mark(1), &dport_is(80), DROP]),
        own(&[&mark_is(1), DROP]),
    ];
    assert_eq!(died(&ruleset(&rules, ""), &[], &packet(1)).0, [1, 2]);
    let without = [rules[1].clone()];
    assert_eq!(died(&ruleset(&without, ""), &[], &packet(1)), (vec![1], false));
}

/// The same in a chain that was jumped to: by a jump, and by an element of a map.
#[test]
fn what_a_called_chain_changes_is_not_known_either() {
    let called = format!(
        r#"{{"chain": {{"family": "inet", "table": "t", "name": "c"}}}}, {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 9, "expr": [{}]}}}}"#,
        set_mark(1)
    );
    let jump = r#"{"jump": {"target": "c"}}"#;
    let vmap = r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[80, {"jump": {"target": "c"}}]]}}}"#;
    for call in [jump, vmap] {
        let rules = [own(&[&mark_is(1), DROP]), own(&[call]), own(&[&mark_is(1), DROP])];
        assert_eq!(
            died(&ruleset(&rules, &called), &[], &packet(1)).0,
            [1, 3],
            "{call}"
        );
    }
}

/// Two rules ask one map, all elements of which lead there.
#[test]
fn what_a_chain_changes_to_which_a_map_with_a_name_leads_is_not_known_either() {
    let called = format!(
        r#"{{"chain": {{"family": "inet", "table": "t", "name": "c"}}}}, {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 9, "expr": [{}]}}}}, {{"map": {{"family": "inet", "table": "t", "name": "m", "type": "inet_service", "map": "verdict", "elem": [[80, {{"jump": {{"target": "c"}}}}], [81, {{"jump": {{"target": "c"}}}}]]}}}}"#,
        set_mark(1)
    );
    let vmap = r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": "@m"}}"#;
    let drops = own(&[&mark_is(1), DROP]);
    let rules = [drops.clone(), own(&[vmap]), own(&[vmap]), drops];
    assert_eq!(died(&ruleset(&rules, &called), &[], &packet(1)).0, [1, 4]);
}

#[test]
fn what_is_left_to_a_rate_or_to_chance_leaves_both_ways() {
    let limit = r#"{"limit": {"rate": 5, "per": "second"}}"#;
    let lot = r#"{"match": {"op": "==", "left": {"numgen": {"mode": "random", "mod": 2, "offset": 0}}, "right": 0}}"#;
    for open in [limit, lot] {
        let rules = ruleset(&[own(&[open, DROP]), own(&[&dport_is(80), DROP])], "");
        assert_eq!(died(&rules, &[], &packet(0)), (vec![1, 2], false), "{open}");
        let accepts = ruleset(&[own(&[open, r#"{"accept": null}"#]), own(&[DROP])], "");
        assert_eq!(died(&accepts, &[], &packet(0)), (vec![2], true), "{open}");
    }
}

#[test]
fn an_element_that_runs_out_may_have_been_there_or_not() {
    let set = |more: &str| {
        format!(
            r#"{{"set": {{"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "elem": ["10.0.0.1"]{more}}}}}"#
        )
    };
    let asks = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@s"}}"#;
    let rules = [own(&[asks, DROP]), own(&[DROP])];
    assert_eq!(
        died(&ruleset(&rules, &set("")), &[], &packet(0)),
        (vec![1], false)
    );
    for more in [
        r#", "timeout": 60, "flags": ["timeout"]"#,
        r#", "flags": ["timeout"]"#,
        r#", "flags": ["dynamic"]"#,
    ] {
        assert_eq!(
            died(&ruleset(&rules, &set(more)), &[], &packet(0)),
            (vec![1, 2], false),
            "{more}"
        );
    }
}

#[test]
fn a_rule_that_asks_more_than_is_listed_may_not_match() {
    let rules = ruleset(&[own(&[&dport_is(80), DROP]), own(&[DROP])], "");
    assert_eq!(died(&rules, &[1], &packet(0)), (vec![1, 2], false));
    assert_eq!(
        died(
            &rules,
            &[1],
            &Packet {
                dport: Some(81),
                ..packet(0)
            }
        ),
        (vec![2], false),
        "what is listed does not hold"
    );
    let marks = ruleset(
        &[
            own(&[&dport_is(80), &set_mark(7)]),
            own(&[&mark_is(7), DROP]),
            own(&[DROP]),
        ],
        "",
    );
    assert_eq!(died(&marks, &[], &packet(7)).0, [2]);
    assert_eq!(died(&marks, &[1], &packet(7)).0, [2, 3]);
}
