//! Near misses for the filter: rules of iptables that would have let its packets live and failed by little. No packet was seen, so
//! that only is told what holds for every packet that the filter asks for.

use std::collections::HashSet;

use super::asked::Question;
use crate::diagnose::near_miss;
use crate::evaluate::{
    Ask, Bounds, Condition, Conn, Dev, End, Kinds, Miss, NearMiss, Packet, Place, Table, Truth, Unknown,
    Verdict, near_misses, walk,
};
use crate::report::record::{CtState, Hint, Hook, Proto};
use crate::ruleset::xtables::save;

/// So many are told.
pub(super) const MOST: usize = 3;
/// So many are looked at, for each question.
const LOOKED_AT: usize = 8;
/// Different ways through the table.
const WAYS: usize = 32;
/// Rules asked for each question.
const RULES: usize = 500_000;

/// Hints for a rule or policy of a table that counts up at a hook.
pub(super) fn hints(
    questions: &[Question],
    saved: &save::Table,
    table: &Table,
    hook: Hook,
    place: Place,
) -> Vec<Hint> {
    let mut found: Vec<(u32, Hint)> = Vec::new();
    let mut seen = HashSet::new();
    for question in questions {
        for near in nearest(question, table, hook, place) {
            if near.distance > NearMiss::TELLING || !seen.insert(near.place) {
                continue;
            }
            let told = near_miss(&near, saved).map(|hint| (near.distance, hint));
            found.extend(told);
        }
    }
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().take(MOST).map(|(_, hint)| hint).collect()
}

/// Those of one question, in the words of the filter.
fn nearest(question: &Question, table: &Table, hook: Hook, place: Place) -> Vec<NearMiss> {
    let packet = packet(question, hook);
    let mut bounds = Bounds {
        ways: WAYS,
        rules: RULES,
        ..Bounds::default()
    };
    let outcomes = walk(table, hook, &packet, &Unknown, &mut bounds);
    let dies = outcomes
        .iter()
        .find(|outcome| outcome.verdict == Verdict::Drop(place));
    let Some(way) = dies else {
        return Vec::new();
    };
    let near = near_misses(
        table,
        hook,
        (&packet, &way.doubts),
        &Unknown,
        &mut bounds,
        LOOKED_AT,
    );
    near.into_iter()
        .filter_map(|near| {
            // Nothing failed: with what the filter says alone it is certain that the rule would accept.
            if near.behind.is_some() {
                return Some(near);
            }
            let chain = table.chains.get(near.place.chain)?;
            let rule = chain.rules.get(near.place.rule?)?;
            let failing = rule
                .conditions
                .iter()
                .filter(|condition| condition.holds(&packet) == Truth::No);
            let misses = failing.map(|condition| miss(question, condition, &near));
            let misses: Vec<Miss> = misses.collect::<Option<_>>()?;
            (!misses.is_empty()).then_some(NearMiss { misses, ..near })
        })
        .collect()
}

/// What a condition needs that no packet of the filter has; `None` if that is not certain.
fn miss(question: &Question, condition: &Condition, near: &NearMiss) -> Option<Miss> {
    let has = match &condition.ask {
        ask @ (Ask::Net4(..) | Ask::Net6(..)) => {
            let (end, net) = ask.net()?;
            question.lacks(end, &net, condition.negated)?
        }
        Ask::Proto(_) => question.asks(&Proto(question.proto?).to_string()),
        Ask::Port(of, _) | Ask::Ports(of, _) if *of == question.port_of() => {
            question.asks(&format!("port {}", question.port?))
        }
        _ => return None,
    };
    let needs = condition.needs();
    let remark = near.misses.iter().find(|miss| miss.needs == needs);
    Some(Miss {
        remark: remark.and_then(|miss| miss.remark.clone()),
        needs,
        has: Some(has),
    })
}

