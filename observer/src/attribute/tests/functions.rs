//! Hook functions that are no ruleset, and rules that queue or translate.

use observer_common::HookEvent;

use super::*;
use crate::attribute::{Death, Verdict, alike, name, prove};
use crate::report::record::{Cause, Evidence};
use crate::ruleset::HookFunction;

const SRC_NAT_DONE: u32 = 1 << 7;

/// Gives a record the headers of a whole UDP packet.
pub(in crate::attribute) fn make_whole(event: &mut DropEvent) {
    event.header[0] = 0x45;
    event.header[9] = 17;
    event.header_bytes = 28;
}

fn function(hook: Hook, name: &str, priority: i32) -> HookFunction {
    HookFunction {
        hook,
        family: TableFamily::Ip,
        device: None,
        address: 0xffff_ffff_8100_0000,
        name: name.to_owned(),
        private: 0,
        priority: Some(priority),
        in_nat: false,
    }
}

/// No rules; conntrack and NAT on the hooks.
fn without_rules() -> Snapshot {
    let mut snapshot = Snapshot {
        generation: 1,
        ..Snapshot::default()
    };
    snapshot.hooks.functions = vec![
        function(Hook::Prerouting, "ipv4_conntrack_defrag", -400),
        function(Hook::Prerouting, "ipv4_conntrack_in", -200),
        function(Hook::Prerouting, "nf_nat_ipv4_pre_routing", -100),
        function(Hook::Postrouting, "nf_nat_ipv4_out", 100),
        function(Hook::Postrouting, "nf_confirm", i32::MAX),
    ];
    snapshot
}

/// A packet that no counter speaks of, with an entry in conntrack of this status if it has one.
fn dropped(status: Option<u32>) -> DropEvent {
    let mut event = event(&[]);
    make_whole(&mut event);
    if let Some(status) = status {
        event.flags |= flag::CONN;
        event.conn.status = status;
        event.conn.info = 2;
    }
    event
}

fn verdict(event: &DropEvent, snapshot: &Snapshot, site: Option<Site<'_>>, symbol: &str) -> Verdict {
    decide(event, snapshot, site, symbol, &mut Pending::default())
}

fn in_hook(event: &DropEvent, snapshot: &Snapshot, hook: Hook) -> (Culprit, Confidence) {
    let verdict = verdict(event, snapshot, inet(hook), "nf_hook_slow");
    (verdict.culprit, verdict.confidence)
}

#[test]
fn a_packet_without_an_entry_died_of_conntrack_and_one_with_an_entry_of_nat() {
    let snapshot = without_rules();
    assert_eq!(
        in_hook(&dropped(None), &snapshot, Hook::Prerouting),
        (Culprit::Function(1), Confidence::Inferred)
    );
    assert_eq!(
        in_hook(&dropped(Some(0)), &snapshot, Hook::Prerouting),
        (Culprit::Function(2), Confidence::Inferred)
    );
    // Without an entry, neither has anything to do there.
    assert_eq!(
        in_hook(&dropped(None), &snapshot, Hook::Postrouting),
        (Culprit::OneOf(Vec::new()), Confidence::Unknown)
    );
}

#[test]
fn a_new_connection_that_is_translated_died_when_it_was_entered() {
    let snapshot = without_rules();
    assert_eq!(
        in_hook(&dropped(Some(SRC_NAT_DONE)), &snapshot, Hook::Postrouting),
        (Culprit::Function(4), Confidence::Inferred)
    );
    assert_eq!(
        in_hook(&dropped(Some(0)), &snapshot, Hook::Postrouting),
        (Culprit::Function(3), Confidence::Inferred)
    );
    // A later packet, or an ICMP error: both can drop it.
    let mut later = dropped(Some(SRC_NAT_DONE));
    later.conn.info = 0;
    assert_eq!(
        in_hook(&later, &snapshot, Hook::Postrouting),
        (Culprit::Functions(vec![3, 4]), Confidence::Unknown)
    );
}

