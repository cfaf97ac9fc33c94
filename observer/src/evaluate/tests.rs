use std::net::IpAddr;

use super::*;
use crate::report::record::{CtState, Hook, Tuple};
use crate::ruleset::ipset::Sets;
use crate::ruleset::xtables::save;

const SEED: &str = include_str!("../../../tests/rules/seed.rules");

fn tables(text: &str) -> Vec<Table> {
    let document = save::parse(text).expect("parses");
    document
        .tables()
        .map(|table| xtables::table(table, &Sets::default()))
        .collect()
}

fn iptables(tables: &[Table]) -> InForce<'_> {
    InForce { tables, nft: None }
}

fn filter(rules: &str) -> Table {
    let text = format!("*filter\n:INPUT DROP\n:FORWARD ACCEPT\n:X -\n:Y -\n{rules}\nCOMMIT\n");
    tables(&text).remove(0)
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A SYN to a pod of the seed's cluster, as it comes to node02.
fn syn() -> Packet {
    Packet {
        src: Some(addr("10.224.0.0")),
        dst: Some(addr("10.224.2.16")),
        proto: Some(6),
        sport: Some(41234),
        dport: Some(80),
        tcp_flags: Some(2),
        is_fragment: Some(false),
        mark: Some(0),
        in_dev: Dev::named("flannel.1"),
        out_dev: Dev::named("cni0"),
        conn: Conn::new(),
        ..Packet::default()
    }
}

fn outcomes(table: &Table, packet: &Packet) -> Vec<Outcome> {
    walk(table, Hook::Input, packet, &Unknown, &mut Bounds::default())
}

/// Whether INPUT, whose policy is DROP, lets a packet live: with one outcome only.
fn lives(rules: &str, packet: &Packet) -> bool {
    let found = outcomes(&filter(rules), packet);
    assert_eq!(found.len(), 1, "{rules}: {found:?}");
    match found[0].verdict {
        Verdict::Accept(_) => true,
        Verdict::Drop(_) => false,
        Verdict::Open(..) => panic!("{rules}: {found:?}"),
    }
}

#[test]
fn each_match_answers_as_the_kernel_does() {
    let yes = [
        "-s 10.224.0.0/16 -d 10.224.2.16/32 -i flannel.1 -p tcp",
        "! -s 10.0.0.0/16 ! -i eth+ ! -p udp",
        "-i flan+ -p tcp -m tcp --sport 1024:65535 ! --dport 81",
        "-i + -o +",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
        "-p tcp -m multiport --dports 22,80:90",
        "-p tcp -m multiport --ports 41234",
        "-p tcp -m multiport ! --sports 80",
        "-m conntrack --ctstate NEW,RELATED",
        "-m conntrack ! --ctstate INVALID --ctdir ORIGINAL",
        "-m state --state NEW",
        "-m mark ! --mark 0x4000/0x4000",
        "-m connmark --mark 0x0",
        "! -f",
        "-m iprange --src-range 10.224.0.0-10.224.0.9",
        "-m comment --comment \"nothing is asked\"",
    ];
    let no = [
        "-s 10.244.0.0/16",
        "-p udp",
        "-i eth0",
        "-p tcp -m tcp --dport 443",
        "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN",
        "-p tcp -m multiport ! --dports 80",
        "-m conntrack --ctstate RELATED,ESTABLISHED",
        "-m conntrack --ctstate DNAT",
        "-m conntrack --ctstate NEW --ctdir REPLY",
        "-m mark --mark 0x4000/0x4000",
        "-f",
        "-m iprange ! --dst-range 10.224.2.0-10.224.2.255",
    ];
    for rule in yes {
        assert!(lives(&format!("-A INPUT {rule} -j ACCEPT"), &syn()), "{rule}");
    }
    for rule in no {
        assert!(!lives(&format!("-A INPUT {rule} -j ACCEPT"), &syn()), "{rule}");
    }
}

#[test]
fn a_fragment_has_no_ports_not_even_others() {
    let fragment = Packet {
        is_fragment: Some(true),
        sport: None,
        dport: None,
        tcp_flags: None,
        ..syn()
    };
    for rule in [
        "--dport 80",
        "! --dport 80",
        "--tcp-flags SYN SYN",
        "! --tcp-flags SYN SYN",
        "",
    ] {
        assert!(
            !lives(&format!("-A INPUT -p tcp -m tcp {rule} -j ACCEPT"), &fragment),
            "{rule}"
        );
    }
    assert!(lives("-A INPUT -f -j ACCEPT", &fragment) && lives("-A INPUT -p tcp -j ACCEPT", &fragment));
}

#[test]
fn without_a_connection_only_its_state_can_be_asked() {
    let invalid = Packet {
        conn: Conn {
            state: Some(CtState::Invalid),
            ..Conn::default()
        },
        ..syn()
    };
    for (rule, expected) in [
        ("-m conntrack --ctstate INVALID", true),
        ("-m conntrack --ctstate INVALID --ctorigsrc 1.2.3.4", true),
        ("-m conntrack ! --ctstate NEW --ctdir REPLY", true),
        ("-m conntrack --ctorigsrc 10.224.0.0", false),
        ("-m conntrack ! --ctorigsrc 1.2.3.4", false),
        ("-m connmark --mark 0x0", false),
        ("-m connmark ! --mark 0x7", false),
        ("-m state --state INVALID", true),
    ] {
        assert_eq!(
            lives(&format!("-A INPUT {rule} -j ACCEPT"), &invalid),
            expected,
            "{rule}"
        );
    }
}

#[test]
fn what_an_address_is_to_the_host_is_told_as_far_as_it_is_known() {
    let to = |kinds: Kinds, is_v6: bool| Packet {
        is_v6,
        dst_kinds: kinds,
        ..syn()
    };
    let of = |types: &str, packet: &Packet| {
        let rules = format!("-A INPUT -m addrtype --dst-type {types} -j ACCEPT");
        let found = outcomes(&filter(&rules), packet);
        (found.len() == 1).then(|| matches!(found[0].verdict, Verdict::Accept(_)))
    };
    assert_eq!(of("LOCAL", &to(Kinds::LOCAL, false)), Some(true));
    assert_eq!(of("UNICAST", &to(Kinds::LOCAL, false)), Some(false));
    assert_eq!(
        of("LOCAL,BROADCAST", &to(Kinds::LOCAL.with(Kinds::BROADCAST), false)),
        Some(true)
    );
    assert_eq!(of("LOCAL", &to(Kinds::LOCAL.with(Kinds::BROADCAST), false)), None);
    assert_eq!(
        of("LOCAL", &to(Kinds::ANY.without(Kinds::LOCAL), false)),
        Some(false)
    );
    // IPv6 calls this host's own addresses UNICAST, too.
    assert_eq!(of("UNICAST", &to(Kinds::LOCAL, true)), None);
    assert_eq!(of("LOCAL", &to(Kinds::LOCAL, true)), Some(true));
}

#[test]
fn jumps_return_and_gotos_do_not() {
    let returns = "-A INPUT -j X\n-A INPUT -j ACCEPT\n-A X -p udp -j DROP";
    assert!(lives(returns, &syn()));
    // From a chain that was gone to, the way leads back past the chain that went there.
    let passes_over = "-A INPUT -j X\n-A INPUT -j ACCEPT\n-A X -g Y\n-A X -j DROP\n-A Y -j RETURN";
    assert!(lives(passes_over, &syn()));
    let from_base = "-A INPUT -g X\n-A INPUT -j ACCEPT";
    assert!(!lives(from_base, &syn()));
    let to_policy = "-A INPUT -j RETURN\n-A INPUT -j ACCEPT";
    assert!(!lives(to_policy, &syn()));
}

#[test]
fn marks_change_what_later_rules_see() {
    let set = "-A INPUT -j MARK --set-xmark 0x4000/0x4000\n-A INPUT -m mark --mark 0x4000/0x4000 -j ACCEPT";
    assert!(lives(set, &syn()));
    let turned = "-A INPUT -j MARK --set-xmark 0x4000/0x0\n-A INPUT -j MARK --set-xmark 0x4000/0x0\n-A INPUT -m mark --mark 0x0 -j ACCEPT";
    assert!(lives(turned, &syn()));
    let through_conn = "-A INPUT -j MARK --set-xmark 0x5/0xffffffff\n-A INPUT -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff\n-A INPUT -j MARK --set-xmark 0x0/0xffffffff\n-A INPUT -m mark --mark 0x0 -m connmark --mark 0x5 -j X\n-A X -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0x4\n-A X -m mark --mark 0x4 -j ACCEPT";
    assert!(lives(through_conn, &syn()));
    let forgotten = Packet { mark: None, ..syn() };
    let known_again = "-A INPUT -j MARK --set-xmark 0x1/0xffffffff\n-A INPUT -m mark --mark 0x1 -j ACCEPT";
    assert!(lives(known_again, &forgotten));
}

#[test]
fn what_is_not_known_parts_the_way_and_is_said() {
    let found = outcomes(&filter("-A INPUT -m limit --limit 5/min -j ACCEPT"), &syn());
    let verdicts: Vec<_> = found.iter().map(|outcome| outcome.verdict.clone()).collect();
    let rule = Place {
        chain: 0,
        rule: Some(0),
    };
    let policy = Place { chain: 0, rule: None };
    assert_eq!(verdicts, [Verdict::Accept(rule), Verdict::Drop(policy)]);
    assert!(
        found
            .iter()
            .all(|outcome| outcome.doubts.len() == 1 && outcome.doubts[0].place == rule)
    );
    // It logs, or it does not: nothing depends on it.
    let logged = outcomes(
        &filter("-A INPUT -m limit --limit 5/min -j LOG\n-A INPUT -m limit --limit 1/s -j X\n-A X -j LOG"),
        &syn(),
    );
    assert_eq!(logged.len(), 1);
    let queued = outcomes(&filter("-A INPUT -j NFQUEUE --queue-num 1"), &syn());
    assert!(matches!(&queued[0].verdict, Verdict::Open(Some(_), why) if why.contains("NFQUEUE")));
    let stranger = outcomes(
        &filter("-A INPUT -m geoip --source-country XX -j DROP\n-A INPUT -j ACCEPT"),
        &syn(),
    );
    assert_eq!(stranger.len(), 2);
}

#[test]
fn a_doubt_is_decided_once() {
    let set = "-A INPUT -m set --match-set a src -j X\n-A INPUT -m set ! --match-set b src -j ACCEPT\n-A INPUT -m set --match-set a src -j DROP\n-A INPUT -j ACCEPT\n-A X -j MARK --set-xmark 0x0/0x0";
    // The mark changes nothing, but it might: what was taken is forgotten.
    assert!(outcomes(&filter(set), &syn()).len() >= 3);
    let twice = "-A INPUT -m set --match-set a src -j ACCEPT\n-A INPUT -m set --match-set a src -j DROP\n-A INPUT -j ACCEPT";
    let found = outcomes(&filter(twice), &syn());
    assert!(
        found
            .iter()
            .all(|outcome| matches!(outcome.verdict, Verdict::Accept(_))),
        "{found:?}"
    );
    let device = "-A INPUT -i a -j X\n-A INPUT -j ACCEPT\n-A X -i b -j DROP\n-A X -j ACCEPT";
    let unknown = Packet {
        in_dev: Dev::Unknown,
        ..syn()
    };
    let found = outcomes(&filter(device), &unknown);
    assert!(
        found
            .iter()
            .all(|outcome| matches!(outcome.verdict, Verdict::Accept(_))),
        "{found:?}"
    );
}

/// In raw there is no connection: neither rule matches.
#[test]
fn what_is_not_so_of_a_connection_may_be_so_of_none() {
    let rules = "-A INPUT -m conntrack --ctorigdst 10.9.0.1 -j X\n\
        -A INPUT -m conntrack ! --ctorigdst 10.9.0.1 -j ACCEPT";
    let unknown = Packet {
        conn: Conn::default(),
        ..syn()
    };
    let found = outcomes(&filter(rules), &unknown);
    let dies = |outcome: &&Outcome| {
        matches!(outcome.verdict, Verdict::Drop(_)) && outcome.doubts.iter().all(|doubt| !doubt.matched)
    };
    assert_eq!(found.iter().filter(dies).count(), 1, "{found:?}");
}

#[test]
fn ways_steps_and_depth_are_bounded() {
    let many: String = (0..200)
        .map(|n| format!("-A INPUT -m geoip --n {n} -j X\n"))
        .collect();
    let text = format!("{many}-A X -j MARK --set-xmark 0x1/0x1");
    let found = outcomes(&filter(&text), &syn());
    assert!(found.len() <= Bounds::default().ways);
    assert!(
        found
            .iter()
            .any(|outcome| matches!(outcome.verdict, Verdict::Open(None, _)))
    );
    for circle in ["-A INPUT -j X\n-A X -j Y\n-A Y -j X", "-A INPUT -g X\n-A X -g X"] {
        let found = outcomes(&filter(circle), &syn());
        assert!(matches!(found[0].verdict, Verdict::Open(..)), "{found:?}");
    }
}

#[test]
fn the_seeds_syn_dies_by_the_policy_of_forward() {
    let found = ways(
        iptables(&tables(SEED)),
        &syn(),
        Course::Forward,
        &Unknown,
        &mut Bounds::default(),
    );
    assert_eq!(found.len(), 1, "{found:?}");
    let way = &found[0];
    assert!(
        matches!(way.end, WayEnd::Dropped(Place { rule: None, .. })),
        "{:?}",
        way.end
    );
    let hooks: Vec<_> = way.stops.iter().map(Stop::hook).collect();
    assert_eq!(
        hooks,
        [Hook::Prerouting, Hook::Prerouting, Hook::Forward, Hook::Forward]
    );
}

#[test]
fn a_clusterip_is_followed_through_dnat_to_each_pod() {
    let packet = Packet {
        src: Some(addr("192.0.2.1")),
        dst: Some(addr("10.108.94.160")),
        in_dev: Dev::named("eth0"),
        out_dev: Dev::Unknown,
        ..syn()
    };
    let found = ways(
        iptables(&tables(SEED)),
        &packet,
        Course::Forward,
        &Unknown,
        &mut Bounds::default(),
    );
    // Which of the two pods is drawn by lot; KUBE-MARK-MASQ has marked the packet, so KUBE-FORWARD accepts it.
    let mut pods: Vec<_> = found
        .iter()
        .map(|way| (way.end.clone(), way.packet.dst, way.packet.mark))
        .collect();
    pods.sort_by_key(|(_, dst, _)| *dst);
    let left = WayEnd::Left(None);
    assert_eq!(
        pods,
        [
            (left.clone(), Some(addr("10.224.1.14")), Some(0)),
            (left, Some(addr("10.224.2.16")), Some(0)),
        ]
    );
    // Masqueraded to an address that a saved ruleset does not tell.
    assert!(
        found
            .iter()
            .all(|way| way.packet.src.is_none() && way.packet.conn.dnat == Some(true))
    );
}

#[test]
fn translations_rewrite_the_packet_for_later_tables() {
    let rules = "*nat\n:PREROUTING ACCEPT\n:POSTROUTING ACCEPT\n-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.5:8080\n-A POSTROUTING -d 10.0.0.5 -j SNAT --to-source 10.0.0.1\nCOMMIT\n*filter\n:FORWARD DROP\n-A FORWARD -d 10.0.0.5/32 -p tcp -m tcp --dport 8080 -m conntrack --ctstate DNAT -j ACCEPT\nCOMMIT";
    let found = ways(
        iptables(&tables(rules)),
        &syn(),
        Course::Forward,
        &Unknown,
        &mut Bounds::default(),
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].end, WayEnd::Left(Some("cni0".into())));
    assert_eq!(
        (found[0].packet.src, found[0].packet.sport),
        (Some(addr("10.0.0.1")), Some(41234))
    );
    // Packets of a connection that is there do not ask the nat table.
    let later = Packet {
        conn: Conn {
            state: Some(CtState::Established),
            ..Conn::default()
        },
        ..syn()
    };
    let found = ways(
        iptables(&tables(rules)),
        &later,
        Course::Forward,
        &Unknown,
        &mut Bounds::default(),
    );
    assert!(found.iter().any(|way| !way.notes.is_empty()));
}

