//! Chains, sets, what is not known, translation, near misses.

use super::*;
use crate::ruleset::nftables::listing::Family;

fn ruleset() -> Ruleset {
    read(include_str!("semantics.json"))
}

/// The only path through a base chain.
fn only(ruleset: &Ruleset, family: Family, table: &str, chain: &str, packet: &Packet) -> Path {
    let mut evaluation = Evaluator::new(ruleset).base_chain(family, table, chain, packet);
    assert_eq!(evaluation.paths.len(), 1, "{:?}", evaluation.paths);
    evaluation.paths.remove(0)
}

#[test]
fn jumps_come_back_and_gotos_do_not() {
    let ruleset = ruleset();
    let walk = |source: &str| {
        let path = only(
            &ruleset,
            Family::Inet,
            "chains",
            "base",
            &syn(source, "192.0.2.1", 80),
        );
        (matched(&ruleset, &path), path.outcome)
    };
    // From the goto the packet returns to whoever jumped.
    assert_eq!(
        walk("10.0.0.1"),
        (
            ["base 1", "middle 1", "leaf 1", "base 2", "base 4"]
                .map(str::to_owned)
                .to_vec(),
            Some(Outcome::Drop)
        )
    );
    assert_eq!(
        walk("10.0.0.2"),
        (
            ["base 1", "middle 2", "middle 3", "leaf 1", "middle 4"]
                .map(str::to_owned)
                .to_vec(),
            Some(Outcome::Drop)
        )
    );
    // A goto out of the base chain ends in its policy.
    let (steps, outcome) = walk("10.0.0.3");
    assert_eq!(steps[steps.len() - 3..], ["base 3", "leaf 1", "base policy"]);
    assert_eq!(outcome, Some(Outcome::Accept));
}

#[test]
fn sets_and_maps_are_looked_up() {
    let ruleset = ruleset();
    let evaluate = |source: &str, dport: u16| {
        let packet = syn(source, "10.1.1.1", dport);
        Evaluator::new(&ruleset).base_chain(Family::Inet, "sets", "base", &packet)
    };
    let outside = evaluate("172.16.0.1", 80);
    assert_eq!(outside.outcome(), Some(Outcome::Drop));
    assert_eq!(matched(&ruleset, &outside.paths[0]), ["base 2"]);
    assert_eq!(evaluate("192.0.2.9", 22).outcome(), Some(Outcome::Accept));
    assert_eq!(evaluate("192.0.2.10", 22).outcome(), Some(Outcome::Drop));
    assert_eq!(evaluate("192.0.2.9", 23).outcome(), Some(Outcome::Drop));
    // What packets put into a set is not known.
    let unsure = evaluate("10.0.0.1", 24);
    assert_eq!(unsure.outcome(), None);
    assert_eq!(unsure.outcomes(), [Outcome::Drop, Outcome::Accept]);
    let steps = matched(&ruleset, &unsure.paths[0]);
    assert_eq!(steps[..5], ["base 1", "base 4", "base 5", "other 1", "other 2"]);
    assert!(
        unsure
            .paths
            .iter()
            .all(|path| path.packet.mark == Bits::exact(0x24))
    );
    // The concatenation has an interval and the beginning of a name.
    let with_pair = evaluate("10.0.0.2", 85);
    assert_eq!(matched(&ruleset, &with_pair.paths[0])[..2], ["base 1", "base 3"]);
}

#[test]
fn a_rule_without_a_verdict_does_not_split_the_way() {
    let ruleset = ruleset();
    let path = only(
        &ruleset,
        Family::Inet,
        "unsure",
        "limited",
        &syn("10.0.0.1", "10.0.0.2", 80),
    );
    assert_eq!(path.steps[0].kind, StepKind::MayMatch);
    assert_eq!(path.outcome, Some(Outcome::Accept));
    assert_eq!(path.assumptions, []);
}

