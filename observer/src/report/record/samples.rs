//! Lines for tests: the case of the two-node cluster, and one of each other kind.

use super::*;

mod way;

pub(crate) use way::{At, filter_line, jump, pass_line, path_drop, policy, probes_line, step, target};

/// A moment of the samples: 2024-05-01T14:03:07.123456789Z.
pub(crate) const NOON: Time = Time(1_714_572_187_123_456_789);

pub(crate) fn addr(text: &str) -> std::net::IpAddr {
    text.parse().expect("a sample's address")
}

/// A default policy, after DNAT and masquerading, on the other node.
pub(crate) fn policy_drop() -> DropLine {
    let tuple = |src: &str, sport, dst: &str, dport| Tuple {
        src: addr(src),
        sport: Some(sport),
        dst: addr(dst),
        dport: Some(dport),
        icmp_id: None,
    };
    DropLine {
        netns: Some(Netns {
            inode: 4_026_532_281,
            name: Some("node02".into()),
        }),
        packet: Packet {
            family: PacketFamily::Ip,
            proto: Some(Proto::TCP),
            src: Some(addr("10.224.0.0")),
            sport: Some(41234),
            dst: Some(addr("10.224.2.16")),
            dport: Some(80),
            len: 60,
            ttl: Some(63),
            ip_id: Some(4711),
            tcp_flags: Some(TcpFlags(2)),
            ..Packet::default()
        },
        in_dev: Some("flannel.1".into()),
        out_dev: Some("cni0".into()),
        flow: Some(Flow {
            id: "f-1".into(),
            original: tuple("10.0.0.10", 41234, "10.108.94.160", 80),
            reply: Some(tuple("10.224.2.16", 80, "10.224.0.0", 41234)),
            nat: vec![Nat::Dnat, Nat::Snat],
            ct_state: Some(CtState::New),
            service: Some("nginx-test/nginx-service".into()),
            packets: 1,
        }),
        matched: Some(Matched::Headers),
        names: None,
        path: Vec::new(),
        drop: DropInfo {
            layer: Layer::Netfilter,
            reason: "NETFILTER_DROP".into(),
            symbol: Some("nf_hook_slow".into()),
            hook: Some(Hook::Forward),
            backend: Some(Backend::Legacy),
            family: Some(TableFamily::Ip),
            table: Some("filter".into()),
            chain: Some("FORWARD".into()),
            cause: Some(Cause::Policy),
            policy: Some("DROP".into()),
            chain_path: vec!["FORWARD".into()],
            tool: Some(Tool::IptablesLegacy),
            confidence: Confidence::Exact,
            evidence: vec![Evidence::XtCounter],
            ..DropInfo::default()
        },
        hints: vec![
            Hint {
                kind: HintKind::NearMiss,
                text: "2 ACCEPT rules missed only by their address: 10.244.0.0/16".into(),
                rule: Some(HintRule {
                    table: "filter".into(),
                    chain: "FORWARD".into(),
                    rule: Rule {
                        number: Some(11),
                        text: Some("-A FORWARD -d 10.244.0.0/16 -j ACCEPT".into()),
                        ..Rule::default()
                    },
                }),
                command: None,
                owner: None,
            },
            Hint {
                kind: HintKind::Fix,
                text: "let Docker's own chain pass it".into(),
                rule: None,
                command: Some("iptables -I DOCKER-USER -i flannel.1 -o cni0 -j ACCEPT".into()),
                owner: None,
            },
        ],
        bytes: None,
    }
}

/// The same, of which the cluster knows the names.
pub(crate) fn named_drop() -> DropLine {
    let named = |from: &[NamesFrom]| Named {
        from: from.to_vec(),
        ..Named::default()
    };
    let names = Names {
        src: Some(Named {
            node: Some("master".into()),
            stale: true,
            ..named(&[NamesFrom::Api])
        }),
        dst: Some(Named {
            pod: Some("nginx-test/nginx-0".into()),
            containers: vec!["nginx".into(), "log".into()],
            node: Some("node02".into()),
            ..named(&[NamesFrom::Api, NamesFrom::Cri])
        }),
        original_src: Some(Named {
            pod: Some("default/client".into()),
            node: Some("master".into()),
            ..named(&[NamesFrom::Api])
        }),
        original_dst: Some(Named {
            service: Some("nginx-test/nginx-service".into()),
            ..named(&[NamesFrom::Api])
        }),
        netns: Some(Named {
            pod: Some("nginx-test/nginx-0".into()),
            ..named(&[NamesFrom::Cri])
        }),
    };
    DropLine {
        names: Some(Box::new(names)),
        ..policy_drop()
    }
}

