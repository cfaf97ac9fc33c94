//! What the writers of nf_tables' verdicts say, and what it proves.

use std::collections::BTreeSet;

use observer_common::{HookEvent, hook_flag, step};

use super::*;
use crate::attribute::verdicts::by_verdicts;
use crate::attribute::{Death, passages, prove};
use crate::capture::blank_hook;
use crate::report::record::{PassVerdict, PathStep};
use crate::ruleset::nftables::{Expressions, TableExpressions};

const FORWARD: u64 = 0xffff_8880_0000_1000;
const SUB: u64 = 0xffff_8880_0000_2000;
const FORWARD_RULES: u64 = 0xffff_8880_0001_0000;
const SUB_RULES: u64 = 0xffff_8880_0002_0000;
const RULE_BYTES: u32 = 64;
/// Functions that evaluate the table's expressions.
const WRITERS: [u64; 2] = [0x10, 0x20];

const FORWARD_POLICY: Place = place(0, None, Ending::Certain);
const SUB_DROP: Place = place(1, Some(1), Ending::Certain);

/// `struct nft_expr` behind the header of a rule.
fn expression(rules: u64, rule: u32) -> u64 {
    rules + u64::from(RULE_BYTES * rule) + 8
}

/// FORWARD (two rules; policy DROP) and SUB (two rules), none of which counts.
fn nft() -> Snapshot {
    let silent = |step, index| Rule {
        offset: RULE_BYTES * index,
        counter: None,
        ..rule(step)
    };
    let mut forward = base(
        Hook::Forward,
        Policy::Drop,
        vec![silent(Step::Jump(1), 0), silent(Step::Map, 1)],
    );
    forward.address = FORWARD;
    let sub = Chain {
        name: "SUB".to_owned(),
        rules: vec![silent(Step::Return, 0), silent(Step::Drop, 1)],
        address: SUB,
        ..Chain::default()
    };
    let table = Table {
        backend: Backend::Nft,
        family: TableFamily::Inet,
        name: "t".to_owned(),
        chains: vec![forward, sub],
        hash: 0,
        address: 0,
    };
    let len = u64::from(2 * RULE_BYTES);
    let blobs = vec![[FORWARD_RULES, FORWARD_RULES + len], [SUB_RULES, SUB_RULES + len]];
    let of_table = TableExpressions::new(blobs, BTreeSet::from(WRITERS));
    Snapshot {
        generation: 1,
        tables: vec![table],
        locations: vec![None],
        nft_frees: true,
        expressions: Expressions::new(0, vec![of_table]),
        ..Snapshot::default()
    }
}

const BEGIN: (u32, i32, u64, u64) = (step::BEGIN, 0, 0, 0);

fn verdict(code: i32, expression: u64, to: u64) -> (u32, i32, u64, u64) {
    (step::VERDICT, code, expression, to)
}

fn end(returned: i32) -> (u32, i32, u64, u64) {
    (step::END, returned, 0, 0)
}

/// A record of FORWARD with these steps; freed there unless the chain was left alive.
fn record(steps: &[(u32, i32, u64, u64)]) -> Box<HookEvent> {
    let mut event = blank_hook();
    event.flags = hook_flag::VERDICTS | hook_flag::FREED;
    event.returned = -1;
    event.pf = 2;
    event.hook = 2;
    event.generation = 1;
    event.time_ns = 1000;
    event.step_count = steps.len() as u32;
    for (to, (kind, value, expression, chain)) in event.steps.iter_mut().zip(steps) {
        to.kind = *kind;
        to.value = value.cast_unsigned();
        to.words = [*expression, FORWARD, *chain];
    }
    event
}