/// A packet that stands for the question's: the first of its connection, or an answer of one that was answered before.
fn packet(question: &Question, hook: Hook) -> Packet {
    let (in_dev, out_dev) = match hook {
        Hook::Prerouting | Hook::Input => (Dev::Unknown, Dev::Absent),
        Hook::Output => (Dev::Absent, Dev::Unknown),
        _ => (Dev::Unknown, Dev::Unknown),
    };
    let (src, dst) = (question.addr(End::Source), question.addr(End::Destination));
    let alone = |addr: Option<std::net::IpAddr>| addr.map_or(Kinds::ANY, Kinds::of_address);
    let local = Kinds::LOCAL.with(Kinds::BROADCAST);
    let (sport, dport) = if question.is_answer {
        (question.port, None)
    } else {
        (None, question.port)
    };
    let state = if question.is_answer {
        CtState::Established
    } else {
        CtState::New
    };
    Packet {
        is_v6: src.or(dst).is_some_and(|addr| addr.is_ipv6()),
        src,
        dst,
        proto: question.proto,
        sport,
        dport,
        is_fragment: Some(false),
        in_dev,
        out_dev,
        src_kinds: alone(src),
        dst_kinds: match hook {
            Hook::Forward => alone(dst).without(local),
            _ => alone(dst),
        },
        conn: Conn {
            state: Some(state),
            is_reply: Some(question.is_answer),
            ..Conn::default()
        },
        ..Packet::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::Asked;
    use super::*;
    use crate::cli::filter::RawFilter;
    use crate::evaluate::xtables;
    use crate::ruleset::ipset::Sets;

    const SEED: &str = include_str!("../../../tests/rules/seed.rules");

    fn told(rules: &str, filter: RawFilter, chain: &str, rule: Option<usize>) -> Vec<(String, Option<u32>)> {
        let document = save::parse(rules).expect("rules");
        let saved = document
            .into_tables()
            .find(|table| &*table.name == "filter")
            .expect("filter");
        let asked = Asked::of(&filter.check().expect("a filter").spec);
        let place = Place {
            chain: saved.chain(chain).expect("a chain"),
            rule,
        };
        let table = xtables::table(&saved, &Sets::default());
        let hints = hints(&asked.questions(false), &saved, &table, Hook::Forward, place);
        let told = hints
            .into_iter()
            .map(|hint| (hint.text, hint.rule.and_then(|rule| rule.rule.number)));
        told.collect()
    }

    fn to(dst: &str) -> RawFilter {
        RawFilter {
            dst: vec![dst.into()],
            ..RawFilter::default()
        }
    }

    #[test]
    fn the_seeds_rules_are_found_from_the_filter_alone() {
        let told = told(SEED, to("10.224.0.0/16"), "FORWARD", None);
        // Answers are let through by Kubernetes' own rule.
        let miss =
            "needs dst 10.244.0.0/16, the filter asks for 10.224.0.0/16; one digit differs: 10.244, 10.224";
        assert_eq!(told, [(miss.to_owned(), Some(11))]);
    }

    #[test]
    fn answers_that_die_have_near_misses_of_their_own() {
        let rules = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -d 10.224.0.0/16 -j ACCEPT\n-A FORWARD -s 10.244.0.0/16 -j ACCEPT\nCOMMIT\n";
        let told = told(rules, to("10.224.0.0/16"), "FORWARD", None);
        let miss = "needs src 10.244.0.0/16, answers to what the filter asks for have 10.224.0.0/16; one digit differs: 10.244, 10.224";
        assert_eq!(told, [(miss.to_owned(), Some(2))]);
    }

    #[test]
    fn what_some_of_the_filters_packets_may_match_is_no_near_miss() {
        let rules = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -d 10.224.1.0/24 -j ACCEPT\n-A FORWARD -d 10.224.2.0/24 -p tcp -j ACCEPT\nCOMMIT\n";
        assert_eq!(told(rules, to("10.224.0.0/16"), "FORWARD", None), []);
        assert_eq!(
            told(rules, to("10.224.3.1"), "FORWARD", None).len(),
            1,
            "the second asks for more"
        );
    }

    #[test]
    fn ports_are_compared_if_the_filter_has_one() {
        let rules = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -d 10.0.0.1/32 -p tcp -m tcp --dport 8080 -j ACCEPT\nCOMMIT\n";
        let filter = RawFilter {
            ports: vec!["8008".into()],
            protos: vec!["tcp".into()],
            ..to("10.0.0.1")
        };
        let found = told(rules, filter, "FORWARD", None);
        assert_eq!(found[0].0, "needs dport 8080, the filter asks for port 8008");
        assert_eq!(told(rules, to("10.0.0.1"), "FORWARD", None), []);
    }

    #[test]
    fn a_rule_that_is_never_asked_is_told_if_it_would_accept_all_that_the_filter_asks_for() {
        let rules = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j DROP\n-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
        let port = RawFilter {
            ports: vec!["80".into()],
            protos: vec!["tcp".into()],
            ..to("10.0.0.1")
        };
        let miss = "would accept it, but is never asked: rule 1 of FORWARD stands before it and drops whatever it could match";
        assert_eq!(
            told(rules, port, "FORWARD", Some(0)),
            [(miss.to_owned(), Some(2))]
        );
        assert_eq!(told(rules, to("10.0.0.1"), "FORWARD", Some(0)), []);
    }

    #[test]
    fn a_place_that_the_filters_packets_do_not_come_to_has_none() {
        let rules = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -d 10.224.0.0/16 -j ACCEPT\n-A FORWARD -d 10.244.0.0/16 -j ACCEPT\nCOMMIT\n";
        let filter = RawFilter {
            src: vec!["10.0.0.1".into()],
            ..to("10.224.0.0/16")
        };
        // They are accepted; only the answers die.
        let found = told(rules, filter, "FORWARD", None);
        let is_of_answers = |(text, _): &(String, _)| text.contains("answers to what the filter asks for");
        assert!(!found.is_empty() && found.iter().all(is_of_answers), "{found:?}");
    }
}
