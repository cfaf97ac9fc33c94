//! Hook functions that are no ruleset and can drop a packet, and what it means when they do.

use std::collections::BTreeMap;

use observer_common::{DropEvent, flag};

use super::Site;
use super::whole::is_whole;
use crate::report::record::{Backend, Hook, TableFamily};
use crate::ruleset::{HookFunction, Snapshot};

/// What a function needs to drop a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// The packet has an entry in conntrack.
    Entry,
    /// The packet has none: the function failed to give it one.
    NoEntry,
    /// Nothing.
    Nothing,
}

/// Functions by the beginning of their names, v6.1 … v6.18.
const DROPPERS: [(&str, Needs, &str); 19] = [
    ("ipv4_conntrack_in", Needs::NoEntry, FULL),
    ("ipv4_conntrack_local", Needs::NoEntry, FULL),
    ("ipv6_conntrack_in", Needs::NoEntry, FULL),
    ("ipv6_conntrack_local", Needs::NoEntry, FULL),
    ("nf_ct_bridge_pre", Needs::NoEntry, FULL),
    ("nf_confirm", Needs::Entry, CLASH),
    ("ipv4_confirm", Needs::Entry, CLASH),
    ("ipv6_confirm", Needs::Entry, CLASH),
    ("nf_ct_bridge_post", Needs::Entry, CLASH),
    (
        NAT,
        Needs::Entry,
        "NAT could not translate it: no free port is left for a new connection, or it is an ICMP error or redirect for a \
         connection that NAT cannot match. See how many ports the rule may use, and `conntrack -S`",
    ),
    (
        "ip_vs_",
        Needs::Nothing,
        "IPVS did not deliver it: the virtual service has no real server left, or is overloaded. See `ipvsadm -Ln`",
    ),
    ("ipv4_synproxy_hook", Needs::Entry, SYNPROXY),
    ("ipv6_synproxy_hook", Needs::Entry, SYNPROXY),
    (
        "nf_hook_run_bpf",
        Needs::Nothing,
        "A BPF program on this hook dropped it. `bpftool net` and `bpftool link` show the program",
    ),
    (
        "selinux_",
        Needs::Nothing,
        "SELinux does not allow it: the labels of the packet, the device or the peer. See `ausearch -m avc`",
    ),
    (
        "apparmor_",
        Needs::Nothing,
        "AppArmor does not allow it. See the kernel's log for what it denied",
    ),
    (
        "br_nf_",
        Needs::Nothing,
        "br_netfilter could not make an IP packet of the frame: its IP header is malformed or longer than the frame",
    ),
    (
        "nf_flow_offload_",
        Needs::Nothing,
        "A flowtable could not translate or forward the packet. `nft list flowtables` shows the tables",
    ),
    (
        "ebt_",
        Needs::Nothing,
        "A table of ebtables dropped it, or one of its chains' policies. See `ebtables-legacy -t filter -L --Lc`",
    ),
];
/// NAT's functions.
const NAT: &str = "nf_nat_";
const FULL: &str = "conntrack could not make an entry for the packet: its table is full (`sysctl \
                    net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max`), memory is short, or it could \
                    not replace an old entry. `conntrack -S` counts it";
const CLASH: &str = "conntrack could not enter the new connection: one with the same addresses and ports, after translation, \
                     is there already (two queries sent at once from one socket; a translation that has no free port \
                     left), or its hash table is too small. `conntrack -S` counts it (`insert_failed`, `chaintoolong`)";
const SYNPROXY: &str = "SYNPROXY dropped it: the handshake with the client or the server did not come about";
/// Functions that route anew what a table has changed.
const REROUTE: [&str; 5] = [
    "iptable_mangle_hook",
    "ip6table_mangle_hook",
    "nf_route_table_hook4",
    "nf_route_table_hook6",
    "nf_route_table_inet",
];
const REROUTED: &str = "A rule changed what its route depends on (mark, address, type of service), and there is no route \
                        for it as it is now. See `ip rule` and `ip route`";
/// Functions that drop nothing, or nothing that would be seen here: defragmentation keeps fragments, and frees them by
/// itself.
const HARMLESS: [&str; 6] = [
    "ipv4_conntrack_defrag",
    "ipv6_defrag",
    "ip_sabotage_in",
    "accept_all",
    "ebt_broute",
    "smack_ip_output",
];
/// Functions that walk rules of a legacy table that is read.
const LEGACY: [&str; 4] = [
    "ipt_do_table",
    "ip6t_do_table",
    "iptable_mangle_hook",
    "ip6table_mangle_hook",
];