#[test]
fn a_packet_that_nat_let_pass_died_of_nothing_before() {
    let mut snapshot = without_rules();
    let before = function(Hook::Postrouting, "apparmor_ip_postroute", -225);
    snapshot.hooks.functions.insert(3, before);
    assert_eq!(
        in_hook(&dropped(Some(SRC_NAT_DONE)), &snapshot, Hook::Postrouting),
        (Culprit::Function(5), Confidence::Inferred)
    );
    assert_eq!(
        in_hook(&dropped(Some(0)), &snapshot, Hook::Postrouting).0,
        Culprit::Functions(vec![3, 4])
    );
    // Its source may have been translated on its way through this host before.
    let confirmed = |more| {
        in_hook(
            &dropped(Some(SRC_NAT_DONE | 1 << 3 | more)),
            &snapshot,
            Hook::Postrouting,
        )
        .0
    };
    assert_eq!(confirmed(0), Culprit::Function(3));
    // Confirming what is confirmed drops it only for its helper or its sequence numbers, or if it died meanwhile.
    for may_be_dropped in [1, 1 << 6, 1 << 9, 1 << 13] {
        assert_eq!(confirmed(may_be_dropped), Culprit::Functions(vec![3, 5]));
    }
}

#[test]
fn what_is_not_known_may_have_dropped_it_too() {
    let mut snapshot = without_rules();
    snapshot.hooks.functions.push(function(Hook::Prerouting, "", 7));
    let verdict = verdict(&dropped(None), &snapshot, inet(Hook::Prerouting), "nf_hook_slow");
    assert_eq!(verdict.culprit, Culprit::Functions(vec![1, 5]));
    let info = name(&dropped(None), &snapshot, None, &verdict, |_| None);
    assert_eq!((info.cause, info.confidence), (None, Confidence::Unknown));
    assert_eq!(
        info.note.as_deref(),
        Some(
            "no rule or policy dropped it, but a function of the hook: ipv4_conntrack_in (priority -200), \
             0xffffffff81000000 (priority 7)"
        )
    );
}

#[test]
fn functions_of_one_thing_say_what_it_is() {
    let mut snapshot = without_rules();
    let ipvs = ["ip_vs_out_hook", "ip_vs_in_hook"];
    let ipvs = ipvs.map(|name| function(Hook::Input, name, 98));
    snapshot.hooks.functions = ipvs.to_vec();
    let told = |snapshot: &Snapshot| {
        let verdict = verdict(&dropped(None), snapshot, inet(Hook::Input), "nf_hook_slow");
        name(&dropped(None), snapshot, None, &verdict, |_| None).text
    };
    assert!(told(&snapshot).is_some_and(|text| text.starts_with("IPVS did not deliver it")));
    let other = function(Hook::Input, "selinux_ip_input", 99);
    snapshot.hooks.functions.push(other);
    assert_eq!(told(&snapshot), None);
}

#[test]
fn a_function_is_named_with_its_priority_and_what_it_means() {
    let snapshot = without_rules();
    let verdict = verdict(&dropped(None), &snapshot, inet(Hook::Prerouting), "nf_hook_slow");
    let info = name(
        &dropped(None),
        &snapshot,
        Some(Hook::Prerouting),
        &verdict,
        |_| None,
    );
    assert_eq!(info.cause, Some(Cause::Hook));
    assert_eq!(info.function.as_deref(), Some("ipv4_conntrack_in"));
    assert_eq!(info.priority, Some(-200));
    assert_eq!(info.evidence, [Evidence::HookEntry]);
    assert!(info.text.is_some_and(|text| text.contains("nf_conntrack_max")));
    assert_eq!((info.table, info.rule, info.backend), (None, None, None));
}

