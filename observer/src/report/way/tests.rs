use super::super::record::samples::{
    At, drop_line, jump, pass_line, path_drop, policy, probes_line, route_drop, step, target,
};
use super::super::record::{Change, Event, Line, PathEvidence, PathLine, PathStep, TableFamily};
use super::super::{Report as _, Text};
use super::*;

fn told(line: &Line, look: Look) -> String {
    let mut page = Vec::new();
    let mut text = Text::new(&mut page, look);
    text.line(line).expect("writes");
    text.finish().expect("writes");
    drop(text);
    String::from_utf8(page).expect("UTF-8")
}

/// From the way on, without the margin.
fn way_at(line: &Line, width: usize) -> String {
    let text = told(line, Look::plain(width));
    let begin = text.find(" way  ").expect("a way") + 1;
    text[begin..]
        .lines()
        .enumerate()
        .map(|(number, line)| {
            line.chars()
                .skip(if number == 0 { 5 } else { INDENT })
                .collect::<String>()
                + "\n"
        })
        .collect()
}

fn passed(path: Vec<Passage>) -> Line {
    let pass = PathLine {
        path,
        ..PathLine::default()
    };
    drop_line(path_drop()).with(Event::Path(Box::new(pass)))
}

impl Line {
    fn with(self, event: Event) -> Self {
        Self { event, ..self }
    }
}

fn at(netns: &'static str, hook: Hook) -> At {
    At {
        netns,
        hook,
        devices: (Some("eth0"), None),
        is_outer: false,
    }
}

#[test]
fn the_two_node_cluster_reads_well_at_eighty_columns() {
    let expected = "\
master
  OUTPUT → eth0             mangle, filter: accepted by policy
    nat OUTPUT 1 → KUBE-SERVICES 1
    → KUBE-SVC-PIU4JA5FNNNHNOAJ 1 → KUBE-MARK-MASQ 1 MARK,
    KUBE-SVC-PIU4JA5FNNNHNOAJ 2
    → KUBE-SEP-EKAXC3AGUDPBQ32C 2 DNAT
    dst 10.108.94.160:80 → 10.224.2.16:80, mark 0x0 → 0x4000
  POSTROUTING → flannel.1   mangle: accepted by policy
    nat POSTROUTING 1 → KUBE-POSTROUTING 2 MARK, 3 MASQUERADE
    src 10.0.0.10:41234 → 10.224.0.0:41234, mark 0x4000 → 0x0
master, in vxlan 10.0.0.10 → 10.0.0.12
  OUTPUT → eth0  mangle, nat, filter: accepted by policy
  POSTROUTING → eth0        mangle, nat: accepted by policy
node02, in vxlan 10.0.0.10 → 10.0.0.12
  PREROUTING eth0 →         mangle, nat: accepted by policy
  INPUT eth0 →              mangle, filter: accepted by policy
node02
  PREROUTING flannel.1 →    mangle, nat: accepted by policy
  FORWARD flannel.1 → cni0  mangle: accepted by policy
    filter FORWARD: came back from KUBE-FORWARD,
    KUBE-SERVICES, KUBE-EXTERNAL-SERVICES, DOCKER-USER,
    DOCKER-ISOLATION-STAGE-1
    DROP by policy DROP of filter FORWARD
";
    assert_eq!(way_at(&drop_line(path_drop()), 80), expected);
}