#[test]
fn a_limit_before_a_verdict_splits_it_and_says_so() {
    let ruleset = ruleset();
    let mut packet = syn("10.0.0.1", "10.0.0.2", 53);
    packet.protocol = Some(17);
    let evaluation = Evaluator::new(&ruleset).base_chain(Family::Inet, "unsure", "limited", &packet);
    assert_eq!(evaluation.outcome(), None);
    assert_eq!(evaluation.outcomes(), [Outcome::Drop, Outcome::Accept]);
    let holds = |path: &Path| path.assumptions.iter().map(|one| one.holds).collect::<Vec<_>>();
    assert_eq!(
        evaluation.paths.iter().map(holds).collect::<Vec<_>>(),
        [[false], [true]]
    );
    let assumption = &evaluation.paths[0].assumptions[0];
    let evaluator = Evaluator::new(&ruleset);
    assert_eq!(evaluator.assumed(assumption), ["limit rate 5/second"]);
    assert_eq!(
        evaluator.text(assumption.place).as_deref(),
        Some("udp dport 53 limit rate 5/second accept")
    );
    let policy = Place {
        rule: None,
        ..assumption.place
    };
    assert_eq!(evaluator.text(policy).as_deref(), Some("policy accept"));
}

#[test]
fn chance_matters_only_where_its_outcomes_differ() {
    let ruleset = ruleset();
    let of = |dport: u16| {
        let packet = syn("10.0.0.1", "10.0.0.2", dport);
        Evaluator::new(&ruleset).base_chain(Family::Inet, "unsure", "balanced", &packet)
    };
    assert_eq!(of(80).outcome(), Some(Outcome::Accept));
    assert_eq!(of(80).paths.len(), 1);
    assert_eq!(of(81).outcome(), None);
    assert_eq!(of(82).outcome(), Some(Outcome::Accept));
}

#[test]
fn of_an_unknown_mark_the_bits_that_rules_set_are_known() {
    let ruleset = ruleset();
    let mut packet = syn("10.0.0.1", "10.0.0.2", 80);
    packet.mark = Bits::UNKNOWN;
    let evaluation = Evaluator::new(&ruleset).base_chain(Family::Inet, "unsure", "marked", &packet);
    assert_eq!(
        matched(&ruleset, &evaluation.paths[0])[..2],
        ["marked 1", "marked 2"]
    );
    assert_eq!(evaluation.paths[0].steps[1].kind, StepKind::Matched);
    assert_eq!(evaluation.outcomes(), [Outcome::Drop, Outcome::Accept]);
    packet.mark = Bits::exact(1);
    let known = Evaluator::new(&ruleset).base_chain(Family::Inet, "unsure", "marked", &packet);
    assert_eq!(known.outcome(), Some(Outcome::Drop));
    assert_eq!(known.paths[0].changes[0].to, "0x4001");
}

#[test]
fn a_translation_ends_the_chains_of_its_kind_and_is_seen_by_those_behind() {
    let ruleset = ruleset();
    let evaluator = Evaluator::new(&ruleset);
    let packet = syn("192.0.2.1", "10.96.0.1", 443);
    let path = evaluator.hook("prerouting", &packet).paths.remove(0);
    assert_eq!(
        matched(&ruleset, &path),
        ["prerouting 1", "after 1", "after policy"]
    );
    assert_eq!(path.packet.destination, "10.244.1.5".parse().ok());
    assert_eq!(path.packet.dport, Some(6443));
    let changed: Vec<_> = path
        .changes
        .iter()
        .map(|one| (one.field, one.to.as_str()))
        .collect();
    assert_eq!(changed, [("daddr", "10.244.1.5"), ("dport", "6443")]);
    // A later packet of the connection is translated without being asked for.
    let mut later = packet.clone();
    later.connection.state = Some(CtState::Established);
    assert_eq!(
        matched(&ruleset, &evaluator.hook("prerouting", &later).paths[0]),
        ["after policy"]
    );
    // What is masqueraded leaves with an address that is not known.
    let mut leaving = syn("10.244.1.5", "192.0.2.1", 80);
    leaving.output = Device::Named("eth1".to_owned());
    let left = evaluator.hook("postrouting", &leaving).paths.remove(0);
    assert_eq!((left.outcome, left.packet.source), (Some(Outcome::Accept), None));
}

