//! A replay chooses among what the kernel left possible, and no more.

use super::*;
use crate::attribute::tests::functions::make_whole;
use crate::capture::blank;
use crate::report::record::TableFamily;
use crate::ruleset::{Base, Chain, Policy, Rule, Step, Table};

const fn place(table: usize, rule: Option<usize>) -> Place {
    Place {
        table,
        chain: 0,
        rule,
        ending: Ending::Certain,
    }
}

const FIRST: Place = place(0, Some(0));
const POLICY: Place = place(0, None);
const LATE: Place = place(1, Some(0));
const COUNTED: Place = place(0, Some(1));

/// Two tables with a base chain each on FORWARD, at these priorities; nothing counts but the second rule of the first.
fn snapshot(priorities: [i32; 2]) -> Snapshot {
    let table = |index: usize, priority: i32| Table {
        backend: Backend::Nft,
        family: TableFamily::Inet,
        name: format!("t{index}"),
        chains: vec![Chain {
            name: "forward".to_owned(),
            base: Some(Base {
                hook: Hook::Forward,
                priority,
                policy: Policy::Drop,
                counter: None,
            }),
            rules: vec![
                Rule {
                    step: Step::Drop,
                    ..Rule::default()
                };
                2
            ],
            address: 0x1000 + index as u64,
            mapped: false,
        }],
        hash: 0,
        address: 0,
    };
    let mut snapshot = Snapshot {
        generation: 1,
        nft_frees: true,
        tables: vec![table(0, priorities[0]), table(1, priorities[1])],
        places: vec![COUNTED],
        uncounted: vec![FIRST, POLICY, LATE],
        ..Snapshot::default()
    };
    snapshot.hooks.functions = (0..2)
        .map(|index| HookFunction {
            hook: Hook::Forward,
            family: TableFamily::Ip,
            device: None,
            address: 0xffff_ffff_8100_0000,
            name: "nft_do_chain_inet".to_owned(),
            private: 0x1000 + index,
            priority: Some(priorities[index as usize]),
            in_nat: false,
        })
        .collect();
    snapshot
}

fn site(hook: Hook) -> Site<'static> {
    Site {
        hook,
        family: TableFamily::Inet,
        bridged: false,
        function: Some("nft_do_chain_inet"),
    }
}

fn event() -> DropEvent {
    let mut event = blank();
    event.flags = flag::NETFILTER | flag::COMPARED;
    event.protocol = 0x0800_u16.to_be();
    event.generation = 1;
    make_whole(&mut event);
    event
}

fn one_of(candidates: &[Place]) -> Verdict {
    super::super::culprit::unknown(candidates.to_vec())
}

fn asked(places: &[Place], kills: bool) -> Option<Asked> {
    Some(Asked {
        places: places.to_vec(),
        kills,
    })
}

fn answered(candidates: &[Place], answers: &[Option<Asked>]) -> Replayed {
    let (snapshot, verdict) = (snapshot([0, 10]), one_of(candidates));
    let question = Question::of(
        &verdict,
        &event(),
        &snapshot,
        Some(site(Hook::Forward)),
        NFT_FREES,
    );
    question.expect("a question").answer(answers)
}

fn named(answer: &Replayed) -> Option<Place> {
    match answer {
        Replayed::By(verdict) => {
            assert_eq!(verdict.confidence, Confidence::Inferred);
            verdict.places().first().copied()
        }
        _ => None,
    }
}

#[test]
fn the_only_rule_that_is_met_and_possible_is_named() {
    let all = [FIRST, POLICY];
    assert_eq!(named(&answered(&all, &[asked(&[FIRST], true)])), Some(FIRST));
    assert_eq!(named(&answered(&all, &[asked(&[POLICY], false)])), Some(POLICY));
    assert_eq!(answered(&all, &[asked(&[FIRST, POLICY], true)]), Replayed::Open);
    assert_eq!(
        answered(&all, &[None]),
        Replayed::Open,
        "it has no certain answer"
    );
}