/// Such a function is a suspect only where its rules could not be read.
const UNREAD: &str = "A rule or policy of one of iptables-legacy's tables in this hook; the table could not be read, so which one is not \
                      known. See `iptables-legacy-save -c`, for IPv6 `ip6tables-legacy-save -c`";

/// What a drop by this function means and what to check; `None` if the function is not known.
pub fn text(function: &HookFunction) -> Option<&'static str> {
    if REROUTE.contains(&function.name.as_str()) {
        return Some(REROUTED);
    }
    if LEGACY.contains(&function.name.as_str()) {
        return Some(UNREAD);
    }
    known(&function.name).map(|(_, text)| text)
}

fn known(name: &str) -> Option<(Needs, &'static str)> {
    let found = DROPPERS.iter().find(|(start, ..)| name.starts_with(start));
    found.map(|(_, needs, text)| (*needs, *text))
}

/// Functions that share a hook with others like them, of which each can have dropped a packet whatever it is: nothing but
/// what they return tells them apart.
pub fn alike(snapshot: &Snapshot) -> Vec<&str> {
    let mut by_hook: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for function in snapshot
        .hooks
        .functions
        .iter()
        .filter(|function| !function.in_nat)
    {
        let name = function.name.as_str();
        let needs_nothing = known(name).is_none_or(|(needs, _)| needs == Needs::Nothing);
        let asks_rules = REROUTE.contains(&name) || is_ruleset(snapshot, function);
        if needs_nothing && !name.is_empty() && !HARMLESS.contains(&name) && !asks_rules {
            let device = function.device.as_ref().map_or(0, |device| device.ifindex);
            by_hook
                .entry((function.hook.name(), function.family as u8, device))
                .or_default()
                .push(name);
        }
    }
    let several = by_hook.into_values().filter(|names| names.len() > 1);
    several.flatten().collect()
}

/// Indices of the functions that can have dropped a packet in this hook, apart from the rules they ask, in the order in
/// which they are called. What is not known can drop.
pub fn suspects(event: &DropEvent, snapshot: &Snapshot, site: Site<'_>) -> Vec<usize> {
    let functions = snapshot.hooks.functions.iter().enumerate();
    let here = functions.filter(|(_, function)| !function.in_nat && is_on(event, site, function));
    if let Some(inside) = site.function {
        // Freed inside a function of the hook: that one, unless it only asked rules.
        let it = here.filter(|(_, function)| function.name == inside && !is_ruleset(snapshot, function));
        return it.map(|(index, _)| index).collect();
    }
    let from = passed_nat(event, snapshot, site);
    here.filter(|(_, function)| function.priority >= from && can_drop(event, snapshot, function))
        .map(|(index, _)| index)
        .collect()
}

/// Priority of NAT's function in this hook, if it has set up a translation for this packet, and so let it pass: what is
/// called before it did not drop the packet. A connection that is confirmed may have been translated elsewhere.
fn passed_nat(event: &DropEvent, snapshot: &Snapshot, site: Site<'_>) -> Option<i32> {
    let begins = event.conn.info == NEW && event.conn.status & CONFIRMED == 0;
    let is_done = event.flags & flag::CONN != 0 && !nat_is_open(event, site.hook);
    let is_nat = |function: &&HookFunction| !function.in_nat && function.name.starts_with(NAT);
    let mut functions = snapshot.hooks.functions.iter().filter(is_nat);
    functions
        .find(|function| begins && is_done && is_on(event, site, function))
        .and_then(|function| function.priority)
}

/// Whether a packet passed this function in this hook.
pub fn is_on(event: &DropEvent, site: Site<'_>, function: &HookFunction) -> bool {
    let family = match site.family {
        TableFamily::Inet if is_v6(event) => TableFamily::Ip6,
        TableFamily::Inet => TableFamily::Ip,
        family => family,
    };
    let device_fits = function
        .device
        .as_ref()
        .is_none_or(|device| event.dev_ifindex == 0 || device.ifindex == event.dev_ifindex);
    function.hook == site.hook && function.family == family && device_fits
}

/// Whether a packet is of IPv6.
pub fn is_v6(event: &DropEvent) -> bool {
    event.protocol == 0x86dd_u16.to_be()
}