#[test]
fn the_two_node_cluster_reads_well_at_a_hundred_and_twenty_columns() {
    let expected = "\
master
  OUTPUT → eth0             mangle, filter: accepted by policy
                            nat OUTPUT 1 → KUBE-SERVICES 1 → KUBE-SVC-PIU4JA5FNNNHNOAJ 1
                            → KUBE-MARK-MASQ 1 MARK, KUBE-SVC-PIU4JA5FNNNHNOAJ 2
                            → KUBE-SEP-EKAXC3AGUDPBQ32C 2 DNAT
                            dst 10.108.94.160:80 → 10.224.2.16:80, mark 0x0 → 0x4000
  POSTROUTING → flannel.1   mangle: accepted by policy
                            nat POSTROUTING 1 → KUBE-POSTROUTING 2 MARK, 3 MASQUERADE
                            src 10.0.0.10:41234 → 10.224.0.0:41234, mark 0x4000 → 0x0
master, in vxlan 10.0.0.10 → 10.0.0.12
  OUTPUT → eth0             mangle, nat, filter: accepted by policy
  POSTROUTING → eth0        mangle, nat: accepted by policy
node02, in vxlan 10.0.0.10 → 10.0.0.12
  PREROUTING eth0 →         mangle, nat: accepted by policy
  INPUT eth0 →              mangle, filter: accepted by policy
node02
  PREROUTING flannel.1 →    mangle, nat: accepted by policy
  FORWARD flannel.1 → cni0  mangle: accepted by policy
                            filter FORWARD: came back from KUBE-FORWARD, KUBE-SERVICES,
                            KUBE-EXTERNAL-SERVICES, DOCKER-USER, DOCKER-ISOLATION-STAGE-1
                            DROP by policy DROP of filter FORWARD
";
    assert_eq!(way_at(&drop_line(path_drop()), 120), expected);
}

#[test]
fn a_packet_that_lives_is_a_pass_and_tables_of_two_backends_are_told_apart() {
    let text = told(&pass_line(), Look::plain(80));
    let first = "PASS tcp 10.0.0.10:41234 → 10.108.94.160:80 SYN 60 bytes\n";
    assert_eq!(&text[13..13 + first.len()], first);
    let text = way_at(&pass_line(), 120);
    assert!(
        text.contains("  OUTPUT → eth0             legacy mangle, filter: accepted by policy\n"),
        "{text}"
    );
    let last = "  FORWARD flannel.1 → cni0  legacy mangle: accepted by policy
                            nft ip filter FORWARD 12 ×2 ACCEPT (replayed)
";
    assert!(text.ends_with(last) && !text.contains("DROP"), "{text}");
}

#[test]
fn native_tables_have_their_family_base_chain_and_handles() {
    let forward = At {
        devices: (Some("eth0"), Some("eth1")),
        ..at("router", Hook::Forward)
    };
    let nft = |family, chain: &str, priority, steps| Passage {
        backend: Some(Backend::Nft),
        family: Some(family),
        chain: Some(chain.into()),
        priority: Some(priority),
        steps,
        ..forward.table("fw")
    };
    let handle = |step: PathStep, handle| PathStep {
        handle: Some(handle),
        ..step
    };
    let goes = PathStep {
        goto: Some("guests".into()),
        ..step("from-lan", 4)
    };
    let accepts = PathStep {
        target: Some("counter".into()),
        verdict: Some("ACCEPT".into()),
        ..step("guests", 1)
    };
    let path = vec![
        nft(TableFamily::Inet, "early", -200, vec![policy("early", "ACCEPT")]),
        nft(TableFamily::Inet, "late", 10, vec![policy("late", "ACCEPT")]),
        nft(TableFamily::Ip, "late", 10, vec![policy("late", "ACCEPT")]),
        nft(
            TableFamily::Inet,
            "forward",
            0,
            vec![
                handle(jump("forward", 1, "nothing"), 7),
                handle(jump("forward", 2, "from-lan"), 8),
                handle(goes, 21),
                handle(accepts, 30),
            ],
        ),
    ];
    let expected = "\
router
  FORWARD eth0 → eth1  inet fw early, fw late, ip fw late: accepted by policy
                       inet fw forward handle 8 → from-lan handle 21 goto guests handle 30 counter ACCEPT
";
    assert_eq!(way_at(&passed(path), 140), expected);
}