#[test]
fn what_the_kernel_excludes_is_not_named() {
    let all = [FIRST, POLICY];
    let both = answered(&all, &[asked(&[COUNTED, POLICY], true)]);
    assert_eq!(named(&both), Some(POLICY), "the other one would have counted");
    assert_eq!(
        answered(&all, &[asked(&[COUNTED], true)]),
        Replayed::Disagrees(vec![COUNTED])
    );
    assert_eq!(
        answered(&all, &[asked(&[], false)]),
        Replayed::Disagrees(Vec::new())
    );
}

#[test]
fn a_base_chain_that_kills_leaves_nothing_to_those_behind_it() {
    let all = [FIRST, POLICY, LATE];
    let first = answered(&all, &[asked(&[FIRST], true), asked(&[LATE], true)]);
    assert_eq!(named(&first), Some(FIRST));
    let either = answered(&all, &[asked(&[FIRST], false), asked(&[LATE], true)]);
    assert_eq!(either, Replayed::Open, "it may have lived on");
    // Of the same priority it is not known which comes first.
    let (same, verdict) = (snapshot([0, 0]), one_of(&all));
    let question = Question::of(&verdict, &event(), &same, Some(site(Hook::Forward)), NFT_FREES);
    let answers = [asked(&[FIRST], true), asked(&[LATE], true)];
    assert_eq!(question.expect("a question").answer(&answers), Replayed::Open);
}

#[test]
fn whatever_else_may_change_the_packet_leaves_the_order_open() {
    let (mut snapshot, verdict) = (snapshot([0, 10]), one_of(&[FIRST, POLICY, LATE]));
    snapshot.hooks.functions.push(HookFunction {
        name: "ip_vs_forward_icmp".to_owned(),
        private: 0,
        ..snapshot.hooks.functions[0].clone()
    });
    let question = Question::of(
        &verdict,
        &event(),
        &snapshot,
        Some(site(Hook::Forward)),
        NFT_FREES,
    );
    let answers = [asked(&[FIRST], true), asked(&[LATE], true)];
    assert_eq!(question.expect("a question").answer(&answers), Replayed::Open);
}

#[test]
fn what_the_rules_cannot_answer_is_not_asked() {
    let snapshot = snapshot([0, 10]);
    let verdict = one_of(&[FIRST, POLICY]);
    let is_asked = |event: &DropEvent, snapshot: &Snapshot, site: Option<Site<'_>>, symbol: &str| {
        Question::of(&verdict, event, snapshot, site, symbol).is_some()
    };
    let forward = Some(site(Hook::Forward));
    assert!(is_asked(&event(), &snapshot, forward, NFT_FREES));
    assert!(
        !is_asked(&event(), &snapshot, None, NFT_FREES),
        "where is not known"
    );
    assert!(
        !is_asked(&event(), &snapshot, forward, "nf_hook_slow"),
        "any function of the hook"
    );
    let changed = |change: fn(&mut DropEvent)| {
        let mut event = event();
        change(&mut event);
        event
    };
    let stale = changed(|event| event.flags |= flag::STALE);
    assert!(!is_asked(&stale, &snapshot, forward, NFT_FREES), "other rules");
    let older = changed(|event| event.generation = 2);
    assert!(
        !is_asked(&older, &snapshot, forward, NFT_FREES),
        "another reading"
    );
    let short = changed(|event| event.header_bytes = 20);
    assert!(!is_asked(&short, &snapshot, forward, NFT_FREES), "malformed");
    let mut unread = Snapshot {
        generation: 1,
        nft_frees: true,
        tables: snapshot.tables.clone(),
        ..Snapshot::default()
    };
    unread.hooks.functions = snapshot.hooks.functions.clone();
    unread.hooks.functions[1].private = 0x9999;
    assert!(
        !is_asked(&event(), &unread, forward, NFT_FREES),
        "a base chain was not read"
    );
    let function = super::super::Verdict {
        culprit: Culprit::Functions(vec![0]),
        ..verdict.clone()
    };
    assert!(Question::of(&function, &event(), &snapshot, forward, NFT_FREES).is_none());
}
