//! What may be called exact, and what may not.

mod families;
pub(super) mod functions;
mod verdicts;

use observer_common::{DropEvent, Moved, flag};

use super::culprit::Move;
use super::{Culprit, Pending, Site, decide};
use crate::capture::blank;
use crate::report::record::{Backend, Confidence, Hook, TableFamily};
use crate::ruleset::{Base, Chain, Counter, Ending, Place, Policy, Rule, Snapshot, Step, Table};

const COUNTER: Option<Counter> = Some(Counter {
    address: 0x1000,
    plain: false,
    bytes_first: false,
});

fn rule(step: Step) -> Rule {
    Rule {
        step,
        counter: COUNTER,
        ..Rule::default()
    }
}

fn base(hook: Hook, policy: Policy, rules: Vec<Rule>) -> Chain {
    let base = Base {
        hook,
        priority: 0,
        policy,
        counter: COUNTER,
    };
    Chain {
        name: hook.name().to_owned(),
        base: Some(base),
        rules,
        address: 0,
        mapped: false,
    }
}

/// filter with FORWARD (a DROP, an NFQUEUE, a jump to USER; policy DROP), OUTPUT (a DROP) and USER (a DROP).
fn snapshot() -> Snapshot {
    let user = Chain {
        name: "USER".to_owned(),
        base: None,
        rules: vec![rule(Step::Drop)],
        address: 0,
        mapped: false,
    };
    let forward = vec![rule(Step::Drop), rule(Step::MayDrop), rule(Step::Jump(2))];
    let table = Table {
        backend: Backend::Legacy,
        family: TableFamily::Ip,
        name: "filter".to_owned(),
        chains: vec![
            base(Hook::Forward, Policy::Drop, forward),
            base(Hook::Output, Policy::Accept, vec![rule(Step::Drop)]),
            user,
        ],
        hash: 0,
        address: 0,
    };
    Snapshot {
        generation: 1,
        order: vec![0, 1, 2, 3, 4],
        tables: vec![table],
        locations: vec![None],
        blocks: [0x1000].into(),
        places: vec![
            FORWARD_RULE,
            FORWARD_QUEUE,
            FORWARD_POLICY,
            OUTPUT_RULE,
            USER_RULE,
        ],
        ..Snapshot::default()
    }
}

const fn place(chain: usize, rule: Option<usize>, ending: Ending) -> Place {
    Place {
        table: 0,
        chain,
        rule,
        ending,
    }
}

const FORWARD_RULE: Place = place(0, Some(0), Ending::Certain);
const FORWARD_QUEUE: Place = place(0, Some(1), Ending::Possible);
const FORWARD_POLICY: Place = place(0, None, Ending::Certain);
const OUTPUT_RULE: Place = place(1, Some(0), Ending::Certain);
const USER_RULE: Place = place(2, Some(0), Ending::Certain);

/// A record of a packet of 60 bytes in which these candidates moved: number, packets, bytes.
fn event(moved: &[(u32, u32, u64)]) -> DropEvent {
    let mut event = blank();
    event.flags = flag::NETFILTER | flag::COMPARED;
    event.protocol = 0x0800_u16.to_be();
    event.len_bytes = 60;
    event.generation = 1;
    event.sequence = 5;
    event.moved_count = moved.len() as u32;
    for (to, (index, packets, bytes)) in event.moved.iter_mut().zip(moved) {
        *to = Moved {
            candidate: *index,
            packets: *packets,
            bytes: *bytes,
        };
    }
    event
}

/// A hook of IPv4 and IPv6, whose caller freed the packet.
fn inet(hook: Hook) -> Option<Site<'static>> {
    Some(Site {
        hook,
        family: TableFamily::Inet,
        bridged: false,
        function: None,
    })
}

fn decided(event: &DropEvent, hook: Option<Hook>) -> (Culprit, Confidence) {
    let site = hook.and_then(inet);
    let verdict = decide(event, &snapshot(), site, "nf_hook_slow", &mut Pending::default());
    (verdict.culprit, verdict.confidence)
}

#[test]
fn one_counter_that_counted_exactly_this_packet_is_exact() {
    let forward = Some(Hook::Forward);
    assert_eq!(
        decided(&event(&[(0, 1, 60)]), forward),
        (Culprit::Place(FORWARD_RULE), Confidence::Exact)
    );
    assert_eq!(
        decided(&event(&[(2, 1, 60)]), forward),
        (Culprit::Place(FORWARD_POLICY), Confidence::Exact)
    );
    assert_eq!(
        decided(&event(&[(4, 1, 60)]), forward),
        (Culprit::Place(USER_RULE), Confidence::Exact)
    );
}