#[test]
fn a_malformed_packet_may_have_died_of_a_match() {
    let mut snapshot = without_rules();
    let rules = vec![rule(Step::Accept)];
    snapshot.tables = vec![Table {
        backend: Backend::Legacy,
        family: TableFamily::Ip,
        name: "raw".to_owned(),
        chains: vec![base(Hook::Prerouting, Policy::Accept, rules)],
        hash: 0,
        address: 0,
    }];
    let whole = verdict(&dropped(None), &snapshot, inet(Hook::Prerouting), "nf_hook_slow");
    assert_eq!(
        (whole.confidence, whole.note.is_some()),
        (Confidence::Inferred, true)
    );
    let mut cut = dropped(None);
    cut.header_bytes = 24;
    let cut = verdict(&cut, &snapshot, inet(Hook::Prerouting), "nf_hook_slow");
    assert_eq!(cut.culprit, Culprit::Functions(vec![1]));
    assert_eq!((cut.confidence, cut.note.is_some()), (Confidence::Unknown, true));
}

#[test]
fn no_function_is_named_where_the_answer_may_be_old_or_elsewhere() {
    let snapshot = without_rules();
    let hook = inet(Hook::Prerouting);
    let named = |event: &DropEvent, site, symbol| verdict(event, &snapshot, site, symbol).is_named();
    let mut stale = dropped(None);
    stale.flags |= flag::STALE;
    let mut fresh = dropped(None);
    fresh.flags &= !flag::COMPARED;
    for event in [stale, fresh] {
        let verdict = verdict(&event, &snapshot, hook, "nf_hook_slow");
        assert_eq!(verdict.culprit, Culprit::OneOf(Vec::new()));
    }
    assert!(!named(&dropped(None), hook, "nft_do_chain"));
    assert!(!named(&dropped(None), None, "nf_hook_slow"));
    let bridge = hook.map(|site| Site {
        family: TableFamily::Bridge,
        ..site
    });
    let verdict = verdict(&dropped(None), &snapshot, bridge, "nf_hook_slow");
    assert_eq!(verdict.culprit, Culprit::OneOf(Vec::new()));
}

#[test]
fn the_function_in_which_the_packet_was_freed_is_it() {
    let mut snapshot = without_rules();
    let synproxy = function(Hook::Postrouting, "ipv4_synproxy_hook", i32::MAX - 1);
    snapshot.hooks.functions.push(synproxy);
    let site = inet(Hook::Postrouting).map(|site| Site {
        function: Some("ipv4_synproxy_hook"),
        ..site
    });
    let inside = verdict(&dropped(Some(0)), &snapshot, site, "ipv4_synproxy_hook");
    assert_eq!(
        (inside.culprit, inside.confidence),
        (Culprit::Function(5), Confidence::Inferred)
    );
}

/// The snapshot of this file's parent, in which one rule's target is this.
fn with_target(target: &str) -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.tables[0].chains[0].rules[1].target = Some(target.to_owned().into());
    snapshot
}

#[test]
fn a_queue_s_own_drop_is_exact_and_its_listener_s_is_not() {
    let snapshot = with_target("NFQUEUE");
    let forward = inet(Hook::Forward);
    let both = event(&[(0, 1, 60), (1, 1, 60)]);
    let decided = |event: &DropEvent, symbol| {
        let verdict = verdict(event, &snapshot, forward, symbol);
        (verdict.culprit, verdict.confidence)
    };
    let queue = Culprit::Place(FORWARD_QUEUE);
    assert_eq!(decided(&both, "nf_queue"), (queue.clone(), Confidence::Exact));
    assert_eq!(decided(&both, "nf_reinject"), (queue, Confidence::Inferred));
    assert_eq!(decided(&event(&[(1, 1, 59)]), "nf_queue").1, Confidence::Unknown);
    let mut many = event(&[(1, 1, 60)]);
    many.moved_count = 9;
    assert_eq!(decided(&many, "nf_queue").1, Confidence::Inferred);
}