fn can_drop(event: &DropEvent, snapshot: &Snapshot, function: &HookFunction) -> bool {
    let name = function.name.as_str();
    if HARMLESS.contains(&name) {
        return false;
    }
    if REROUTE.contains(&name) && function.hook == Hook::Output {
        return true;
    }
    if is_ruleset(snapshot, function) {
        return false;
    }
    let has_entry = event.flags & flag::CONN != 0;
    match known(name) {
        Some((Needs::Entry, _)) if name.starts_with(NAT) => has_entry && nat_can_drop(event, function.hook),
        Some((Needs::Entry, CLASH)) => has_entry && confirm_can_drop(event, snapshot, function),
        Some((Needs::Entry, _)) => has_entry,
        Some((Needs::NoEntry, _)) => !has_entry,
        _ => true,
    }
}

/// What conntrack has done for a packet so far: bits of `nf_conn.status`, `enum ip_conntrack_status`,
/// include/uapi/linux/netfilter/nf_conntrack_common.h.
const CONFIRMED: u32 = 1 << 3;
const SEQ_ADJUST: u32 = 1 << 6;
const SRC_NAT_DONE: u32 = 1 << 7;
const DST_NAT_DONE: u32 = 1 << 8;
const DYING: u32 = 1 << 9;
/// What may have a helper: a connection that was given one, or that a helper foretold (`IPS_HELPER`, `IPS_EXPECTED`).
const HELPED: u32 = 1 << 13 | 1;
/// `IP_CT_NEW`: the packet begins the connection.
const NEW: u32 = 2;

/// Whether NAT's work in this hook can have failed: the packet has an entry, and its translation is not set up. NAT sets
/// the source up where packets end their way, the destination where they begin it (`HOOK2MANIP`, net/netfilter/nf_nat_core.c).
pub fn nat_is_open(event: &DropEvent, hook: Hook) -> bool {
    let done = match hook {
        Hook::Input | Hook::Postrouting => SRC_NAT_DONE,
        _ => DST_NAT_DONE,
    };
    event.flags & flag::CONN != 0 && event.conn.status & done == 0
}

/// For the first packet of a connection the bit tells NAT's failure from that of what comes after it. NAT can also drop
/// later packets, ICMP's errors and redirects about a connection, and what is malformed.
fn nat_can_drop(event: &DropEvent, hook: Hook) -> bool {
    nat_is_open(event, hook) || event.conn.info != NEW || !is_whole(event)
}

/// A new connection whose translation failed did not come as far as to be confirmed. A confirmed one can only be dropped
/// there by its helper, or when its sequence numbers cannot be adjusted, or when it was taken out again at once
/// (`nf_confirm`, `__nf_conntrack_confirm`, net/netfilter/nf_conntrack_{proto,core}.c, v6.12).
fn confirm_can_drop(event: &DropEvent, snapshot: &Snapshot, confirm: &HookFunction) -> bool {
    let status = event.conn.status;
    if status & CONFIRMED != 0 && status & (SEQ_ADJUST | HELPED | DYING) == 0 {
        return false;
    }
    let is_before = |function: &HookFunction| {
        let same = function.hook == confirm.hook && function.family == confirm.family;
        same && !function.in_nat && function.name.starts_with(NAT) && function.priority < confirm.priority
    };
    let nat_failed = nat_is_open(event, confirm.hook) && event.conn.info == NEW;
    !(nat_failed && snapshot.hooks.functions.iter().any(is_before))
}

/// Whether all that a function does is to ask rules that were read.
fn is_ruleset(snapshot: &Snapshot, function: &HookFunction) -> bool {
    if LEGACY.contains(&function.name.as_str()) {
        return all_legacy_read(snapshot);
    }
    snapshot.nft_chain(function.private).is_some()
}

/// Whether every legacy table that a hook calls is known.
fn all_legacy_read(snapshot: &Snapshot) -> bool {
    let functions = snapshot.hooks.functions.iter();
    let called = functions.filter(|function| LEGACY.contains(&function.name.as_str()));
    let mut privates: Vec<u64> = called.map(|function| function.private).collect();
    privates.sort_unstable();
    privates.dedup();
    let legacy = |table: &&crate::ruleset::Table| table.backend == Backend::Legacy;
    snapshot.tables.iter().filter(legacy).count() >= privates.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_says_what_to_do_in_one_line() {
        for (name, _, text) in DROPPERS {
            assert!(!text.contains('\n') && !text.contains("  "), "{name}: {text}");
        }
        assert!(
            [REROUTED, UNREAD]
                .iter()
                .all(|text| !text.contains("  ") && !text.contains('\n'))
        );
    }

    #[test]
    fn no_name_hides_behind_another() {
        for (index, (name, ..)) in DROPPERS.iter().enumerate() {
            let earlier = &DROPPERS[..index];
            assert!(
                !earlier.iter().any(|(start, ..)| name.starts_with(start)),
                "{name}"
            );
        }
    }
}