/// What a record proves of a packet that this function freed, where these writers were watched.
fn proved(last: &HookEvent, symbol: &str, watched: &[u64]) -> (Culprit, Confidence) {
    let (snapshot, drop) = (nft(), event(&[]));
    let site = inet(Hook::Forward);
    let before = decide(&drop, &snapshot, site, symbol, &mut Pending::default());
    let death = Death {
        site,
        symbol,
        is_watched: &|function| watched.contains(&function),
    };
    let verdict = prove(before, &drop, last, &snapshot, &death);
    (verdict.culprit, verdict.confidence)
}

#[test]
fn the_rule_whose_expression_wrote_drop_is_it() {
    let last = record(&[
        BEGIN,
        verdict(-3, expression(FORWARD_RULES, 0), SUB),
        verdict(0, expression(SUB_RULES, 1) + 24, 0),
    ]);
    assert_eq!(
        proved(&last, "nft_do_chain", &[]),
        (Culprit::Place(SUB_DROP), Confidence::Exact)
    );
    let passage = &passages(&last, Some(&nft()))[0];
    assert_eq!(passage.verdict, Some(PassVerdict::Drop));
    let jump = PathStep {
        chain: "FORWARD".to_owned(),
        rule: Some(1),
        jump: Some("SUB".to_owned()),
        ..PathStep::default()
    };
    assert_eq!(passage.steps[0], jump);
    assert!(
        passage
            .note
            .as_deref()
            .is_some_and(|note| note.contains("verdict"))
    );
}

#[test]
fn a_rule_that_queues_is_it_where_the_queue_could_not_take_the_packet() {
    let queued = |symbol| {
        let last = record(&[
            BEGIN,
            verdict(7 << 16 | 3, expression(FORWARD_RULES, 1), 0),
            end(7 << 16 | 3),
        ]);
        proved(&last, symbol, &WRITERS)
    };
    let (culprit, confidence) = queued("nf_queue");
    assert_eq!(
        (culprit, confidence),
        (
            Culprit::Place(place(0, Some(1), Ending::Certain)),
            Confidence::Exact
        )
    );
    // What was freed elsewhere was not dropped for being queued.
    assert_ne!(queued("nf_hook_slow").1, Confidence::Exact);
}

#[test]
fn a_rule_that_accepts_and_dropped_says_why() {
    let last = record(&[BEGIN, verdict(0, expression(SUB_RULES, 0), 0)]);
    let (snapshot, drop) = (nft(), event(&[]));
    let death = Death {
        site: inet(Hook::Forward),
        symbol: "nft_do_chain",
        is_watched: &|_| true,
    };
    let before = decide(
        &drop,
        &snapshot,
        death.site,
        death.symbol,
        &mut Pending::default(),
    );
    let verdict = prove(before, &drop, &last, &snapshot, &death);
    assert_eq!(verdict.confidence, Confidence::Exact);
    assert!(verdict.note.is_some_and(|note| note.contains("malformed")));
}

#[test]
fn a_policy_is_it_if_no_rule_decided_and_everything_was_watched() {
    let last = record(&[
        BEGIN,
        verdict(-3, expression(FORWARD_RULES, 0), SUB),
        verdict(-5, expression(SUB_RULES, 0), 0),
    ]);
    assert_eq!(
        proved(&last, "nft_do_chain", &WRITERS),
        (Culprit::Place(FORWARD_POLICY), Confidence::Exact)
    );
    assert_eq!(
        proved(&last, "nft_do_chain", &WRITERS[..1]),
        (Culprit::Place(FORWARD_POLICY), Confidence::Inferred),
        "the other may have dropped it"
    );
    assert_eq!(passages(&last, Some(&nft()))[0].verdict, Some(PassVerdict::Drop));
}

