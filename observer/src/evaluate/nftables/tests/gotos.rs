//! Near misses behind jumps and gotos: what a goto leads to never comes back, and a near miss must not either.

use super::*;
use crate::diagnose::nft_near_miss;
use crate::ruleset::nftables::listing::Family;

/// A table with a base chain `base`, whose policy drops, and `inner`, `other`; rules as chain, source that is asked for, and
/// verdict.
fn ruleset(rules: &[(&str, Option<&str>, &str)]) -> Ruleset {
    let verdict = |verdict: &str| match verdict.split_once(' ') {
        Some((what, to)) => format!(r#"{{"{what}": {{"target": "{to}"}}}}"#),
        None => format!(r#"{{"{verdict}": null}}"#),
    };
    let rules = rules.iter().enumerate().map(|(index, (chain, net, end))| {
        let asks = net.map(|net| {
            format!(r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "ip", "field": "saddr"}}}},
                "right": {{"prefix": {{"addr": "{net}", "len": 16}}}}}}}}, "#)
        });
        format!(
            r#", {{"rule": {{"family": "ip", "table": "lab", "chain": "{chain}", "handle": {}, "expr": [{}{}]}}}}"#,
            index + 10,
            asks.unwrap_or_default(),
            verdict(end)
        )
    });
    let chains = ["inner", "other"].map(|chain| {
        format!(r#", {{"chain": {{"family": "ip", "table": "lab", "name": "{chain}", "handle": 2}}}}"#)
    });
    read(&format!(
        r#"{{"nftables": [{{"table": {{"family": "ip", "name": "lab", "handle": 1}}}},
        {{"chain": {{"family": "ip", "table": "lab", "name": "base", "handle": 1, "type": "filter", "hook": "forward",
            "prio": 0, "policy": "drop"}}}}{}{}]}}"#,
        chains.concat(),
        rules.collect::<String>()
    ))
}

/// What is told of a packet from 10.224.0.1, with the rule it is told of.
fn told(rules: &[(&str, Option<&str>, &str)]) -> Vec<String> {
    let ruleset = ruleset(rules);
    let evaluator = Evaluator::new(&ruleset);
    let packet = syn("10.224.0.1", "10.0.0.2", 80);
    let evaluation = evaluator.base_chain(Family::Ip, "lab", "base", &packet);
    let [path] = &evaluation.paths[..] else {
        panic!("one way")
    };
    assert_eq!(path.outcome, Some(Outcome::Drop));
    let near = evaluator.near_misses(path, 9);
    let hints = near.iter().filter_map(|near| nft_near_miss(near, &evaluator));
    hints
        .map(|hint| {
            let rule = hint.rule.expect("a rule");
            format!(
                "{} {}: {}",
                rule.chain,
                rule.rule.number.expect("a number"),
                hint.text
            )
        })
        .collect()
}

const SLIP: Option<&str> = Some("10.244.0.0");
const NEEDS: &str = "needs ip saddr 10.244.0.0/16, packet has 10.224.0.1; one digit differs: 10.244, 10.224";

#[test]
fn a_jump_or_goto_to_what_accepts_is_a_near_miss_where_it_leads_is_said() {
    for verdict in ["jump inner", "goto inner"] {
        let found = told(&[("base", SLIP, verdict), ("inner", None, "accept")]);
        assert_eq!(
            found,
            [format!("base 1: {NEEDS}; then rule 1 of inner accepts it")]
        );
    }
}

#[test]
fn a_goto_within_a_jump_comes_back_to_where_the_jump_was() {
    // `other` has no rules: whoever comes to its end goes back.
    let rules = |first: &'static str, second: &'static str| {
        [
            ("base", None, first),
            ("base", None, "accept"),
            ("inner", SLIP, second),
            ("inner", None, "drop"),
        ]
    };
    let accepted = format!("inner 1: {NEEDS}; then rule 2 of base accepts it");
    assert_eq!(told(&rules("jump inner", "goto other")), [accepted]);
    let nothing = Vec::<String>::new();
    assert_eq!(
        told(&rules("jump inner", "jump other")),
        nothing,
        "back to the drop"
    );
    assert_eq!(
        told(&rules("goto inner", "goto other")),
        nothing,
        "on to the policy"
    );
}

#[test]
fn what_would_be_dropped_all_the_same_is_no_near_miss() {
    for verdict in ["jump inner", "goto inner"] {
        let rules = [("base", SLIP, verdict), ("inner", SLIP, "accept")];
        assert_eq!(
            told(&rules),
            Vec::<String>::new(),
            "its own conditions are asked again"
        );
    }
}

#[test]
fn a_return_from_a_chain_that_was_gone_to_is_to_the_caller_of_the_caller() {
    let rules = |first: &'static str| {
        [
            ("base", None, first),
            ("base", None, "accept"),
            ("inner", SLIP, "return"),
            ("inner", None, "drop"),
        ]
    };
    assert_eq!(
        told(&rules("jump inner")),
        [format!("inner 1: {NEEDS}; then rule 2 of base accepts it")]
    );
    assert_eq!(
        told(&rules("goto inner")),
        Vec::<String>::new(),
        "the policy drops it"
    );
}