#[test]
fn what_is_not_known_is_not_called_accepted() {
    let hook = at("node02", Hook::Prerouting);
    let none = Passage {
        note: Some("no hook registered here".into()),
        ..hook.hook_alone()
    };
    let unseen = Passage {
        verdict: None,
        steps: Vec::new(),
        ..at("node02", Hook::Input).table("raw")
    };
    let marked = Passage {
        verdict: None,
        steps: vec![target("INPUT", 3, "MARK")],
        ..at("node02", Hook::Input).table("mangle")
    };
    let accepted = Passage {
        steps: Vec::new(),
        note: Some("more rules than were watched".into()),
        ..at("node02", Hook::Input).table("filter")
    };
    let queued = Passage {
        verdict: Some(PassVerdict::Queue),
        netns: None,
        ..at("node02", Hook::Output).hook_alone()
    };
    let expected = "\
node02
  PREROUTING eth0 →  no hook registered here
  INPUT eth0 →       raw: not seen how it left
    mangle INPUT 3 MARK (not seen how it left)
    filter INPUT: accepted (more rules than were watched)
  OUTPUT eth0 →      QUEUE: waits for a program
";
    assert_eq!(
        way_at(&passed(vec![none, unseen, marked, accepted, queued]), 80),
        expected
    );
}

#[test]
fn the_least_passage_and_no_passage_have_words() {
    let least = Passage {
        netns: None,
        in_dev: None,
        verdict: None,
        ..at("", Hook::Ingress).hook_alone()
    };
    assert_eq!(
        way_at(&passed(vec![least]), 80),
        "INGRESS  not seen how it left\n".replace("ING", "  ING")
    );
    assert_eq!(
        way_at(&passed(Vec::new()), 80),
        "no hook that it passed was seen\n"
    );
}

#[test]
fn a_death_outside_the_hooks_ends_the_way_all_the_same() {
    let mut drop = route_drop();
    drop.path = vec![at("node02", Hook::Prerouting).table("nat")];
    let expected = "\
node02
  PREROUTING eth0 →  nat: accepted by policy
  DROP by routing: IP_INNOROUTES in ip6_pkt_drop
";
    assert_eq!(way_at(&drop_line(drop), 80), expected);
}

#[test]
fn the_culprit_is_the_one_that_the_drop_names() {
    let mut drop = path_drop();
    drop.drop.cause = None;
    let last = drop.path.last_mut().expect("a passage");
    last.steps = vec![jump("FORWARD", 1, "LOGGED"), target("LOGGED", 1, "LOG")];
    let text = way_at(&drop_line(drop), 80);
    let expected = "    filter FORWARD 1 → LOGGED 1 LOG
    DROP by netfilter at FORWARD, rule not known
";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_chain_that_the_packet_may_have_died_in_is_not_said_to_be_left() {
    let mut drop = path_drop();
    let last = drop.path.last_mut().expect("a passage");
    last.steps = vec![jump("FORWARD", 4, "DOCKER-USER")];
    let text = way_at(&drop_line(drop), 80);
    assert!(
        text.contains("    filter FORWARD: went into DOCKER-USER\n    DROP by policy"),
        "{text}"
    );
    assert!(!text.contains("came back"), "{text}");
}

#[test]
fn the_rule_that_kills_is_told_with_the_jumps_that_led_there() {
    let mut drop = path_drop();
    drop.drop = super::super::record::samples::rule_drop().drop;
    let last = drop.path.last_mut().expect("a passage");
    let kills = PathStep {
        verdict: Some("DROP".into()),
        ..step("KUBE-FORWARD", 1)
    };
    last.steps = vec![jump("FORWARD", 1, "KUBE-FORWARD"), kills];
    let expected = "  FORWARD flannel.1 → cni0  mangle: accepted by policy
    filter FORWARD 1 → KUBE-FORWARD 1 DROP
    DROP by rule 1 of filter KUBE-FORWARD
";
    let text = way_at(&drop_line(drop), 80);
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn the_death_is_set_off_in_colour() {
    let color = Look {
        color: true,
        ..Look::plain(80)
    };
    let text = told(&drop_line(path_drop()), color);
    let last = text.lines().last().expect("a line");
    assert!(
        last.trim_start().starts_with("\u{1b}[1m\u{1b}[31mDROP by"),
        "{last:?}"
    );
    let plain = anstream::adapter::strip_str(&text).to_string();
    assert_eq!(plain, told(&drop_line(path_drop()), Look::plain(80)));
}

#[test]
fn no_name_steers_the_terminal_and_no_width_breaks_the_page() {
    let evil = "\u{1b}[31mx\u{202e}\n\u{9b}2J\u{7}";
    let mut drop = path_drop();
    for passage in &mut drop.path {
        passage.in_dev = Some(evil.into());
        passage.table = Some(evil.into());
        passage.chain = Some(evil.repeat(9));
        passage.note = Some(evil.into());
        passage.changes = vec![Change::Dnat {
            from: evil.into(),
            to: evil.into(),
        }];
        passage.netns.as_mut().expect("a namespace").name = Some(evil.into());
        for step in &mut passage.steps {
            step.chain = evil.into();
            step.target = Some(evil.into());
            step.verdict = Some(evil.into());
        }
    }
    for width in [40, 63, 80, 120, 200] {
        for drop in [drop.clone(), path_drop()] {
            let pass = passed(drop.path.clone());
            let text = told(&drop_line(drop), Look::plain(width)) + &told(&pass, Look::plain(width));
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{width}\n{text}"
            );
            assert!(
                !text.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7}']),
                "{text}"
            );
        }
    }
}