#[test]
fn a_rule_whose_verdict_would_not_be_seen_may_have_been_it() {
    let mut snapshot = nft();
    snapshot.tables[0].chains[1].rules[1].target = Some("reject".into());
    snapshot.uncounted = vec![SUB_DROP, FORWARD_POLICY];
    let of = |snapshot: &Snapshot, watched: &[u64]| {
        let death = Death {
            site: inet(Hook::Forward),
            symbol: "nft_do_chain",
            is_watched: &|function| watched.contains(&function),
        };
        // The rules had just changed: what went before says nothing.
        let verdict = prove(
            crate::attribute::culprit::unknown(Vec::new()),
            &event(&[]),
            &record(&[BEGIN]),
            snapshot,
            &death,
        );
        (verdict.culprit, verdict.confidence)
    };
    let policy = Culprit::Place(FORWARD_POLICY);
    assert_eq!(of(&snapshot, &WRITERS), (policy.clone(), Confidence::Exact));
    assert_eq!(
        of(&snapshot, &WRITERS[..1]),
        (
            Culprit::OneOf(vec![SUB_DROP, FORWARD_POLICY]),
            Confidence::Unknown
        ),
        "a module that has just been loaded is not watched yet"
    );
    // A verdict that is written in a rule was watched for.
    snapshot.tables[0].chains[1].rules[1].target = Some("drop".into());
    assert_eq!(of(&snapshot, &WRITERS[..1]), (policy, Confidence::Inferred));
}

#[test]
fn what_something_else_freed_within_the_chain_is_no_policy_drop() {
    let last = record(&[BEGIN]);
    let (_, confidence) = proved(&last, "kfree_skb_list", &WRITERS);
    assert_ne!(confidence, Confidence::Exact);
    // An exit that was waited for was not seen.
    let mut unseen = record(&[BEGIN]);
    unseen.flags |= hook_flag::UNSEEN;
    let (_, confidence) = proved(&unseen, "nft_do_chain", &WRITERS);
    assert_ne!(confidence, Confidence::Exact);
    // The beginning was not seen, so a verdict may not have been either.
    let late = record(&[verdict(-3, expression(FORWARD_RULES, 0), SUB)]);
    let (_, confidence) = proved(&late, "nft_do_chain", &WRITERS);
    assert_ne!(confidence, Confidence::Exact);
}

#[test]
fn a_chain_that_was_left_alive_dropped_nothing() {
    let left = record(&[BEGIN, end(1)]);
    let (culprit, _) = proved(&left, "nft_do_chain", &WRITERS);
    assert_ne!(culprit, Culprit::Place(FORWARD_POLICY));
    let accepted = record(&[BEGIN, verdict(1, expression(FORWARD_RULES, 1), 0), end(1)]);
    assert_eq!(by_verdicts(&accepted, &nft())[0].steps.len(), 1);
}

#[test]
fn where_nf_hook_slow_frees_the_end_of_the_chain_says_that_the_policy_dropped() {
    let last = record(&[BEGIN, end(0)]);
    let mut old = nft();
    old.nft_frees = false;
    let steps = &by_verdicts(&last, &old)[0].steps;
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].rule, None);
    assert!(
        by_verdicts(&last, &nft())[0].steps.is_empty(),
        "where nft_do_chain frees, what it returns is no policy"
    );
}

#[test]
fn writers_that_call_each_other_are_one_rule() {
    let inner = verdict(1, expression(FORWARD_RULES, 1), 0);
    let both = record(&[BEGIN, inner, inner, end(1)]);
    assert_eq!(by_verdicts(&both, &nft())[0].steps.len(), 1);
}

#[test]
fn an_expression_of_no_rule_that_is_known_names_nobody() {
    for address in [FORWARD_RULES - 8, FORWARD_RULES + 4, expression(SUB_RULES, 2), 0] {
        assert_eq!(nft().rule_of_expression(address), None, "{address:x}");
    }
    let last = record(&[BEGIN, verdict(0, expression(SUB_RULES, 2), 0)]);
    let (_, confidence) = proved(&last, "nft_do_chain", &WRITERS);
    assert_ne!(confidence, Confidence::Exact);
    assert_eq!(
        nft().rule_of_expression(expression(SUB_RULES, 1)),
        Some((0, 1, 1))
    );
    assert_eq!(nft().rule_of_expression(SUB_RULES + 63), Some((0, 1, 0)));
}
