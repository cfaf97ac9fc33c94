//! Rulesets that no kernel would take: they end, and nothing is said of them that is not known.

use super::*;
use crate::ruleset::nftables::listing::Family;

/// Chains of a table `t` of family ip; the first is the base chain.
fn chains(chains: &[(&str, &str)]) -> Ruleset {
    let mut objects = Vec::new();
    for (index, (name, rules)) in chains.iter().enumerate() {
        let base = if index == 0 {
            r#", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept""#
        } else {
            ""
        };
        objects.push(format!(
            r#"{{"chain": {{"family": "ip", "table": "t", "name": "{name}"{base}}}}}"#
        ));
        for rule in rules.split(';').filter(|rule| !rule.is_empty()) {
            objects.push(format!(
                r#"{{"rule": {{"family": "ip", "table": "t", "chain": "{name}", "expr": [{rule}]}}}}"#
            ));
        }
    }
    read(&format!(r#"{{"nftables": [{}]}}"#, objects.join(",")))
}

fn evaluate(ruleset: &Ruleset) -> Evaluation {
    Evaluator::new(ruleset).base_chain(Family::Ip, "t", "b", &syn("10.0.0.1", "10.0.0.2", 80))
}

#[test]
fn chains_that_lead_to_each_other_end() {
    let jump = r#"{"jump": {"target": "b"}}"#;
    assert_eq!(evaluate(&chains(&[("b", jump)])).outcomes(), [Outcome::Unknown]);
    let goto = r#"{"goto": {"target": "c"}}"#;
    let back = r#"{"goto": {"target": "b"}}"#;
    assert_eq!(
        evaluate(&chains(&[("b", goto), ("c", back)])).outcomes(),
        [Outcome::Unknown]
    );
}

#[test]
fn sixteen_jumps_are_followed_and_no_more() {
    let nested = |depth: usize| {
        let names: Vec<_> = (0..=depth)
            .map(|one| {
                if one == 0 {
                    "b".to_owned()
                } else {
                    format!("c{one}")
                }
            })
            .collect();
        let rules: Vec<_> = (0..=depth)
            .map(|one| match one == depth {
                true => r#"{"drop": null}"#.to_owned(),
                false => format!(r#"{{"jump": {{"target": "c{}"}}}}"#, one + 1),
            })
            .collect();
        let pairs: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(rules.iter().map(String::as_str))
            .collect();
        evaluate(&chains(&pairs)).outcomes()
    };
    assert_eq!(nested(16), [Outcome::Drop]);
    assert_eq!(nested(17), [Outcome::Unknown]);
}

#[test]
fn a_chain_that_is_not_listed_leads_to_nothing_known() {
    let ruleset = chains(&[("b", r#"{"jump": {"target": "gone"}}"#)]);
    assert_eq!(evaluate(&ruleset).outcomes(), [Outcome::Unknown]);
}

#[test]
fn more_ways_than_are_followed_are_not_taken_for_certain() {
    let unsure = r#"{"limit": {"rate": 1, "per": "second"}}, {"jump": {"target": "c"}};"#.repeat(12);
    let ruleset = chains(&[("b", unsure.as_str()), ("c", r#"{"counter": null}"#)]);
    let evaluation = evaluate(&ruleset);
    assert_eq!(evaluation.outcome(), None);
    assert!(evaluation.paths.iter().any(|path| path.is_cut));
    assert!(evaluation.paths.len() < 300);
}

#[test]
fn what_a_rule_does_that_is_not_known_may_be_anything() {
    let newer = chains(&[("b", r#"{"newer": 1};{"accept": null}"#)]);
    assert_eq!(evaluate(&newer).outcomes(), [Outcome::Unknown]);
    // Before it a condition that surely fails says that it is not reached.
    let behind = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
                    {"newer": 1};{"accept": null}"#;
    assert_eq!(
        evaluate(&chains(&[("b", behind)])).outcome(),
        Some(Outcome::Accept)
    );
}

#[test]
fn a_table_that_may_be_dormant_may_do_nothing() {
    let text = r#"{"nftables": [
        {"table": {"family": "ip", "name": "t", "handle": 1, "flags": "t"}},
        {"chain": {"family": "ip", "table": "t", "name": "b", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}
    ]}"#;
    assert_eq!(evaluate(&read(text)).outcomes(), [Outcome::Drop, Outcome::Accept]);
    let dormant = text.replace(r#""flags": "t""#, r#""flags": ["dormant"]"#);
    assert_eq!(
        Evaluator::new(&read(&dormant))
            .hook("forward", &syn("10.0.0.1", "10.0.0.2", 80))
            .outcome(),
        Some(Outcome::Accept)
    );
}

#[test]
fn damaged_rulesets_are_evaluated_to_an_end() {
    let packets = [
        syn("10.0.0.1", "1.2.3.4", 80),
        syn("fe80::1", "::1", 22),
        Packet::default(),
    ];
    for text in crate::ruleset::nftables::listing::tests::damaged(30) {
        let ruleset = read(&text);
        let evaluator = Evaluator::new(&ruleset);
        for packet in &packets {
            for hook in [
                "prerouting",
                "input",
                "forward",
                "output",
                "postrouting",
                "ingress",
            ] {
                let evaluation = evaluator.hook(hook, packet);
                assert!(evaluation.paths.iter().all(|path| path.outcome.is_some()));
                for path in &evaluation.paths {
                    assert!(evaluator.near_misses(path, 3).len() <= 3);
                }
            }
        }
    }
}

#[test]
fn more_rules_than_any_packet_matches_are_not_all_remembered() {
    let mut rules = vec![r#"{"counter": {"packets": 0, "bytes": 0}}"#; 20_000];
    rules.extend([r#"{"limit": {"rate": 1, "per": "second"}}, {"accept": null}"#; 100]);
    let evaluation = evaluate(&chains(&[("b", &rules.join(";"))]));
    assert_eq!(evaluation.outcomes(), [Outcome::Unknown]);
    assert!(
        evaluation
            .paths
            .iter()
            .all(|path| path.is_cut && path.steps.len() <= 10_000)
    );
}
