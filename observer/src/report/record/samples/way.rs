//! The way of the two-node cluster's packet: from the client on the first node through kube-proxy's chains and the
//! tunnel to the policy that drops it on the other.

use super::*;

/// The policy drop, with its way.
pub(crate) fn path_drop() -> DropLine {
    let mut line = policy_drop();
    line.hints.clear();
    line.path = way();
    line
}

/// A packet that goes the same way and is let through by a rule.
pub(crate) fn pass_line() -> Line {
    let drop = path_drop();
    let mut path = drop.path;
    if let Some(last) = path.last_mut() {
        last.verdict = Some(PassVerdict::Accept);
        last.steps = vec![PathStep {
            handle: Some(27),
            verdict: Some("ACCEPT".into()),
            times: Some(2),
            ..step("FORWARD", 12)
        }];
        last.backend = Some(Backend::Nft);
        last.priority = Some(0);
        last.evidence = PathEvidence::Replayed;
    }
    let pass = PathLine {
        netns: Some(netns("master")),
        packet: Packet {
            src: Some(addr("10.0.0.10")),
            dst: Some(addr("10.108.94.160")),
            ttl: Some(64),
            ..drop.packet
        },
        flow: drop.flow,
        matched: Some(Matched::Reply),
        names: None,
        path,
    };
    Line::new(NOON, "node02", Event::Path(Box::new(pass)))
}

/// Path probes that came off.
pub(crate) fn probes_line() -> Line {
    let probes = ProbesLine {
        text: "path probes are off: they took 3.1 % of a CPU, and --budget is 2 %".into(),
        probes: vec!["tp_btf/kfree_skb".into()],
    };
    Line::new(NOON, "node02", Event::Probes(probes))
}

/// A pod that was made anew.
pub(crate) fn filter_line() -> Line {
    let filter = FilterLine {
        text: "pod nginx-test/nginx-0 is 10.224.2.17 now, and was 10.224.2.16".into(),
        filter: FilterInfo {
            text: "host 10.224.2.17".into(),
            hosts: vec!["10.224.2.17/32".into()],
            pods: vec!["nginx-test/nginx-0".into()],
            ..FilterInfo::default()
        },
    };
    Line::new(NOON, "node02", Event::Filter(Box::new(filter)))
}

pub(crate) fn netns(name: &str) -> Netns {
    let inode = if name == "node02" {
        4_026_532_281
    } else {
        4_026_532_190
    };
    Netns {
        inode,
        name: Some(name.into()),
    }
}

pub(crate) fn step(chain: &str, rule: u32) -> PathStep {
    PathStep {
        chain: chain.into(),
        rule: Some(rule),
        ..PathStep::default()
    }
}

pub(crate) fn jump(chain: &str, rule: u32, to: &str) -> PathStep {
    PathStep {
        jump: Some(to.into()),
        ..step(chain, rule)
    }
}

pub(crate) fn target(chain: &str, rule: u32, target: &str) -> PathStep {
    PathStep {
        target: Some(target.into()),
        ..step(chain, rule)
    }
}

pub(crate) fn policy(chain: &str, policy: &str) -> PathStep {
    PathStep {
        chain: chain.into(),
        policy: Some(policy.into()),
        ..PathStep::default()
    }
}

fn returns(chain: &str, rule: u32) -> PathStep {
    PathStep {
        verdict: Some("RETURN".into()),
        ..step(chain, rule)
    }
}

/// A traversal of a hook: what its passages have in common.
#[derive(Clone)]
pub(crate) struct At {
    pub(crate) netns: &'static str,
    pub(crate) hook: Hook,
    pub(crate) devices: (Option<&'static str>, Option<&'static str>),
    pub(crate) is_outer: bool,
}

impl At {
    /// Without a table.
    pub(crate) fn hook_alone(&self) -> Passage {
        let outer = Tuple {
            src: addr("10.0.0.10"),
            sport: Some(51234),
            dst: addr("10.0.0.12"),
            dport: Some(8472),
            icmp_id: None,
        };
        Passage {
            at: Some(Time(NOON.0 - 80_000)),
            hook: self.hook,
            netns: Some(netns(self.netns)),
            in_dev: self.devices.0.map(str::to_owned),
            out_dev: self.devices.1.map(str::to_owned),
            node: None,
            outer: self.is_outer.then_some(outer),
            backend: None,
            family: None,
            table: None,
            chain: None,
            priority: None,
            verdict: Some(PassVerdict::Accept),
            steps: Vec::new(),
            changes: Vec::new(),
            evidence: PathEvidence::Observed,
            note: None,
        }
    }

