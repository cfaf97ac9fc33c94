//! A packet's way in the words of the trace: the passages of each hook, with devices, namespaces and what was changed.

use std::rc::Rc;

use observer_common::{HookEvent, hook_flag};

use super::clock;
use super::line::Known;
use crate::attribute::{bare, hook_of, passages};
use crate::kernel::NetnsNames;
use crate::report::endpoint;
use crate::report::record::{Change, Hook, Mark, Netns, PassVerdict, Passage, Tuple};
use crate::ruleset::{HookFunction, INET_HOOKS, Snapshot};
use crate::trace::{Way, before, device, headers, tuple_of};

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`
const INET: [u8; 2] = [2, 10];
/// Said of a hook that nothing is registered on: the packet was there and nobody looked at it.
const NO_HOOK: &str = "no hook registered here";
/// Said where a flow table took the packet.
const OFFLOADED: &str = "flowtable fast path: it left the hooks here";

/// The passages of a way.
pub fn path(way: &Way, names: &mut NetnsNames, known: &Known<'_>) -> Vec<Passage> {
    let mut path = Vec::new();
    for (index, event) in way.iter().enumerate() {
        let previous = index.checked_sub(1).and_then(|index| way.get(index));
        let snapshot = snapshot_of(event, known);
        let snapshot = snapshot.as_deref();
        for hook in silent(previous.map(std::convert::AsRef::as_ref), event, known) {
            path.push(unregistered(hook, event, names));
        }
        if let Some(previous) = previous
            && left_silently(previous, event, known)
        {
            path.push(unregistered(Hook::Postrouting, previous, names));
        }
        path.extend(of_hook(event, snapshot, names));
    }
    path
}

/// The rulesets that were in force when the packet passed.
pub fn snapshot_of(event: &HookEvent, known: &Known<'_>) -> Option<Rc<Snapshot>> {
    let compared = known.store.at(event.net, event.generation);
    if event.flags & hook_flag::STALE == 0
        && let Some(snapshot) = compared
    {
        return Some(Rc::clone(snapshot));
    }
    // Handles and addresses of nf_tables are good for the generation that the kernel had then.
    known.store.with_nft_seq(event.net, event.nft_seq).map(Rc::clone)
}

/// Passages of one hook.
fn of_hook(event: &HookEvent, snapshot: Option<&Snapshot>, names: &mut NetnsNames) -> Vec<Passage> {
    let mut found = passages(event, snapshot);
    let (at, netns) = (clock::wall(event.time_ns), netns(event, names));
    for passage in &mut found {
        passage.at = Some(at);
        passage.netns = Some(netns.clone());
        passage.in_dev = device(&event.in_name);
        passage.out_dev = device(&event.out_name);
        passage.outer = outer(event);
    }
    changes(event, &mut found);
    if let Some(snapshot) = snapshot
        && is_offloaded(event, snapshot)
        && let Some(last) = found.last_mut().filter(|last| last.table.is_none())
    {
        last.note = Some(OFFLOADED.to_owned());
    }
    found
}

fn netns(event: &HookEvent, names: &mut NetnsNames) -> Netns {
    Netns {
        inode: event.netns_inode,
        name: names.name(event.netns_inode),
    }
}

/// The headers around the packet while it is in a tunnel.
fn outer(event: &HookEvent) -> Option<Tuple> {
    if event.flags & hook_flag::TUNNEL == 0 {
        return None;
    }
    tuple(&event.other)
}

/// Puts what changed to the table whose rule did it: addresses to nat, a mark to the target that sets marks. What no table
/// did (a connection that was translated before, a function that asks no rules) stands by itself.
fn changes(event: &HookEvent, passages: &mut Vec<Passage>) {
    let of_target = |passages: &[Passage], fits: fn(Option<&str>) -> bool| {
        let by = |passage: &Passage| passage.steps.iter().any(|step| fits(step.target.as_deref()));
        passages.iter().position(by)
    };
    if event.mark_before != event.mark_after {
        let change = Change::Mark {
            from: Mark(event.mark_before),
            to: Mark(event.mark_after),
        };
        let at = of_target(passages, sets_mark);
        put(passages, at, vec![change]);
    }
    let at = passages
        .iter()
        .position(|passage| passage.table.as_deref() == Some("nat"))
        .or_else(|| of_target(passages, translates));
    put(passages, at, translations(event));
}

/// Adds changes to a passage, or to one without a table.
fn put(passages: &mut Vec<Passage>, at: Option<usize>, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    let without_table = |passage: &Passage| passage.table.is_none();
    let at = at.or_else(|| passages.iter().position(without_table));
    match at.and_then(|at| passages.get_mut(at)) {
        Some(passage) => passage.changes.extend(changes),
        None => {
            let Some(first) = passages.first() else { return };
            let by_itself = Passage {
                at: first.at,
                netns: first.netns.clone(),
                in_dev: first.in_dev.clone(),
                out_dev: first.out_dev.clone(),
                outer: first.outer.clone(),
                changes,
                ..bare(first.hook, Some(PassVerdict::Accept))
            };
            // A drop stays the last.
            let dies = passages
                .last()
                .is_some_and(|last| last.verdict == Some(PassVerdict::Drop));
            passages.insert(passages.len() - usize::from(dies), by_itself);
        }
    }
}

fn sets_mark(target: Option<&str>) -> bool {
    target.is_some_and(|target| ["MARK", "CONNMARK", "mark", "ct mark", "TPROXY"].contains(&target))
}

fn translates(target: Option<&str>) -> bool {
    const NAT: [&str; 10] = [
        "DNAT",
        "SNAT",
        "MASQUERADE",
        "REDIRECT",
        "NETMAP",
        "dnat",
        "snat",
        "masquerade",
        "masq",
        "redirect",
    ];
    target.is_some_and(|target| NAT.contains(&target) || target == "nat" || target == "redir")
}

/// Addresses and ports that differ between entering and leaving.
fn translations(event: &HookEvent) -> Vec<Change> {
    if event.flags & hook_flag::AFTER == 0 {
        return Vec::new();
    }
    // As much was read of it as before.
    let after = &event.other[..before(event).len().min(event.other.len())];
    let (Some(then), Some(now)) = (tuple(before(event)), tuple(after)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if (then.dst, then.dport) != (now.dst, now.dport) {
        found.push(Change::Dnat {
            from: endpoint(then.dst, then.dport),
            to: endpoint(now.dst, now.dport),
        });
    }
    if (then.src, then.sport) != (now.src, now.sport) {
        found.push(Change::Snat {
            from: endpoint(then.src, then.sport),
            to: endpoint(now.src, now.sport),
        });
    }
    found
}

/// Addresses and ports in headers.
fn tuple(header: &[u8]) -> Option<Tuple> {
    tuple_of(&headers(header)?)
}

/// A flow table forwards packets by itself: it takes them at its devices' ingress (`nf_flow_offload_ip_hook`,
/// net/netfilter/nf_flow_table_ip.c). A rule there may take them as well (`fwd`): it did not if it would have been seen.
fn is_offloaded(event: &HookEvent, snapshot: &Snapshot) -> bool {
    let stolen = event.returned == 0 && event.flags & hook_flag::FREED == 0;
    if !stolen || hook_of(event.pf, event.hook) != Some(Hook::Ingress) {
        return false;
    }
    let is_here = |function: &&HookFunction| {
        let device = function.device.as_ref().map(|device| device.ifindex);
        function.hook == Hook::Ingress && device == Some(event.in_ifindex)
    };
    let here = || snapshot.hooks.functions.iter().filter(is_here);
    let is_flow_table = |function: &HookFunction| function.name.starts_with("nf_flow_offload");
    let rules_are_seen = event.flags & (hook_flag::TRACED | hook_flag::VERDICTS) != 0;
    here().any(is_flow_table) && (rules_are_seen || here().all(is_flow_table))
}

/// Hooks that the packet must have passed before this one in the same namespace, and that have no functions.
fn silent(previous: Option<&HookEvent>, event: &HookEvent, known: &Known<'_>) -> Vec<Hook> {
    let mut missing = missing(previous, event);
    missing.retain(|hook| is_unregistered(event, *hook, known));
    missing
}

/// Hooks that the packet must have passed before this one in the same namespace, and was not seen at.
fn missing(previous: Option<&HookEvent>, event: &HookEvent) -> Vec<Hook> {
    if !INET.contains(&event.pf) || event.first != 0 {
        return Vec::new();
    }
    let was = previous
        .filter(|previous| previous.net == event.net && INET.contains(&previous.pf))
        .and_then(|previous| hook_of(previous.pf, previous.hook));
    match (hook_of(event.pf, event.hook), was) {
        (Some(Hook::Forward | Hook::Input), None | Some(Hook::Postrouting | Hook::Output)) => {
            vec![Hook::Prerouting]
        }
        (Some(Hook::Postrouting), Some(Hook::Prerouting)) => vec![Hook::Forward],
        // Made here, or forwarded.
        (Some(Hook::Postrouting), None | Some(Hook::Postrouting)) if event.in_ifindex == 0 => {
            vec![Hook::Output]
        }
        (Some(Hook::Postrouting), None) if may_be_made_here(event) => {
            // Whatever is forwarded has lost a hop.
            let is_made_here = before(event).get(7) == Some(&u8::MAX);
            if is_made_here {
                vec![Hook::Output]
            } else {
                Vec::new()
            }
        }
        (Some(Hook::Postrouting), None) => vec![Hook::Prerouting, Hook::Forward],
        _ => Vec::new(),
    }
}

/// What IPv6 itself sends (neighbour discovery, reports of groups) has its device before it is routed, which POSTROUTING is then
/// told as the one that it came in by (`ndisc_alloc_skb`, net/ipv6/ndisc.c; `ip6_output`, net/ipv6/ip6_output.c, v6.1 … v6.12).
fn may_be_made_here(event: &HookEvent) -> bool {
    event.pf == INET[1] && event.in_ifindex == event.out_ifindex
}

/// Whether the packet left its namespace through POSTROUTING without being seen there.
fn left_silently(previous: &HookEvent, event: &HookEvent, known: &Known<'_>) -> bool {
    let was = hook_of(previous.pf, previous.hook);
    let went_on = previous.net != event.net
        || (event.flags & hook_flag::TUNNEL != 0) != (previous.flags & hook_flag::TUNNEL != 0);
    INET.contains(&previous.pf)
        && previous.returned == 1
        && went_on
        && matches!(was, Some(Hook::Forward | Hook::Output))
        && is_unregistered(previous, Hook::Postrouting, known)
}

fn is_unregistered(event: &HookEvent, hook: Hook, known: &Known<'_>) -> bool {
    let Some(index) = INET_HOOKS.iter().position(|of| *of == hook) else {
        return false;
    };
    let index = if event.pf == INET[1] {
        index + INET_HOOKS.len()
    } else {
        index
    };
    let snapshot = known.store.current(event.net);
    snapshot.is_some_and(|snapshot| snapshot.hooks.lists.get(index) == Some(&0))
}

fn unregistered(hook: Hook, event: &HookEvent, names: &mut NetnsNames) -> Passage {
    Passage {
        netns: Some(netns(event, names)),
        outer: outer(event),
        note: Some(NO_HOOK.to_owned()),
        ..bare(hook, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::blank_hook;

    fn at_postrouting(pf: u8, [from, to]: [u32; 2], hops: u8) -> Vec<Hook> {
        let mut event = blank_hook();
        (event.pf, event.hook) = (pf, 4);
        (event.in_ifindex, event.out_ifindex) = (from, to);
        (event.before[0], event.before[7], event.before_bytes) = (pf << 4, hops, 40);
        missing(None, &event)
    }

    #[test]
    fn what_a_host_sends_of_neighbours_was_not_forwarded() {
        const FORWARDED: [Hook; 2] = [Hook::Prerouting, Hook::Forward];
        assert_eq!(at_postrouting(10, [4, 4], 255), [Hook::Output], "a solicitation");
        assert_eq!(
            at_postrouting(10, [4, 4], 1),
            [],
            "a report of groups, or sent back where it came from"
        );
        assert_eq!(at_postrouting(10, [4, 5], 63), FORWARDED);
        assert_eq!(at_postrouting(2, [4, 4], 63), FORWARDED);
        assert_eq!(at_postrouting(10, [0, 5], 64), [Hook::Output]);
    }
}
