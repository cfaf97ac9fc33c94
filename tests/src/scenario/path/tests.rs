//! A judge that never condemns is worth nothing: right paths pass, each wrong one fails.

use std::collections::BTreeMap;

use super::*;
use crate::cluster::{Backend, Family, Setup};
use crate::kernel::trace::ident::Ident;

fn scene() -> Scene {
    let setup = Setup {
        backend: Backend::Legacy,
        family: Family::Ip,
        prefix: String::new(),
    };
    Scene {
        setup,
        nodes: BTreeMap::from([("router".to_owned(), (77, "lab-router".to_owned()))]),
        path: true,
    }
}

fn spec(more: &str) -> PathSpec {
    let text = format!(
        "line.packet.dport = 9\ncount = 1\n{more}\n\
         [[way]]\nat = 'router PREROUTING'\nin = 'near'\ntable = 'nat PREROUTING'\nsteps = 'PREROUTING 1'\n\
         changes = ['dnat 10.0.0.9:9 > 10.0.0.2:9']\n\
         [[way]]\nat = 'router FORWARD'\ntable = 'filter FORWARD'\nsteps = 'FORWARD 2 > INNER 1'\nverdict = 'DROP'\n"
    );
    toml::from_str(&text).expect("path")
}

fn element(hook: &str, table: &str, steps: Value) -> Value {
    json!({"hook": hook, "netns": {"inode": 77}, "in": "near", "backend": "legacy", "family": "ip", "table": table,
           "chain": hook, "verdict": "ACCEPT", "steps": steps, "evidence": "observed"})
}

fn line() -> Value {
    let mut nat = element(
        "PREROUTING",
        "nat",
        json!([{"chain": "PREROUTING", "rule": 1, "target": "DNAT"}]),
    );
    nat["changes"] = json!([{"kind": "dnat", "from": "10.0.0.9:9", "to": "10.0.0.2:9"}]);
    let steps = json!([{"chain": "FORWARD", "rule": 2, "jump": "INNER"}, {"chain": "INNER", "rule": 1, "verdict": "DROP"}]);
    let mut filter = element("FORWARD", "filter", steps);
    filter["verdict"] = json!("DROP");
    json!({"kind": "drop", "packet": {"proto": "udp", "ip_id": 7, "dport": 9}, "path": [nat, filter]})
}

fn run(table: &'static str, hook: &'static str, steps: &[(&str, u32)], verdict: Option<&str>) -> Run {
    let step = |(chain, rule): &(&str, u32)| Step {
        chain: (*chain).to_owned(),
        rule: Some(*rule),
        ..Step::default()
    };
    Run::for_test(
        ["legacy", "ip", table, hook],
        Ident {
            proto: 17,
            ip_id: 7,
            src: "10.0.0.1".parse().expect("address"),
            dst: "10.0.0.9".parse().expect("address"),
            sport: Some(1),
            dport: Some(9),
            tcp_flags: None,
            icmp_type: None,
        },
        steps.iter().map(step).collect(),
        verdict,
    )
}

fn traces() -> Traces {
    let runs = vec![
        run("nat", "PREROUTING", &[("PREROUTING", 1)], Some("ACCEPT")),
        run("filter", "FORWARD", &[("FORWARD", 2), ("INNER", 1)], None),
    ];
    BTreeMap::from([("router".to_owned(), runs)])
}

fn judged(spec: PathSpec, line: Value) -> usize {
    judge(&scene(), &[spec], &traces(), &[line])
        .expect("judgement")
        .len()
}

#[test]
fn a_right_path_passes() {
    assert_eq!(judged(spec("truth = 'trace'\nonly = true"), line()), 0);
}

#[test]
fn a_missing_line_fails() {
    let mut other = line();
    other["packet"]["dport"] = json!(10);
    assert_eq!(judged(spec(""), other), 1);
}

#[test]
fn a_wrong_rule_device_or_change_fails() {
    let wrong = |at: &str, value: Value| {
        let mut line = line();
        *line.pointer_mut(at).expect("place") = value;
        judged(spec(""), line)
    };
    assert_eq!(wrong("/path/1/steps/0/rule", json!(3)), 1);
    assert_eq!(wrong("/path/0/in", json!("far")), 1);
    assert_eq!(wrong("/path/0/changes/0/to", json!("10.0.0.3:9")), 1);
    assert_eq!(wrong("/path/1/verdict", json!("ACCEPT")), 1);
    assert_eq!(wrong("/path/1/netns/inode", json!(78)), 1);
}

#[test]
fn the_order_counts() {
    let mut line = line();
    line["path"].as_array_mut().expect("path").reverse();
    assert!(judged(spec(""), line) > 0);
}

#[test]
fn a_table_more_fails_where_there_may_be_no_other() {
    let mut line = line();
    let extra = element(
        "FORWARD",
        "mangle",
        json!([{"chain": "FORWARD", "policy": "ACCEPT"}]),
    );
    line["path"].as_array_mut().expect("path").insert(1, extra);
    assert_eq!(judged(spec(""), line.clone()), 0);
    assert_eq!(judged(spec("only = true"), line.clone()), 1);
    // The kernel's trace has no such table either.
    assert_eq!(judged(spec("truth = 'trace'"), line), 1);
}

#[test]
fn what_the_kernels_trace_has_otherwise_fails() {
    let mut line = line();
    let steps = json!([{"chain": "FORWARD", "rule": 1}, {"chain": "FORWARD", "rule": 2}, {"chain": "INNER", "rule": 1}]);
    line["path"][1]["steps"] = steps;
    let mut spec = spec("truth = 'trace'");
    spec.way.pop();
    assert_eq!(judged(spec, line), 1);
}

#[test]
fn a_rule_matched_twice_may_be_told_once() {
    let twice = Passed {
        steps: run("filter", "FORWARD", &[("A", 1), ("B", 1), ("A", 1)], None).steps,
        ..Passed::default()
    };
    let once = Passed {
        steps: run("filter", "FORWARD", &[("A", 1), ("B", 1)], None).steps,
        times: vec![2, 1],
        ..Passed::default()
    };
    assert!(agree(&twice, &once));
    assert!(!agree(
        &twice,
        &Passed {
            times: vec![1, 1],
            ..once
        }
    ));
}

#[test]
fn the_kernels_trace_alone_is_judged_too() {
    let judged = |more: &str, change: &dyn Fn(&mut PathSpec)| {
        let mut spec = spec(more);
        change(&mut spec);
        judge_kernel(&scene(), &[spec], &traces())
            .expect("judgement")
            .len()
    };
    assert_eq!(judged("truth = 'trace'", &|_| {}), 0);
    assert_eq!(
        judged("truth = 'trace'", &|spec| spec.way[1].steps =
            Some("FORWARD 2".into())),
        1
    );
    assert_eq!(
        judged("truth = 'trace'", &|spec| spec.count = Count::Exactly(2)),
        1
    );
}
