//! Who wrote the rule or policy that drops the packet, and one next step, by the rulesets that were asked.

use super::rules::{Rules, table_family};
use crate::diagnose::owners::{self, Scene};
use crate::evaluate::{Dev, Packet};
use crate::report::record::Packet as Headers;
use crate::report::record::{Backend, DropInfo, DropLine, Flow, Hint, Hook, Mark, Proto, TcpFlags, Tuple};
use crate::ruleset::nftables::listing::{self, Statement, Verdict};
use crate::ruleset::xtables::save::{self, Action};
use crate::ruleset::{Base, Chain, Policy, Rule, Step, Table};

/// The rulesets, as owners are looked for in them.
pub(super) struct Owners(Vec<Table>);

impl Owners {
    /// All tables.
    pub(super) fn of(rules: &Rules, is_v6: bool) -> Self {
        let taken = if is_v6 {
            save::Family::Ip6
        } else {
            save::Family::Ip
        };
        let saved = rules.saved.iter().map(|table| of_saved(table, taken));
        let listed = rules.nft.tables.iter().map(of_listed);
        Self(saved.chain(listed).collect())
    }

    /// Hints about a drop; `packet` as it came to where it died.
    pub(super) fn hints(&self, drop: &DropInfo, packet: &Packet) -> Vec<Hint> {
        let line = DropLine {
            packet: headers(packet),
            in_dev: name(&packet.in_dev),
            out_dev: name(&packet.out_dev),
            flow: flow(packet),
            drop: DropInfo {
                // A file that does not say what holds its tables: as they are kept above.
                backend: drop.backend.or(Some(Backend::Legacy)),
                family: drop.family.or(Some(table_family(match packet.is_v6 {
                    true => save::Family::Ip6,
                    false => save::Family::Ip,
                }))),
                ..drop.clone()
            },
            ..DropLine::default()
        };
        owners::hints(&Scene {
            line: &line,
            tables: &self.0,
            // Where the rules are from is where a command is to be run.
            enter: Some(""),
        })
    }
}

fn name(dev: &Dev) -> Option<String> {
    dev.name().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn headers(packet: &Packet) -> Headers {
    Headers {
        family: packet.family(),
        proto: packet.proto.map(Proto),
        src: packet.src,
        sport: packet.sport,
        dst: packet.dst,
        dport: packet.dport,
        tcp_flags: packet.tcp_flags.map(TcpFlags),
        icmp_type: packet.icmp_type,
        icmp_code: packet.icmp_code,
        mark: packet.mark.map(Mark).unwrap_or_default(),
        ..Headers::default()
    }
}

fn flow(packet: &Packet) -> Option<Flow> {
    let own = Tuple {
        src: packet.src?,
        sport: packet.sport,
        dst: packet.dst?,
        dport: packet.dport,
        icmp_id: None,
    };
    Some(Flow {
        id: String::new(),
        original: packet.conn.original.clone().unwrap_or(own),
        reply: None,
        nat: Vec::new(),
        ct_state: packet.conn.state,
        service: None,
        packets: 0,
    })
}

fn of_saved(table: &save::Table, taken: save::Family) -> Table {
    let rule = |rule: &save::Rule| Rule {
        step: match &rule.action {
            Action::Accept => Step::Accept,
            Action::Drop => Step::Drop,
            Action::Return => Step::Return,
            Action::Jump(to) => Step::Jump(*to),
            Action::Goto(to) => Step::Goto(*to),
            _ => Step::Continue,
        },
        ..Rule::default()
    };
    let chains = table.chains.iter().map(|chain| Chain {
        name: chain.name.to_string(),
        base: chain.policy.and_then(|policy| {
            Some(Base {
                hook: hook(&chain.name)?,
                priority: 0,
                policy: match policy {
                    save::Policy::Accept => Policy::Accept,
                    save::Policy::Drop => Policy::Drop,
                },
                counter: None,
            })
        }),
        rules: chain.rules.iter().map(rule).collect(),
        ..Chain::default()
    });
    Table {
        backend: match table.is_nft {
            Some(true) => Backend::Nft,
            Some(false) | None => Backend::Legacy,
        },
        family: table_family(table.family.unwrap_or(taken)),
        name: table.name.to_string(),
        chains: chains.collect(),
        hash: 0,
        address: 0,
    }
}

fn of_listed(table: &listing::Table) -> Table {
    let to = |name: &str| table.chains.iter().position(|chain| chain.name == name);
    let step = |rule: &listing::Rule| match rule.statements.last() {
        Some(Statement::Verdict(verdict)) => match verdict {
            Verdict::Accept => Step::Accept,
            Verdict::Drop => Step::Drop,
            Verdict::Return => Step::Return,
            Verdict::Continue => Step::Continue,
            Verdict::Jump(name) => to(name).map_or(Step::Continue, Step::Jump),
            Verdict::Goto(name) => to(name).map_or(Step::Continue, Step::Goto),
        },
        Some(Statement::Vmap { .. }) => Step::Map,
        _ => Step::Continue,
    };
    let chains = table.chains.iter().map(|chain| Chain {
        name: chain.name.clone(),
        base: chain.base.as_ref().and_then(|base| {
            Some(Base {
                hook: hook(&base.hook)?,
                priority: i32::try_from(base.priority).ok()?,
                policy: match base.policy.as_deref() {
                    Some("drop") => Policy::Drop,
                    _ => Policy::Accept,
                },
                counter: None,
            })
        }),
        rules: chain
            .rules
            .iter()
            .map(|rule| Rule {
                handle: rule.handle.unwrap_or_default(),
                step: step(rule),
                comment: rule.comment.clone(),
                ..Rule::default()
            })
            .collect(),
        ..Chain::default()
    });
    Table {
        backend: Backend::Nft,
        family: table.family.into(),
        name: table.name.clone(),
        chains: chains.collect(),
        hash: 0,
        address: 0,
    }
}

/// A hook of IP, in iptables' words or nft's.
fn hook(name: &str) -> Option<Hook> {
    let hooks = [
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
    ];
    hooks
        .into_iter()
        .find(|hook| hook.name().eq_ignore_ascii_case(name))
}