    /// A legacy table that is left by its policy if nothing else is told.
    pub(crate) fn table(&self, table: &str) -> Passage {
        Passage {
            backend: Some(Backend::Legacy),
            family: Some(TableFamily::Ip),
            table: Some(table.into()),
            chain: Some(self.hook.name().into()),
            steps: vec![policy(self.hook.name(), "ACCEPT")],
            ..self.hook_alone()
        }
    }
}

fn way() -> Vec<Passage> {
    let at = |netns, hook, in_dev, out_dev, is_outer| At {
        netns,
        hook,
        devices: (in_dev, out_dev),
        is_outer,
    };
    let eth0 = Some("eth0");
    let flannel = Some("flannel.1");
    let output = at("master", Hook::Output, None, eth0, false);
    let postrouting = at("master", Hook::Postrouting, None, flannel, false);
    let outer_output = at("master", Hook::Output, None, eth0, true);
    let outer_postrouting = at("master", Hook::Postrouting, None, eth0, true);
    let outer_prerouting = at("node02", Hook::Prerouting, eth0, None, true);
    let outer_input = at("node02", Hook::Input, eth0, None, true);
    let prerouting = at("node02", Hook::Prerouting, flannel, None, false);
    let forward = at("node02", Hook::Forward, flannel, Some("cni0"), false);
    vec![
        output.table("mangle"),
        to_the_pod(&output),
        let_go(&output, &["KUBE-SERVICES", "KUBE-FIREWALL"]),
        postrouting.table("mangle"),
        masquerade(&postrouting),
        outer_output.table("mangle"),
        outer_output.table("nat"),
        let_go(&outer_output, &["KUBE-SERVICES", "KUBE-FIREWALL"]),
        outer_postrouting.table("mangle"),
        outer_postrouting.table("nat"),
        outer_prerouting.table("mangle"),
        outer_prerouting.table("nat"),
        outer_input.table("mangle"),
        let_go(
            &outer_input,
            &["KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-FIREWALL"],
        ),
        prerouting.table("mangle"),
        prerouting.table("nat"),
        forward.table("mangle"),
        the_end(&forward),
    ]
}

/// kube-proxy's chains of the nat table: masquerade mark and DNAT.
fn to_the_pod(output: &At) -> Passage {
    let (service, endpoint) = ("KUBE-SVC-PIU4JA5FNNNHNOAJ", "KUBE-SEP-EKAXC3AGUDPBQ32C");
    Passage {
        steps: vec![
            jump("OUTPUT", 1, "KUBE-SERVICES"),
            jump("KUBE-SERVICES", 1, service),
            jump(service, 1, "KUBE-MARK-MASQ"),
            target("KUBE-MARK-MASQ", 1, "MARK"),
            jump(service, 2, endpoint),
            target(endpoint, 2, "DNAT"),
        ],
        changes: vec![
            Change::Dnat {
                from: "10.108.94.160:80".into(),
                to: "10.224.2.16:80".into(),
            },
            Change::Mark {
                from: Mark(0),
                to: Mark(0x4000),
            },
        ],
        ..output.table("nat")
    }
}

fn masquerade(postrouting: &At) -> Passage {
    Passage {
        steps: vec![
            jump("POSTROUTING", 1, "KUBE-POSTROUTING"),
            target("KUBE-POSTROUTING", 2, "MARK"),
            target("KUBE-POSTROUTING", 3, "MASQUERADE"),
        ],
        changes: vec![
            Change::Snat {
                from: "10.0.0.10:41234".into(),
                to: "10.224.0.0:41234".into(),
            },
            Change::Mark {
                from: Mark(0x4000),
                to: Mark(0),
            },
        ],
        ..postrouting.table("nat")
    }
}

/// The filter table, with jumps that lead nowhere.
fn let_go(at: &At, chains: &[&str]) -> Passage {
    let base = at.hook.name();
    let mut steps: Vec<PathStep> = (1..)
        .zip(chains)
        .map(|(rule, chain)| jump(base, rule, chain))
        .collect();
    steps.push(policy(base, "ACCEPT"));
    Passage {
        steps,
        ..at.table("filter")
    }
}

fn the_end(forward: &At) -> Passage {
    Passage {
        verdict: Some(PassVerdict::Drop),
        steps: vec![
            jump("FORWARD", 1, "KUBE-FORWARD"),
            jump("FORWARD", 2, "KUBE-SERVICES"),
            jump("FORWARD", 3, "KUBE-EXTERNAL-SERVICES"),
            jump("FORWARD", 4, "DOCKER-USER"),
            returns("DOCKER-USER", 1),
            jump("FORWARD", 5, "DOCKER-ISOLATION-STAGE-1"),
            returns("DOCKER-ISOLATION-STAGE-1", 2),
            policy("FORWARD", "DROP"),
        ],
        ..forward.table("filter")
    }
}