#[test]
fn what_raw_keeps_from_conntrack_is_untracked_afterwards() {
    let rules = "*raw\n:PREROUTING ACCEPT\n-A PREROUTING -m conntrack --ctstate INVALID -j NOTRACK\nCOMMIT\n*filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctstate UNTRACKED -j ACCEPT\nCOMMIT";
    let found = ways(
        iptables(&tables(rules)),
        &syn(),
        Course::Forward,
        &Unknown,
        &mut Bounds::default(),
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].end, WayEnd::Left(Some("cni0".into())));
}

/// The near misses of a packet that one table drops.
fn near(table: &Table, hook: Hook, packet: &Packet) -> Vec<NearMiss> {
    let dropped = walk(table, hook, packet, &Unknown, &mut Bounds::default());
    let dropped = dropped
        .iter()
        .find(|outcome| matches!(outcome.verdict, Verdict::Drop(_)))
        .expect("a drop");
    near_misses(
        table,
        hook,
        (packet, &dropped.doubts),
        &Unknown,
        &mut Bounds::default(),
        5,
    )
}

fn missed(miss: &NearMiss) -> Vec<String> {
    let text = |miss: &Miss| format!("{}, {}", miss.needs, miss.has.as_deref().unwrap_or("?"));
    miss.misses.iter().map(text).collect()
}

