//! What a packet comes to, in order.

use super::{Course, InForce};
use crate::evaluate::nftables::{Called, IpFamily};
use crate::report::record::Hook;

/// `NF_IP_PRI_CONNTRACK`
const CONNTRACK: i64 = -200;

/// One thing that a packet comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase<'a> {
    /// A hook begins.
    Enter(Hook),
    /// A table or base chain is asked.
    Ask(Asked<'a>),
    /// Conntrack looks at the packet.
    Conntrack,
    /// A packet that has arrived is routed.
    Route,
    /// A packet of this host whose address or mark has changed is routed again.
    Reroute,
}

/// What is asked, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The hook.
    pub(super) hook: Hook,
    /// The priority on the hook, then that among what translates.
    pub(super) order: (i64, i64),
    /// Whether only a connection's first packet is asked, to translate it.
    pub(super) is_nat: bool,
    /// Who is asked.
    pub(super) who: Who<'a>,
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    /// The table of iptables with this index.
    Table(usize),
    /// A base chain of nf_tables.
    Chain(Called<'a>),
}

/// From the beginning to where the routes decide, or to the end.
pub(super) fn first<'a>(asked: InForce<'a>, course: Course, is_v6: bool) -> Vec<Phase<'a>> {
    let mut phases = Vec::new();
    match course {
        Course::Output => {
            of_hook(asked, Hook::Output, is_v6, &mut phases);
            phases.push(Phase::Reroute);
            of_hook(asked, Hook::Postrouting, is_v6, &mut phases);
        }
        Course::Arriving | Course::Forward | Course::Input => {
            of_hook(asked, Hook::Prerouting, is_v6, &mut phases);
            phases.push(Phase::Route);
        }
    }
    phases
}

/// What comes after routing.
pub(super) fn after_routing<'a>(asked: InForce<'a>, is_local: bool, is_v6: bool) -> Vec<Phase<'a>> {
    let mut phases = Vec::new();
    if is_local {
        of_hook(asked, Hook::Input, is_v6, &mut phases);
    } else {
        of_hook(asked, Hook::Forward, is_v6, &mut phases);
        of_hook(asked, Hook::Postrouting, is_v6, &mut phases);
    }
    phases
}

/// What comes after the loopback device.
pub(super) fn looped<'a>(asked: InForce<'a>, is_v6: bool) -> Vec<Phase<'a>> {
    let mut phases = Vec::new();
    of_hook(asked, Hook::Prerouting, is_v6, &mut phases);
    of_hook(asked, Hook::Input, is_v6, &mut phases);
    phases
}

/// Conntrack, tables and base chains of a hook by their priorities; of the same priority tables of iptables first, in the order
/// that they were given.
fn of_hook<'a>(asked: InForce<'a>, hook: Hook, is_v6: bool, phases: &mut Vec<Phase<'a>>) {
    phases.push(Phase::Enter(hook));
    let mut found: Vec<((i64, i64), Phase<'_>)> = Vec::new();
    for (index, table) in asked.tables.iter().enumerate() {
        let chain = table.base(hook).and_then(|base| table.chains.get(base));
        if let Some(base) = chain.and_then(|chain| chain.base) {
            let priority = i64::from(base.priority);
            let asked = Asked {
                hook,
                order: (priority, if base.is_nat { priority } else { 0 }),
                is_nat: base.is_nat,
                who: Who::Table(index),
            };
            found.push((asked.order, Phase::Ask(asked)));
        }
    }
    let family = if is_v6 { IpFamily::V6 } else { IpFamily::V4 };
    let chains = asked.nft.map(|nft| nft.called(nft_name(hook), Some(family)));
    for called in chains.into_iter().flatten() {
        let asked = Asked {
            hook,
            order: called.order(),
            is_nat: called.is_nat(),
            who: Who::Chain(called),
        };
        found.push((asked.order, Phase::Ask(asked)));
    }
    if matches!(hook, Hook::Prerouting | Hook::Output) {
        found.push(((CONNTRACK, 0), Phase::Conntrack));
    }
    found.sort_by_key(|(order, _)| *order);
    phases.extend(found.into_iter().map(|(_, phase)| phase));
}

/// As nft writes it.
fn nft_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
        Hook::Ingress => "ingress",
        Hook::Egress => "egress",
        Hook::Broute => "broute",
    }
}