#[test]
fn behind_drops_that_were_only_counted_nothing_is_concluded() {
    let mut behind = event(&[]);
    behind.flags = flag::NETFILTER | flag::BEHIND;
    let (culprit, confidence) = decided(&behind, Some(Hook::Forward));
    assert_eq!(confidence, Confidence::Unknown);
    let Culprit::OneOf(candidates) = culprit else {
        panic!("named: {culprit:?}");
    };
    assert!(candidates.contains(&FORWARD_RULE) && candidates.contains(&FORWARD_POLICY));
    assert!(!candidates.contains(&OUTPUT_RULE), "not of this hook");
}

#[test]
fn what_was_left_over_before_a_flood_is_nobodys() {
    let mut pending = Pending::default();
    let hook = inet(Hook::Forward);
    let mut decide_one = |event: &DropEvent| {
        let verdict = decide(event, &snapshot(), hook, "nf_hook_slow", &mut pending);
        (verdict.culprit, verdict.confidence)
    };
    // It interrupted a packet that OUTPUT's rule had counted.
    let first = decide_one(&event(&[(0, 1, 60), (3, 1, 60)]));
    assert_eq!(first, (Culprit::Place(FORWARD_RULE), Confidence::Exact));
    // That one was only counted, and so were others.
    let mut late = event(&[]);
    late.flags = flag::NETFILTER | flag::BEHIND;
    late.sequence = 9;
    assert_eq!(decide_one(&late).1, Confidence::Unknown);
}

#[test]
fn a_counter_that_counted_something_else_is_not_exact() {
    for moved in [(0, 2, 120), (0, 1, 61), (0, 2, 60)] {
        assert_eq!(
            decided(&event(&[moved]), Some(Hook::Forward)).1,
            Confidence::Inferred,
            "{moved:?}"
        );
    }
}

#[test]
fn a_rule_that_the_hook_does_not_lead_to_is_not_it() {
    let (culprit, confidence) = decided(&event(&[(0, 1, 60)]), Some(Hook::Output));
    assert_eq!(
        (culprit, confidence),
        (Culprit::OneOf(Vec::new()), Confidence::Unknown)
    );
    // A REJECT in FORWARD whose answer dies in OUTPUT: both moved, only one is in this hook.
    let both = event(&[(0, 1, 60), (3, 1, 60)]);
    assert_eq!(
        decided(&both, Some(Hook::Output)),
        (Culprit::Place(OUTPUT_RULE), Confidence::Exact)
    );
}

#[test]
fn the_interrupted_packet_gets_what_the_interrupting_one_left() {
    let (snapshot, mut pending) = (snapshot(), Pending::default());
    let both = event(&[(0, 1, 60), (3, 1, 60)]);
    decide(&both, &snapshot, inet(Hook::Output), "nf_hook_slow", &mut pending);
    let mut outer = event(&[]);
    outer.sequence = 6;
    let verdict = decide(
        &outer,
        &snapshot,
        inet(Hook::Forward),
        "nf_hook_slow",
        &mut pending,
    );
    assert_eq!(
        (verdict.culprit, verdict.confidence),
        (Culprit::Place(FORWARD_RULE), Confidence::Exact)
    );
    assert!(!verdict.jumps_fit);
}

#[test]
fn what_was_left_two_drops_ago_belongs_to_nobody() {
    let (snapshot, mut pending) = (snapshot(), Pending::default());
    pending.leave(
        0,
        3,
        1,
        vec![Move {
            place: FORWARD_RULE,
            packets: 1,
            bytes: 60,
        }],
    );
    let verdict = decide(
        &event(&[]),
        &snapshot,
        inet(Hook::Forward),
        "nf_hook_slow",
        &mut pending,
    );
    assert_eq!(verdict.confidence, Confidence::Unknown);
}

#[test]
fn several_rules_of_one_hook_are_never_exact() {
    let forward = Some(Hook::Forward);
    let one_fits = event(&[(0, 1, 60), (4, 1, 84)]);
    assert_eq!(
        decided(&one_fits, forward),
        (Culprit::Place(FORWARD_RULE), Confidence::Inferred)
    );
    let both_fit = event(&[(0, 1, 60), (4, 1, 60)]);
    assert_eq!(
        decided(&both_fit, forward),
        (Culprit::OneOf(vec![FORWARD_RULE, USER_RULE]), Confidence::Unknown)
    );
    // Without a known hook, nothing can be excluded.
    assert_eq!(
        decided(&event(&[(0, 1, 60), (3, 1, 60)]), None).1,
        Confidence::Unknown
    );
}

#[test]
fn a_target_that_only_may_drop_is_no_proof() {
    let forward = Some(Hook::Forward);
    assert_eq!(
        decided(&event(&[(1, 1, 60)]), forward),
        (Culprit::Place(FORWARD_QUEUE), Confidence::Inferred)
    );
    // Beside a rule that always drops it is no rival.
    let both = event(&[(0, 1, 60), (1, 1, 60)]);
    assert_eq!(
        decided(&both, forward),
        (Culprit::Place(FORWARD_RULE), Confidence::Exact)
    );
}