#[test]
fn the_seeds_two_rules_missed_by_one_digit_of_their_network() {
    let table = tables(SEED)
        .into_iter()
        .find(|table| table.name == "filter")
        .expect("filter");
    let found = near(&table, Hook::Forward, &syn());
    let places: Vec<_> = found.iter().filter_map(|miss| miss.place.rule).collect();
    assert_eq!(places, [9, 10], "{found:?}");
    assert_eq!(missed(&found[0]), ["src 10.244.0.0/16, packet has 10.224.0.0"]);
    assert_eq!(missed(&found[1]), ["dst 10.244.0.0/16, packet has 10.224.2.16"]);
    let remarks: Vec<_> = found
        .iter()
        .map(|miss| miss.misses[0].remark.as_deref())
        .collect();
    assert_eq!(remarks, [Some("one digit differs: 10.244, 10.224"); 2]);
}

#[test]
fn a_rule_in_a_chain_that_was_not_visited_counts_if_its_jump_is_what_missed() {
    let jump = "-A INPUT -i eth1 -j X\n-A X -p tcp -m tcp --dport 80 -j ACCEPT\n-A X -p tcp -m tcp --dport 81 -j ACCEPT";
    let found = near(&filter(jump), Hook::Input, &syn());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(missed(&found[0]), ["in eth1, packet came in by flannel.1"]);
    assert_eq!(
        found[0].accepted_by,
        Some(Place {
            chain: 2,
            rule: Some(0)
        })
    );
    let in_vain = "-A INPUT -i eth1 -j X\n-A X -p udp -j ACCEPT";
    assert_eq!(near(&filter(in_vain), Hook::Input, &syn()), []);
    let back = "-A INPUT -j X\n-A INPUT -p tcp -j ACCEPT\n-A X -d 10.224.2.0/28 -j RETURN\n-A X -j DROP";
    let found = near(&filter(back), Hook::Input, &syn());
    assert_eq!(missed(&found[0]), ["dst 10.224.2.0/28, packet has 10.224.2.16"]);
    assert_eq!(
        found[0].accepted_by,
        Some(Place {
            chain: 0,
            rule: Some(1)
        })
    );
}