#[test]
fn a_table_that_comes_again_is_another_traversal() {
    let hook = at("node02", Hook::Forward);
    let path = vec![
        hook.table("mangle"),
        hook.table("filter"),
        hook.table("mangle"),
        hook.table("filter"),
    ];
    let expected = "\
node02
  FORWARD eth0 →  mangle, filter: accepted by policy
  FORWARD eth0 →  mangle, filter: accepted by policy
";
    assert_eq!(way_at(&passed(path), 80), expected);
}

#[test]
fn a_way_without_end_is_cut_in_the_middle() {
    let path: Vec<Passage> = (0..100)
        .map(|_| at("node02", Hook::Forward).table("mangle"))
        .collect();
    let text = way_at(&passed(path), 80);
    assert_eq!(text.lines().count(), 1 + 16 + 1 + 16, "{text}");
    assert!(text.contains("\n  … 68 more hooks …\n"), "{text}");
}

#[test]
fn rules_that_led_nowhere_are_left_out_and_many_are_cut() {
    let steps = vec![
        jump("FORWARD", 1, "a"),
        jump("a", 1, "b"),
        PathStep {
            verdict: Some("RETURN".into()),
            ..step("b", 1)
        },
        jump("FORWARD", 2, "b"),
        target("b", 2, "LOG"),
        target("FORWARD", 3, "counter"),
        policy("FORWARD", "ACCEPT"),
    ];
    let told = steps::telling(&steps);
    assert_eq!(steps::chunks(&told, false), ["FORWARD 2", "→ b 2 LOG"]);
    assert_eq!(steps::left_again(&steps, &told), ["a", "b"]);

    let logs: Vec<PathStep> = (1..=20).map(|rule| target("INPUT", rule, "LOG")).collect();
    let chunks = steps::chunks(&steps::telling(&logs), false);
    assert_eq!((chunks.len(), chunks[8].as_str()), (17, "… 4 more rules …"));
    let gone = PathStep {
        chain: "INPUT".into(),
        target: Some("LOG".into()),
        ..PathStep::default()
    };
    assert_eq!(steps::chunks(&[&gone], true), ["INPUT (a rule that is gone) LOG"]);
}

#[test]
fn a_replayed_table_is_not_put_together_with_those_seen() {
    let hook = at("node02", Hook::Input);
    let replayed = Passage {
        evidence: PathEvidence::Replayed,
        ..hook.table("nat")
    };
    let expected = "\
node02
  INPUT eth0 →  mangle, filter: accepted by policy
    nat: accepted by policy (replayed)
";
    let path = vec![hook.table("mangle"), replayed, hook.table("filter")];
    assert_eq!(way_at(&passed(path), 80), expected);
}

#[test]
fn probes_that_come_off_are_a_note() {
    let text = told(&probes_line(), Look::plain(120));
    let expected = "NOTE path probes are off: they took 3.1 % of a CPU, and --budget is 2 %\n";
    assert_eq!(&text[13..], expected);
}