/// A rule two chains down.
pub(crate) fn rule_drop() -> DropLine {
    let mut line = policy_drop();
    line.hints.clear();
    line.drop = DropInfo {
        cause: Some(Cause::Rule),
        policy: None,
        chain: Some("KUBE-FORWARD".into()),
        chain_path: vec!["FORWARD".into(), "KUBE-FORWARD".into()],
        rule: Some(Rule {
            number: Some(1),
            text: Some("-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP".into()),
            target: Some("DROP".into()),
            ..Rule::default()
        }),
        ..line.drop
    };
    line
}

/// No route, in a nameless namespace, without a flow.
pub(crate) fn route_drop() -> DropLine {
    DropLine {
        packet: Packet {
            family: PacketFamily::Ip6,
            proto: Some(Proto::ICMPV6),
            src: Some(addr("fd00::1")),
            dst: Some(addr("fd00:1::2")),
            len: 104,
            ttl: Some(64),
            icmp_type: Some(128),
            icmp_code: Some(0),
            mark: Mark(0x4000),
            ..Packet::default()
        },
        netns: Some(Netns {
            inode: 4_026_532_300,
            name: None,
        }),
        in_dev: Some("eth0".into()),
        drop: DropInfo {
            layer: Layer::Routing,
            reason: "IP_INNOROUTES".into(),
            symbol: Some("ip6_pkt_drop".into()),
            text: Some("There is no route to the destination; check: ip -6 route get fd00:1::2".into()),
            confidence: Confidence::Exact,
            evidence: vec![Evidence::Reason],
            ..DropInfo::default()
        },
        ..DropLine::default()
    }
}

/// A hook function that is no ruleset.
pub(crate) fn hook_drop() -> DropLine {
    let mut line = policy_drop();
    line.hints.clear();
    line.drop = DropInfo {
        layer: Layer::Netfilter,
        reason: "NETFILTER_DROP".into(),
        symbol: Some("nf_hook_slow".into()),
        hook: Some(Hook::Postrouting),
        cause: Some(Cause::Hook),
        function: Some("nf_nat_ipv4_out".into()),
        priority: Some(100),
        text: Some("No address was left to translate to.".into()),
        confidence: Confidence::Exact,
        evidence: vec![Evidence::HookEntry],
        ..DropInfo::default()
    };
    line
}

/// No headers, and nothing known.
fn unknown_drop() -> DropLine {
    let mut line = DropLine::default();
    line.drop.text = Some("The kernel gave no reason.".into());
    line
}

pub(crate) fn drop_line(drop: DropLine) -> Line {
    Line::new(NOON, "node02", Event::Drop(Box::new(drop)))
}

pub(crate) fn start_line() -> Line {
    let start = Start {
        version: "0.1.0".into(),
        kernel: "6.12.0".into(),
        filter: FilterInfo {
            text: "dst 10.224.0.0/16 proto tcp".into(),
            dst: vec!["10.224.0.0/16".into()],
            protos: vec![Proto::TCP],
            ..FilterInfo::default()
        },
        probes: vec!["tp_btf/kfree_skb".into()],
        attribution: [
            ("legacy", "exact"),
            ("iptables-nft", "exact"),
            ("nft", "inferred: by replay"),
        ]
        .map(|(backend, expect)| (backend.to_owned(), expect.to_owned()))
        .into(),
        notes: vec!["kernel locked down (integrity): no kprobes".into()],
    };
    Line::new(NOON, "node02", Event::Start(Box::new(start)))
}

/// A rule that a replay does not come to.
pub(crate) fn disagreed_drop() -> DropLine {
    let mut line = rule_drop();
    line.drop.disagreement = Some(Disagreement {
        text: "asked once more, the rules drop it by rule 3 of filter FORWARD; the kernel is right".into(),
        replayed: vec![Candidate {
            table: "filter".into(),
            chain: "FORWARD".into(),
            rule: Some(3),
            text: Some("-A FORWARD -j DROP".into()),
            ..Candidate::default()
        }],
        command: Some("observer explain --from-trace odds/disagreement-1.trace.json --line 1".into()),
    });
    line
}

pub(crate) fn lost_line() -> Line {
    let lost = Lost {
        count: 12,
        since: Some(Time(NOON.0 - 1_000_000_000)),
        place: "ring-buffer".into(),
        flow_count: None,
        flows: Vec::new(),
    };
    Line::new(NOON, "node02", Event::Lost(lost))
}