#[test]
fn the_nearest_come_first_and_what_is_far_is_left_out() {
    let rules = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -s 192.168.0.0/16 -j ACCEPT\n-A INPUT -p udp -m udp --dport 53 -j ACCEPT\n-A INPUT -s 10.224.1.0/24 -j ACCEPT\n-A INPUT -s 10.224.0.128/25 -m limit --limit 1/s -j ACCEPT\n-A INPUT -s 10.224.0.0/24 -j DROP";
    let found = near(&filter(rules), Hook::Input, &syn());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(missed(&found[0]), ["src 10.224.1.0/24, packet has 10.224.0.0"]);
    let only_answers = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    let found = near(&filter(only_answers), Hook::Input, &syn());
    assert_eq!(
        missed(&found[0]),
        ["ctstate RELATED or ESTABLISHED, packet is NEW"]
    );
    // What stands behind the rule that drops was not missed.
    let behind = "-A INPUT -p tcp -j DROP\n-A INPUT -s 10.244.0.0/16 -j ACCEPT";
    assert_eq!(near(&filter(behind), Hook::Input, &syn()), []);
}

#[test]
fn what_is_taken_whole_by_a_rule_before_it_is_never_asked() {
    let before = "-A INPUT -p tcp -j DROP\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT";
    let back = "-A INPUT -j X\n-A X -j RETURN\n-A X -s 10.224.0.0/16 -j Y\n-A X -i flannel.1 -j ACCEPT";
    for (rules, first, second) in [(before, 0, 1), (back, 0, 2)] {
        let found = near(&filter(rules), Hook::Input, &syn());
        assert_eq!(found.len(), 1, "{rules}: {found:?}");
        let place = |rule| Place {
            chain: found[0].place.chain,
            rule: Some(rule),
        };
        assert_eq!(found[0].place, place(second), "{rules}");
        assert_eq!(found[0].behind, Some(place(first)), "{rules}");
    }
    for rules in [
        // For one host only: it may well be meant so.
        "-A INPUT -s 10.224.0.0/32 -j DROP\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT",
        "-A INPUT -p tcp -j DROP\n-A INPUT -p tcp -m tcp --dport 81 -j ACCEPT",
        // Without the first the second drops it.
        "-A INPUT -p tcp -j DROP\n-A INPUT -p tcp -m tcp --dport 80 -j DROP\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT",
        "-A INPUT -j DROP\n-A INPUT -j X\n-A INPUT -p tcp -j ACCEPT\n-A X -p tcp -j DROP",
        // Whether the first takes it is not known.
        "-A INPUT -m limit --limit 1/s -j DROP\n-A INPUT -p tcp -j ACCEPT",
        "-A INPUT -p tcp -j DROP\n-A INPUT -p tcp -m limit --limit 1/s -j ACCEPT",
    ] {
        let found = near(&filter(rules), Hook::Input, &syn());
        assert!(
            found.iter().all(|miss| miss.behind.is_none()),
            "{rules}: {found:?}"
        );
    }
}