#[test]
fn what_a_map_does_not_have_is_not_translated() {
    let ruleset = ruleset();
    let evaluator = Evaluator::new(&ruleset);
    let path = evaluator
        .hook("prerouting", &syn("192.0.2.1", "10.96.0.2", 443))
        .paths
        .remove(0);
    assert_eq!(
        matched(&ruleset, &path),
        ["prerouting policy", "late policy", "after policy"]
    );
    assert!(!path.is_translated);
    // Of a packet whose port is not known nobody can say.
    let mut unknown = syn("192.0.2.1", "10.96.0.1", 443);
    unknown.dport = None;
    let evaluation = evaluator.hook("prerouting", &unknown);
    let translated: Vec<_> = evaluation.paths.iter().map(|path| path.is_translated).collect();
    assert!(
        translated.contains(&true) && translated.contains(&false),
        "{translated:?}"
    );
}

#[test]
fn chains_of_one_family_do_not_see_packets_of_the_other() {
    let ruleset = ruleset();
    let packet = syn("2001:db8::1", "2001:db8::2", 443);
    let evaluation = Evaluator::new(&ruleset).hook("prerouting", &packet);
    assert_eq!(matched(&ruleset, &evaluation.paths[0]), Vec::<String>::new());
    assert_eq!(evaluation.outcome(), Some(Outcome::Accept));
}

#[test]
fn near_misses_are_the_accepting_rules_that_failed_on_the_fewest_conditions() {
    let ruleset = ruleset();
    let evaluator = Evaluator::new(&ruleset);
    let mut packet = syn("10.224.0.0", "10.224.2.16", 80);
    packet.input = Device::Named("flannel.1".to_owned());
    let path = evaluator
        .base_chain(Family::Ip, "seed", "forward", &packet)
        .paths
        .remove(0);
    assert_eq!(path.outcome, Some(Outcome::Drop));
    assert_eq!(path.decided_by.map(|place| place.rule), Some(None));
    let misses = evaluator.near_misses(&path, 9);
    let texts: Vec<Vec<_>> = misses
        .iter()
        .map(|miss| miss.failing.iter().map(Failing::text).collect())
        .collect();
    assert_eq!(
        texts,
        [
            vec!["needs ct state established,related, packet has new"],
            vec!["needs ip saddr 10.244.0.0/16, packet has 10.224.0.0"],
            vec!["needs ip daddr 10.244.0.0/16, packet has 10.224.2.16"],
            vec!["needs meta mark & 0x0000ff00 == 0x00004200, packet has 0x00000000"],
            vec![
                "needs iifname \"docker0\", packet has \"flannel.1\"",
                "needs tcp dport 443, packet has 80"
            ],
        ]
    );
    assert_eq!(evaluator.near_misses(&path, 2).len(), 2);
}

#[test]
fn what_a_packet_is_not_is_said_as_what_it_is() {
    let ruleset = ruleset();
    let evaluator = Evaluator::new(&ruleset);
    let mut packet = syn("10.224.0.0", "10.224.2.16", 80);
    packet.protocol = Some(17);
    packet.input = Device::Named("docker0".to_owned());
    let path = evaluator
        .base_chain(Family::Ip, "seed", "forward", &packet)
        .paths
        .remove(0);
    let misses = evaluator.near_misses(&path, 9);
    let texts: Vec<_> = misses
        .iter()
        .flat_map(|miss| &miss.failing)
        .map(Failing::text)
        .collect();
    assert!(
        texts.contains(&"needs tcp dport 443, packet has IPv4 udp".to_owned()),
        "{texts:?}"
    );
}