pub(crate) fn flood_line() -> Line {
    let flow = LostFlow {
        netns: Netns {
            inode: 4_026_532_281,
            name: Some("node02".into()),
        },
        proto: Proto::UDP,
        src: addr("10.224.0.0"),
        dst: addr("10.224.2.16"),
        reason: Some("NETFILTER_DROP".into()),
        symbol: Some("nf_hook_slow".into()),
        count: 70_123,
    };
    let lost = Lost {
        count: 70_200,
        since: Some(Time(NOON.0 - 1_000_000_000)),
        place: "flood".into(),
        flow_count: Some(2),
        flows: vec![flow],
    };
    Line::new(NOON, "node02", Event::Lost(lost))
}

pub(crate) fn summary_line() -> Line {
    let summary = Summary {
        kernel_drops: 5312,
        exact: 12,
        inferred: 1,
        unknown: 1,
        filtered: 5286,
        lost: 12,
        folded: Some(2),
        not_loss: 3,
        counted: None,
        disagreements: None,
        duration_ns: 61_500_000_000,
        by_cause: vec![CauseCount {
            layer: Layer::Netfilter,
            text: "policy DROP of filter FORWARD".into(),
            count: 12,
        }],
    };
    Line::new(NOON, "node02", Event::Summary(summary))
}

pub(crate) fn disagreed_summary_line() -> Line {
    let mut line = summary_line();
    if let Event::Summary(summary) = &mut line.event {
        summary.disagreements = Some(1);
    }
    line
}

/// The two-node cluster's policy, where no packet can be seen.
pub(crate) fn counter_line() -> Line {
    let drop = policy_drop();
    let counter = CounterLine {
        netns: drop.netns,
        counter: CounterInfo {
            effect: CounterEffect::Drop,
            hook: drop.drop.hook,
            backend: drop.drop.backend,
            family: drop.drop.family,
            table: drop.drop.table,
            chain: drop.drop.chain,
            cause: Cause::Policy,
            policy: drop.drop.policy,
            chain_path: drop.drop.chain_path,
            tool: drop.drop.tool,
            ..CounterInfo::default()
        },
        packets: 5,
        bytes: Some(300),
        since: Time(NOON.0 - 250_000_000),
        rate: 20.0,
        total: 12,
        filter: Some(CounterMatch::Possible),
        hints: drop.hints,
    };
    Line::new(NOON, "node02", Event::Counter(Box::new(counter)))
}

/// A queue and a statistic.
fn statistic_line() -> Line {
    let counter = CounterLine {
        netns: None,
        counter: CounterInfo {
            cause: Cause::Hook,
            function: Some("conntrack".into()),
            statistic: Some("drop".into()),
            text: Some("its table is full".into()),
            ..CounterInfo::default()
        },
        packets: 1,
        bytes: None,
        since: Time(NOON.0 - 500_000_000),
        rate: 2.0,
        total: 1,
        filter: None,
        hints: Vec::new(),
    };
    Line::new(NOON, "node02", Event::Counter(Box::new(counter)))
}

/// One of each kind, and each kind of drop.
pub(crate) fn all() -> Vec<Line> {
    vec![
        start_line(),
        drop_line(policy_drop()),
        drop_line(named_drop()),
        drop_line(rule_drop()),
        drop_line(route_drop()),
        drop_line(unknown_drop()),
        drop_line(path_drop()),
        drop_line(hook_drop()),
        drop_line(disagreed_drop()),
        pass_line(),
        counter_line(),
        statistic_line(),
        probes_line(),
        filter_line(),
        lost_line(),
        flood_line(),
        disagreed_summary_line(),
        summary_line(),
    ]
}

#[test]
fn a_written_line_reads_back_the_same() {
    for line in all() {
        let text = serde_json::to_string(&line).expect("serialises");
        assert!(!text.contains("null"), "{text}");
        assert!(
            text.starts_with(r#"{"schema":"observer.trace/v1","kind":""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Line>(&text).expect("reads back"), line);
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_schemas_are_not() {
    let text = serde_json::to_string(&lost_line()).expect("serialises");
    let more = text.replacen('{', r#"{"later":{"x":1},"#, 1);
    assert_eq!(serde_json::from_str::<Line>(&more).expect("reads"), lost_line());
    assert!(serde_json::from_str::<Line>(&text.replace("trace/v1", "trace/v2")).is_err());
}