#[test]
fn more_counters_than_the_record_holds_are_never_exact() {
    let mut many = event(&[(0, 1, 60)]);
    many.moved_count = 9;
    assert_eq!(decided(&many, Some(Hook::Forward)).1, Confidence::Inferred);
}

#[test]
fn a_legacy_rule_is_not_it_where_nf_tables_freed_the_packet() {
    let moved = event(&[(0, 1, 60)]);
    let verdict = decide(
        &moved,
        &snapshot(),
        inet(Hook::Forward),
        "nft_do_chain",
        &mut Pending::default(),
    );
    assert_eq!(verdict.confidence, Confidence::Unknown);
}

#[test]
fn an_ipv4_rule_is_not_it_for_ipv6() {
    let mut moved = event(&[(0, 1, 60)]);
    moved.protocol = 0x86dd_u16.to_be();
    assert_eq!(decided(&moved, Some(Hook::Forward)).1, Confidence::Unknown);
}

#[test]
fn without_a_baseline_everything_that_fits_is_a_candidate() {
    let mut fresh = event(&[]);
    fresh.flags = flag::NETFILTER | flag::NO_BASELINE;
    let (culprit, confidence) = decided(&fresh, Some(Hook::Output));
    assert_eq!(
        (culprit, confidence),
        (Culprit::OneOf(vec![OUTPUT_RULE]), Confidence::Unknown)
    );
}

#[test]
fn what_was_compared_with_another_reading_proves_nothing() {
    for generation in [0, 2] {
        let mut other = event(&[(0, 1, 60)]);
        other.generation = generation;
        assert_eq!(
            decided(&other, Some(Hook::Forward)).1,
            Confidence::Unknown,
            "{generation}"
        );
    }
}

/// What the oracle found: a rule with `snat` had counted packets that lived, and was named for one that a policy without a
/// counter had dropped.
#[test]
fn what_counts_nothing_may_have_dropped_what_a_rule_counted_that_may_drop() {
    let mut snapshot = snapshot();
    let policy = place(0, None, Ending::Certain);
    snapshot.places.retain(|one| *one != FORWARD_POLICY);
    let queue = snapshot.places.iter().position(|one| *one == FORWARD_QUEUE);
    let queue = queue.and_then(|at| u32::try_from(at).ok()).expect("it counts");
    for (packets, bytes) in [(1, 60), (37, 1963)] {
        let moved = event(&[(queue, packets, bytes)]);
        snapshot.uncounted = vec![policy];
        let verdict = decide(
            &moved,
            &snapshot,
            inet(Hook::Forward),
            "nf_hook_slow",
            &mut Pending::default(),
        );
        assert_eq!(verdict.culprit, Culprit::OneOf(vec![FORWARD_QUEUE, policy]));
        assert_eq!(verdict.confidence, Confidence::Unknown);
    }
}

/// What the oracle found: candidates out of the ruleset that had been replaced, without the one that it was.
#[test]
fn a_ruleset_that_is_no_longer_in_force_has_no_candidates() {
    let mut stale = event(&[]);
    stale.flags |= flag::STALE;
    let mut replaced = event(&[]);
    replaced.generation = 2;
    for event in [stale, replaced] {
        assert_eq!(
            decided(&event, Some(Hook::Forward)),
            (Culprit::OneOf(Vec::new()), Confidence::Unknown)
        );
    }
}

#[test]
fn of_replaced_rules_a_counter_that_was_not_watched_proves_nothing() {
    let mut snapshot = snapshot();
    let watched = std::mem::take(&mut snapshot.blocks);
    let mut moved = event(&[(0, 1, 60)]);
    let confidence = |event: &DropEvent, snapshot: &Snapshot| {
        let pending = &mut Pending::default();
        decide(event, snapshot, inet(Hook::Forward), "nf_hook_slow", pending).confidence
    };
    assert_eq!(confidence(&moved, &snapshot), Confidence::Exact);
    moved.flags |= flag::STALE;
    assert_eq!(confidence(&moved, &snapshot), Confidence::Unknown);
    // Of those that did not move this packet met none.
    let mut elsewhere = snapshot.counter(&FORWARD_POLICY).expect("it counts");
    elsewhere.address += 0x1000;
    snapshot.tables[0].chains[0]
        .base
        .as_mut()
        .expect("it has one")
        .counter = Some(elsewhere);
    snapshot.blocks = watched;
    assert!(snapshot.is_unwatched(&FORWARD_POLICY));
    assert_eq!(confidence(&moved, &snapshot), Confidence::Exact);
}