#[test]
fn what_held_until_dnat_is_said_with_the_option_that_asks_for_it() {
    let rules = "-A INPUT -d 192.0.2.1/32 -p tcp -m tcp --dport 8081 -j ACCEPT";
    let translated = |dnat| {
        let original = Tuple {
            src: addr("10.224.0.0"),
            sport: Some(41234),
            dst: addr("192.0.2.1"),
            dport: Some(8081),
            icmp_id: None,
        };
        Packet {
            conn: Conn {
                dnat: Some(dnat),
                original: Some(original),
                ..Conn::new()
            },
            ..syn()
        }
    };
    let found = near(&filter(rules), Hook::Input, &translated(true));
    assert!(found[0].distance <= NearMiss::TELLING);
    let remarks: Vec<_> = found[0]
        .misses
        .iter()
        .filter_map(|miss| miss.remark.as_deref())
        .collect();
    assert_eq!(
        remarks,
        ["--ctorigdst", "--ctorigdstport"]
            .map(|option| format!("it was so before DNAT, which -m conntrack {option} asks for"))
    );
    assert_eq!(near(&filter(rules), Hook::Input, &translated(false)), []);
    // Of an answer the original destination is its source.
    let mut answer = translated(true);
    answer.conn.is_reply = Some(true);
    assert_eq!(near(&filter(rules), Hook::Input, &answer), []);
}