#[test]
fn a_queue_that_kept_others_is_named_if_no_other_rule_queues() {
    let mut snapshot = with_target("NFQUEUE");
    let kept_two = event(&[(1, 3, 180)]);
    let decided = |snapshot: &Snapshot| {
        let verdict = verdict(&kept_two, snapshot, inet(Hook::Forward), "nf_queue");
        (verdict.culprit, verdict.confidence)
    };
    let queue = Culprit::Place(FORWARD_QUEUE);
    assert_eq!(decided(&snapshot), (queue, Confidence::Exact));
    // A second rule that queues, and does not count.
    snapshot.tables[0].chains[0].rules[2] = Rule {
        target: Some("queue".into()),
        ..Rule::default()
    };
    snapshot.uncounted.push(Place {
        rule: Some(2),
        ..FORWARD_QUEUE
    });
    assert_eq!(decided(&snapshot).1, Confidence::Unknown);
}

#[test]
fn a_rule_that_translated_is_not_it() {
    let snapshot = with_target("MASQUERADE");
    let mut moved = event(&[(1, 1, 60)]);
    moved.flags |= flag::CONN;
    // In FORWARD no rule translates, but the destination counts as what NAT does there.
    moved.conn.status = 1 << 8;
    assert_eq!(in_hook(&moved, &snapshot, Hook::Forward).1, Confidence::Unknown);
    moved.conn.status = 0;
    assert_eq!(
        in_hook(&moved, &snapshot, Hook::Forward),
        (Culprit::Place(FORWARD_QUEUE), Confidence::Inferred)
    );
}

/// What a function returned, as its probe says it: from just behind its first instruction.
fn returned(address: u64, value: u32) -> Box<HookEvent> {
    let mut record = crate::capture::blank_hook();
    record.flags = observer_common::hook_flag::FREED;
    (record.returned, record.pf, record.hook, record.generation) = (-1, 2, 1, 1);
    // Behind it what the rules of the hook counted; the first step is of kind COUNTER.
    record.step_count = 2;
    record.steps[0].kind = observer_common::step::FUNCTION;
    record.steps[0].value = value;
    record.steps[0].words = [address + 5, 0, 0];
    record
}

#[test]
fn of_functions_that_are_alike_the_one_that_returned_drop_is_it() {
    let mut snapshot = without_rules();
    let ipvs = |name, address, priority| HookFunction {
        address,
        ..function(Hook::Input, name, priority)
    };
    snapshot.hooks.functions.extend([
        ipvs("ip_vs_out_hook", 0x1000, 98),
        ipvs("ip_vs_in_hook", 0x2000, 99),
    ]);
    assert_eq!(alike(&snapshot), ["ip_vs_out_hook", "ip_vs_in_hook"]);
    let drop = dropped(None);
    let prove = |last: &HookEvent, symbol: &str| {
        let site = inet(Hook::Input);
        let before = verdict(&drop, &snapshot, site, symbol);
        let death = Death {
            site,
            symbol,
            is_watched: &|_| true,
        };
        let proved = prove(before, &drop, last, &snapshot, &death);
        (proved.culprit, proved.confidence)
    };
    let exact = (Culprit::Function(6), Confidence::Exact);
    assert_eq!(prove(&returned(0x2000, 0), "nf_hook_slow"), exact);
    // Stolen, not dropped; not what frees in a hook; a function that is not on this hook.
    for (last, symbol) in [
        (returned(0x2000, 2), "nf_hook_slow"),
        (returned(0x2000, 0), "nft_do_chain"),
        (returned(0x3000, 0), "nf_hook_slow"),
    ] {
        assert_ne!(prove(&last, symbol).1, Confidence::Exact);
    }
}

#[test]
fn a_function_that_nothing_is_like_is_not_watched() {
    let mut snapshot = without_rules();
    let bpf = function(Hook::Prerouting, "nf_hook_run_bpf", -150);
    snapshot.hooks.functions.push(bpf);
    assert!(
        alike(&snapshot).is_empty(),
        "conntrack and NAT are told apart by the connection"
    );
}
