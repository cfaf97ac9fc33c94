//! The words of a disagreement, and where a replay comes to instead.

use super::*;
use crate::report::record::samples::policy_drop;
use crate::ruleset::nftables::listing::Ruleset;

fn candidate(rule: Option<u32>) -> Candidate {
    Candidate {
        table: "lab".to_owned(),
        chain: "forward".to_owned(),
        rule,
        ..Candidate::default()
    }
}

#[test]
fn a_disagreement_says_who_is_right_and_what_to_do() {
    let lives = disagreement(Vec::new(), true).text;
    assert!(
        lives.contains("let this packet live; the kernel is right"),
        "{lives}"
    );
    assert!(lives.contains("--keep-disagreements DIR"), "{lives}");
    let several = disagreement(vec![candidate(Some(3)), candidate(None)], false).text;
    let places = "drop it by one of rule 3 of lab forward, the policy of lab forward";
    assert!(several.contains(places), "{several}");
    assert!(!several.contains('\n') && !several.contains("  "), "{several}");
}

/// The kernel said the policy; by the list a rule drops it first.
#[test]
fn another_rule_than_the_kernels_is_told_with_its_text() {
    let json = r#"{"nftables": [
        {"chain": {"family": "inet", "table": "lab", "name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
        {"rule": {"family": "inet", "table": "lab", "chain": "forward", "handle": 4, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}, {"drop": null}]}}
    ]}"#;
    let ruleset = Ruleset::read(json).expect("a ruleset");
    let instead = |drop: &DropLine, in_part: &[u64], rule| {
        let evaluator = Evaluator::new(&ruleset).past(&in_part.iter().copied().collect());
        let packet = nft_misses::packet(drop, Hook::Forward);
        nft_instead(&evaluator, (Family::Inet, "lab", "forward"), &packet, |place| {
            place.rule == rule
        })
    };
    let drop = policy_drop();
    let told = instead(&drop, &[], None).expect("at odds");
    assert_eq!((told.len(), told[0].rule), (1, Some(1)));
    assert_eq!(told[0].text.as_deref(), Some("tcp dport 80 drop"));
    assert_eq!(instead(&drop, &[], Some(0)), None, "that is what the kernel did");
    assert_eq!(
        instead(&drop, &[4], None),
        None,
        "the rule asks more than is listed"
    );
    let mut other = policy_drop();
    other.packet.dport = Some(81);
    assert_eq!(instead(&other, &[], None), None);
}

#[test]
fn lists_of_candidates_are_kept_once_and_few_of_them() {
    let list = |rules: std::ops::Range<usize>| -> Vec<Place> {
        let place = |rule| Place {
            table: 0,
            chain: 2,
            rule: Some(rule),
            ending: Ending::Possible,
        };
        rules.map(place).collect()
    };
    let mut replay = Replay::default();
    assert_eq!(replay.list(&list(0..5000)), replay.list(&list(0..5000)));
    assert_ne!(replay.list(&list(0..5000)), replay.list(&list(0..4999)));
    assert_eq!(replay.lists.len(), 2);
    replay.kept.insert((0, String::new()), Replayed::Open);
    (0..MOST_LISTS).for_each(|most| _ = replay.list(&list(0..most)));
    assert!(replay.lists.len() <= MOST_LISTS);
    assert!(replay.kept.is_empty(), "numbers are given anew");
}