#[test]
fn a_packet_that_nothing_is_known_of_is_never_said_to_match() {
    let ruleset = ruleset();
    let evaluator = Evaluator::new(&ruleset);
    for hook in ["prerouting", "input", "forward", "output", "postrouting"] {
        let evaluation = evaluator.hook(hook, &Packet::default());
        for step in evaluation.paths.iter().flat_map(|path| &path.steps) {
            let rule = step
                .place
                .rule
                .map(|rule| &ruleset.tables[step.place.table].chains[step.place.chain].rules[rule]);
            let asks = rule.is_some_and(|rule| {
                use crate::ruleset::nftables::listing::Statement;
                rule.statements
                    .iter()
                    .any(|one| matches!(one, Statement::Match { .. } | Statement::Vmap { .. }))
            });
            // `meta mark set … | 0x4000` makes a bit known.
            let is_known = rule.is_some_and(|rule| rule.text(Family::Inet).contains("mark"));
            assert!(
                !asks || is_known || step.kind != StepKind::Matched,
                "{hook}: {:?}",
                rule
            );
        }
    }
}

#[test]
fn a_map_that_may_say_continue_may_match() {
    let ruleset = read(
        r#"{"nftables":[
            {"chain":{"family":"ip","table":"t","name":"base","type":"filter","hook":"forward","prio":0,"policy":"accept"}},
            {"rule":{"family":"ip","table":"t","chain":"base","expr":[{"vmap":{
                "key":{"ct":{"key":"state"}},
                "data":{"set":[["new",{"continue":null}],["invalid",{"drop":null}]]}}}]}}]}"#,
    );
    let mut packet = syn("10.0.0.1", "10.0.0.2", 80);
    packet.connection.state = None;
    let evaluation = Evaluator::new(&ruleset).base_chain(Family::Ip, "t", "base", &packet);
    let mut ways: Vec<_> = evaluation
        .paths
        .iter()
        .map(|path| (matched(&ruleset, path), path.outcome))
        .collect();
    ways.sort_by_key(|(steps, outcome)| (steps.clone(), outcome.is_some_and(|one| one == Outcome::Accept)));
    let way = |steps: &[&str], outcome| {
        let steps: Vec<_> = steps.iter().map(|step| (*step).to_owned()).collect();
        (steps, Some(outcome))
    };
    assert_eq!(
        ways,
        [
            way(&["base 1"], Outcome::Drop),
            way(&["base 1", "base policy"], Outcome::Accept),
            way(&["base policy"], Outcome::Accept),
        ]
    );
}

/// What the oracle found: nft lists `ether type ip ip saddr …` without the type, and asks `icmp type …` by it, which a tagged
/// frame has only behind its tag.
#[test]
fn headers_of_a_frame_that_may_be_tagged_are_not_surely_there() {
    let chain = |family: &str| {
        let rule = |handle: u32, expr: &str| {
            format!(
                r#"{{"rule":{{"family":"{family}","table":"lab","chain":"in","handle":{handle},"expr":[{expr},{{"accept":null}}]}}}}"#
            )
        };
        let hook = if family == "bridge" {
            "prerouting"
        } else {
            "ingress"
        };
        let of_ip = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.1"}}"#;
        let other = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.9"}}"#;
        format!(
            r#"{{"nftables":[{{"table":{{"family":"{family}","name":"lab","handle":1}}}},
            {{"chain":{{"family":"{family}","table":"lab","name":"in","handle":1,"type":"filter","hook":"{hook}","prio":0,"policy":"drop"}}}},
            {},{}]}}"#,
            rule(2, other),
            rule(3, of_ip)
        )
    };
    for (family, name) in [(Family::Bridge, "bridge"), (Family::Netdev, "netdev")] {
        let ruleset = read(&chain(name));
        let ends = |vlan_tag| {
            let packet = Packet {
                vlan_tag,
                ..syn("10.0.0.1", "192.0.2.1", 80)
            };
            let evaluation = Evaluator::new(&ruleset).base_chain(family, "lab", "in", &packet);
            let mut ends: Vec<_> = evaluation.paths.iter().map(|path| path.outcome).collect();
            ends.sort_by_key(|end| *end == Some(Outcome::Drop));
            ends
        };
        assert_eq!(ends(Some(false)), [Some(Outcome::Accept)]);
        for vlan_tag in [None, Some(true)] {
            assert_eq!(
                ends(vlan_tag),
                [Some(Outcome::Accept), Some(Outcome::Drop)],
                "{name}"
            );
        }
    }
}
