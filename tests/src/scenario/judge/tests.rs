//! A judge that never condemns is worth nothing: right traces pass, each wrong one fails.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::culprit::merge;
use super::super::phase::Snapshot;
use super::super::spec::Phase;
use super::*;
use crate::cluster::rules::{Counted, Counters};
use crate::cluster::{Backend, Family, Setup};

const TEXT: &str = "-A FORWARD -p udp -j DROP";

fn scene() -> Scene {
    let setup = Setup {
        backend: Backend::Legacy,
        family: Family::Ip,
        prefix: String::new(),
    };
    Scene {
        setup,
        nodes: BTreeMap::from([("router".to_owned(), (77, "lab-router".to_owned()))]),
        path: false,
    }
}

fn at(rule: Option<usize>) -> Place {
    Place {
        table: "filter".into(),
        chain: "FORWARD".into(),
        rule,
    }
}

fn snapshot(rule_2: u64, policy: u64) -> Snapshot {
    let counted = |packets, text: &str| Counted {
        packets,
        text: text.into(),
    };
    let rules = Counters::from([
        (at(None), counted(policy, "DROP")),
        (at(Some(1)), counted(99, "-A FORWARD -p tcp -j ACCEPT")),
        (at(Some(2)), counted(rule_2, TEXT)),
    ]);
    Snapshot {
        rules: BTreeMap::from([(("router".to_owned(), None), rules)]),
        truths: vec![],
    }
}

/// Three packets, dropped by rule 2; the kernel counted `rule_2` and `policy`.
fn record(culprit: &str, rule_2: u64, policy: u64) -> Record {
    let phase: Phase = toml::from_str(culprit).expect("phase");
    Record {
        phase,
        before: snapshot(5, 5),
        after: snapshot(5 + rule_2, 5 + policy),
        traces: BTreeMap::new(),
        answered: Vec::new(),
        begin: 0,
        first_line: 0,
    }
}

const RULE_2: &str =
    "[[culprit]]\nnode = 'router'\nchain = 'FORWARD'\nrule = 2\npackets = 3\nchain_path = ['FORWARD']";

fn line() -> Value {
    json!({"kind": "drop", "netns": {"inode": 77, "name": "lab-router"}, "packet": {"dport": 9},
           "drop": {"layer": "netfilter", "hook": "FORWARD", "backend": "legacy", "family": "ip",
                    "table": "filter", "chain": "FORWARD", "cause": "rule", "confidence": "exact",
                    "rule": {"number": 2, "text": TEXT}, "chain_path": ["FORWARD"]}})
}

fn judged(record: Record, lines: &[Value]) -> Vec<String> {
    judge(&scene(), &[record], lines).expect("judge")
}

#[test]
fn what_the_kernel_counted_and_observer_said_passes() {
    assert_eq!(judged(record(RULE_2, 3, 0), &[line(), line(), line()]), [""; 0]);
}

#[test]
fn a_wrong_field_is_condemned() {
    for (path, wrong) in [
        ("/drop/rule/number", json!(1)),
        ("/drop/rule/text", json!("-A FORWARD -p tcp -j DROP")),
        ("/drop/chain", json!("INPUT")),
        ("/drop/table", json!("raw")),
        ("/drop/family", json!("ip6")),
        ("/drop/backend", json!("nft")),
        ("/drop/confidence", json!("inferred")),
        ("/drop/cause", json!("policy")),
        ("/drop/chain_path", json!(["FORWARD", "X"])),
        ("/netns/inode", json!(78)),
        ("/netns/name", json!("router")),
    ] {
        let mut bad = line();
        *bad.pointer_mut(path).expect("field") = wrong;
        let failures = judged(record(RULE_2, 3, 0), &[line(), bad, line()]);
        assert!(
            failures
                .iter()
                .any(|failure| failure.contains("nothing explains")),
            "{path}: {failures:?}"
        );
        assert!(
            failures.iter().any(|failure| failure.contains("observer 2")),
            "{path}: {failures:?}"
        );
    }
}

#[test]
fn a_segment_that_was_overtaken_is_nobodys_fault_and_another_of_its_reasons_is() {
    let of = |layer: &str, reason: &str| json!({"kind": "drop", "drop": {"layer": layer, "reason": reason}});
    let lines = |more| [line(), line(), line(), more];
    let late = of("socket", "TCP_RFC7323_PAWS");
    assert_eq!(judged(record(RULE_2, 3, 0), &lines(late)), [""; 0]);
    for other in [of("netfilter", "TCP_RFC7323_PAWS"), of("socket", "TCP_RESET")] {
        assert_eq!(judged(record(RULE_2, 3, 0), &lines(other)).len(), 1);
    }
}

#[test]
fn too_few_and_too_many_lines_are_condemned() {
    assert!(!judged(record(RULE_2, 3, 0), &[line(), line()]).is_empty());
    assert!(!judged(record(RULE_2, 3, 0), &[line(), line(), line(), line()]).is_empty());
    assert!(!judged(record(RULE_2, 3, 0), &[]).is_empty());
}

#[test]
fn a_scenario_whose_own_packets_went_elsewhere_is_condemned() {
    let failures = judged(record(RULE_2, 0, 3), &[line(), line(), line()]);
    assert!(
        failures.iter().any(|failure| failure.contains("FORWARD policy")),
        "{failures:?}"
    );
}

#[test]
fn a_report_of_what_is_outside_the_filter_is_condemned() {
    let outside = format!("{RULE_2}\nreported = false");
    assert_eq!(judged(record(&outside, 3, 0), &[]), [""; 0]);
    assert!(!judged(record(&outside, 3, 0), &[line()]).is_empty());
}

#[test]
fn a_forbidden_line_is_condemned() {
    let forbid = format!("others = true\n[[forbid]]\nline.packet.dport = 9\n{RULE_2}");
    assert_eq!(judged(record(&forbid, 3, 0), &[line(), line(), line()]).len(), 3);
}

#[test]
fn a_truth_that_does_not_hold_is_condemned() {
    let text = "[[truth]]\nnode = 'router'\ncounter = 'Udp.NoPorts'\npackets = 2";
    let mut record = record(text, 0, 0);
    (record.before.truths, record.after.truths) = (vec![4], vec![6]);
    assert_eq!(judge_kernel(&record), [""; 0]);
    record.after.truths = vec![5];
    assert_eq!(judge_kernel(&record).len(), 1);
}

#[test]
fn while_rules_change_a_wrong_certainty_is_condemned_and_a_doubt_is_not() {
    let mut old = line();
    old["drop"]["rule"]["number"] = json!(1);
    let mut doubt = old.clone();
    doubt["drop"]["confidence"] = json!("unknown");
    for (first, failures) in [(line(), 0), (doubt, 0), (old, 1)] {
        let mut record = record(RULE_2, 3, 0);
        record.first_line = 1;
        assert_eq!(judged(record, &[first, line(), line(), line()]).len(), failures);
    }
}

#[test]
fn a_culprit_in_a_chain_of_its_users_must_say_its_hook() {
    let text = RULE_2.replace("FORWARD'\nrule", "WEB'\nrule");
    assert!(judge(&scene(), &[record(&text, 3, 0)], &[]).is_err());
}

#[test]
fn a_pattern_is_laid_over_another() {
    let mut base = json!({"drop": {"chain": "A", "table": "filter"}});
    merge(&mut base, &json!({"drop": {"chain": "B"}, "in": "eth0"}));
    merge(&mut base, &Value::Null);
    assert_eq!(
        base,
        json!({"drop": {"chain": "B", "table": "filter"}, "in": "eth0"})
    );
}
