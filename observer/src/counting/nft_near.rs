//! Near misses for the filter among the rules of nft's own tables: as for iptables', only what holds for every packet that
//! the filter asks for.

use std::collections::HashSet;

use super::asked::{Question, are_apart};
use super::near::MOST;
use crate::diagnose::{nft_near_miss, nft_then};
use crate::evaluate::nftables::{
    Connection, CtState, Device, Direction, Evaluator, Failing, NearMiss, Outcome, Packet, Place,
};
use crate::evaluate::{End, NearMiss as Distance};
use crate::report::record::{Hint, Hook};
use crate::ruleset::nftables::listing::Ruleset;
use crate::ruleset::xtables::save::Net;

/// So many are looked at, for each question.
const LOOKED_AT: usize = 64;

/// Hints for the rule with a handle in the only table of a ruleset, on the way from one of its base chains.
pub(super) fn hints(
    questions: &[Question],
    ruleset: &Ruleset,
    base: &str,
    hook: Hook,
    handle: u64,
) -> Vec<Hint> {
    let Some(table) = ruleset.tables.first() else {
        return Vec::new();
    };
    let evaluator = Evaluator::new(ruleset);
    let mut found: Vec<(u32, Hint)> = Vec::new();
    let mut seen: HashSet<Place> = HashSet::new();
    for question in questions {
        let packet = packet(question, hook);
        let evaluation = evaluator.base_chain(table.family, &table.name, base, &packet);
        let is_it = |place: Place| evaluator.rule(place).and_then(|rule| rule.handle) == Some(handle);
        let mut paths = evaluation.paths.into_iter();
        let dies = paths.find(|path| {
            path.outcome == Some(Outcome::Drop) && !path.is_cut && path.decided_by.is_some_and(is_it)
        });
        let Some(path) = dies else { continue };
        for near in evaluator.near_misses(&path, LOOKED_AT) {
            let distance: u32 = near.failing.iter().map(Failing::distance).sum();
            let is_told = near.unknown == 0 && near.failing.len() == 1 && distance <= Distance::TELLING;
            if !is_told || !seen.insert(near.place) {
                continue;
            }
            let told = in_words(&near, question).and_then(|text| {
                let hint = nft_near_miss(&near, &evaluator)?;
                let text = text + &nft_then(&near, &evaluator)?;
                Some((distance, Hint { text, ..hint }))
            });
            found.extend(told);
        }
    }
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().take(MOST).map(|(_, hint)| hint).collect()
}

/// `needs ip daddr 10.244.0.0/16, the filter asks for 10.224.0.0/16; …`; `None` if some of its packets may have it.
fn in_words(near: &NearMiss, question: &Question) -> Option<String> {
    let [failing] = near.failing.as_slice() else {
        return None;
    };
    let words: Vec<&str> = failing.needs.split(' ').collect();
    let (has, remark) = match words[..] {
        ["ip" | "ip6", field @ ("saddr" | "daddr"), net] => {
            let end = if field == "saddr" {
                End::Source
            } else {
                End::Destination
            };
            let net =
                Net::parse(net).filter(|net| question.net(end).is_some_and(|asked| are_apart(net, asked)))?;
            (question.lacks(end, &net, false)?, failing.remark())
        }
        [_, "sport", _] if question.is_answer => (question.asks(&format!("port {}", question.port?)), None),
        [_, "dport", _] if !question.is_answer => (question.asks(&format!("port {}", question.port?)), None),
        _ => return None,
    };
    let remark = remark.map(|remark| format!("; {remark}")).unwrap_or_default();
    Some(format!("needs {}, {has}{remark}", failing.needs))
}

/// A packet that stands for the question's.
fn packet(question: &Question, hook: Hook) -> Packet {
    let (input, output) = match hook {
        Hook::Prerouting | Hook::Input => (Device::Unknown, Device::None),
        Hook::Output => (Device::None, Device::Unknown),
        _ => (Device::Unknown, Device::Unknown),
    };
    let (sport, dport, state, direction) = if question.is_answer {
        (question.port, None, CtState::Established, Direction::Reply)
    } else {
        (None, question.port, CtState::New, Direction::Original)
    };
    Packet {
        protocol: question.proto,
        source: question.addr(End::Source),
        destination: question.addr(End::Destination),
        sport,
        dport,
        later_fragment: Some(false),
        input,
        output,
        connection: Connection {
            state: Some(state),
            direction: Some(direction),
            ..Connection::default()
        },
        ..Packet::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::Asked;
    use super::*;
    use crate::cli::filter::RawFilter;

    const SLIP: &str = r#"{"nftables":[
{"table":{"family":"inet","name":"lab","handle":1}},
{"chain":{"family":"inet","table":"lab","name":"forward","handle":1,"type":"filter","hook":"forward","prio":0,"policy":"accept"}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":2,"expr":[{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"established"}},{"accept":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":3,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":{"prefix":{"addr":"10.244.0.0","len":16}}}},{"accept":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":4,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":{"prefix":{"addr":"10.224.7.0","len":24}}}},{"accept":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":5,"expr":[{"counter":{"packets":0,"bytes":0}},{"drop":null}]}}
]}"#;

    fn texts(dst: &str) -> Vec<String> {
        let filter = RawFilter {
            dst: vec![dst.into()],
            ..RawFilter::default()
        };
        let asked = Asked::of(&filter.check().expect("a filter").spec);
        let ruleset = Ruleset::read(SLIP).expect("reads");
        let hints = hints(&asked.questions(false), &ruleset, "forward", Hook::Forward, 5);
        hints.into_iter().map(|hint| hint.text).collect()
    }

    #[test]
    fn a_slip_is_found_from_the_filter_alone() {
        assert_eq!(
            texts("10.224.0.0/16"),
            [
                "needs ip daddr 10.244.0.0/16, the filter asks for 10.224.0.0/16; one digit differs: 10.244, 10.224"
            ]
        );
    }

    #[test]
    fn what_some_of_the_filters_packets_may_match_is_no_near_miss() {
        assert!(texts("10.0.0.0/8").is_empty());
    }
}
