//! In which hook a packet died, from the stack of the call that freed it: whoever ran the hook.

use crate::kernel::Symbols;
use crate::report::record::{Hook, TableFamily};

/// Between the function that calls the hook's functions and the one that runs the hook there may be one of these.
const BETWEEN: [&str; 6] = [
    "nf_hook_slow_list",
    "nf_hook",
    "nf_hook_ingress",
    "nf_ingress",
    "nf_hook_egress",
    THRESH,
];
/// Runs the rest of a bridge's hook, after br_netfilter has run IP's (net/bridge/br_netfilter_hooks.c).
const THRESH: &str = "br_nf_hook_thresh";
/// Runs the bridge's PREROUTING by itself, without `nf_hook_slow` (net/bridge/br_input.c, v5.10 … v6.18).
const BRIDGE_PRE: [&str; 2] = ["nf_hook_bridge_pre", BRIDGE_INPUT];
const BRIDGE_INPUT: &str = "br_handle_frame";
/// Runs FORWARD for a frame from another port, OUTPUT for the bridge's own.
const BRIDGE_FORWARD: &str = "__br_forward";
/// Sends the bridge's own frames.
const BRIDGE_XMIT: &str = "br_dev_xmit";
/// Frames behind that which are looked at.
const FRAMES: usize = 3;

/// Functions that run a hook of IPv4 or IPv6: net/ipv4, net/ipv6, net/bridge/br_netfilter_*.c, v6.1 … v6.18. A static
/// function that runs one may be inlined into its caller, so the callers are here too.
const INET: [(&str, Hook); 45] = [
    ("ip_rcv", Hook::Prerouting),
    ("ip_list_rcv", Hook::Prerouting),
    ("ip_sublist_rcv", Hook::Prerouting),
    ("ipv6_rcv", Hook::Prerouting),
    ("ipv6_list_rcv", Hook::Prerouting),
    ("ip6_sublist_rcv", Hook::Prerouting),
    ("br_nf_pre_routing", Hook::Prerouting),
    ("br_nf_pre_routing_ipv6", Hook::Prerouting),
    ("ip_local_deliver", Hook::Input),
    ("ip6_input", Hook::Input),
    ("ip6_mc_input", Hook::Input),
    ("xfrm4_transport_finish", Hook::Prerouting),
    ("xfrm6_transport_finish", Hook::Prerouting),
    ("ip_forward", Hook::Forward),
    ("ip6_forward", Hook::Forward),
    ("ipmr_queue_xmit", Hook::Forward),
    ("ip_mr_forward", Hook::Forward),
    ("ip6_mr_forward", Hook::Forward),
    ("ip6mr_forward2", Hook::Forward),
    ("br_nf_forward", Hook::Forward),
    ("br_nf_forward_ip", Hook::Forward),
    ("__ip_local_out", Hook::Output),
    ("ip_local_out", Hook::Output),
    ("__ip6_local_out", Hook::Output),
    ("ip6_local_out", Hook::Output),
    ("raw_sendmsg", Hook::Output),
    ("raw_send_hdrinc", Hook::Output),
    ("rawv6_sendmsg", Hook::Output),
    ("rawv6_send_hdrinc", Hook::Output),
    ("ip6_xmit", Hook::Output),
    ("ndisc_send_skb", Hook::Output),
    ("mld_sendpack", Hook::Output),
    ("igmp6_send", Hook::Output),
    ("mld_send_report", Hook::Output),
    ("ip_output", Hook::Postrouting),
    ("ip_mc_output", Hook::Postrouting),
    ("ip6_output", Hook::Postrouting),
    ("ip6_finish_output", Hook::Postrouting),
    ("xfrm4_output", Hook::Postrouting),
    ("xfrm6_output", Hook::Postrouting),
    ("xfrm_output", Hook::Postrouting),
    ("xfrm_output_resume", Hook::Postrouting),
    ("br_nf_post_routing", Hook::Postrouting),
    ("br_nf_dev_queue_xmit", Hook::Postrouting),
    ("vrf_ip_local_out", Hook::Output),
];

/// Functions that run a hook of another family: net/bridge, net/core/dev.c, net/ipv4/arp.c, v6.1 … v6.18.
const OTHER: [(&str, TableFamily, Hook); 20] = [
    // Frames to a link-local address that the bridge keeps to itself.
    (BRIDGE_INPUT, TableFamily::Bridge, Hook::Input),
    ("br_pass_frame_up", TableFamily::Bridge, Hook::Input),
    ("br_forward_finish", TableFamily::Bridge, Hook::Postrouting),
    ("__br_multicast_send_query", TableFamily::Bridge, Hook::Output),
    ("br_send_bpdu", TableFamily::Bridge, Hook::Output),
    ("br_nf_pre_routing_finish", TableFamily::Bridge, Hook::Prerouting),
    (
        "br_nf_pre_routing_finish_bridge",
        TableFamily::Bridge,
        Hook::Prerouting,
    ),
    (
        "br_nf_pre_routing_finish_ipv6",
        TableFamily::Bridge,
        Hook::Prerouting,
    ),
    ("br_nf_forward_finish", TableFamily::Bridge, Hook::Forward),
    ("__netif_receive_skb_core", TableFamily::Netdev, Hook::Ingress),
    ("__netif_receive_skb", TableFamily::Netdev, Hook::Ingress),
    ("__netif_receive_skb_one_core", TableFamily::Netdev, Hook::Ingress),
    (
        "__netif_receive_skb_list_core",
        TableFamily::Netdev,
        Hook::Ingress,
    ),
    ("__dev_queue_xmit", TableFamily::Netdev, Hook::Egress),
    ("arp_rcv", TableFamily::Arp, Hook::Input),
    ("arp_xmit", TableFamily::Arp, Hook::Output),
    ("arp_send_dst", TableFamily::Arp, Hook::Output),
    ("arp_solicit", TableFamily::Arp, Hook::Output),
    ("arp_process", TableFamily::Arp, Hook::Output),
    ("br_do_proxy_suppress_arp", TableFamily::Arp, Hook::Output),
];

/// Where in the kernel a hook was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    /// The hook.
    pub hook: Hook,
    /// Whose hook: `Inet` for IPv4's or IPv6's, whichever the packet is; `Netdev` also for the ingress of inet, which
    /// is a device's.
    pub family: TableFamily,
    /// Whether br_netfilter ran it for a frame on a bridge: the packet's device is then a port.
    pub bridged: bool,
    /// The hook's function in which the packet was freed; `None` if whoever called it freed it.
    pub function: Option<&'a str>,
}

impl Site<'_> {
    /// The family of the table whose chain was walked, if it was one of nf_tables' and that freed the packet.
    pub fn nft_family(&self) -> Option<TableFamily> {
        Some(match self.function? {
            "nft_do_chain_ipv4" | "nf_route_table_hook4" => TableFamily::Ip,
            "nft_do_chain_ipv6" | "nf_route_table_hook6" => TableFamily::Ip6,
            "nft_do_chain_inet" | "nft_do_chain_inet_ingress" | "nf_route_table_inet" => TableFamily::Inet,
            "nft_do_chain_bridge" => TableFamily::Bridge,
            "nft_do_chain_arp" => TableFamily::Arp,
            "nft_do_chain_netdev" => TableFamily::Netdev,
            _ => return None,
        })
    }
}

/// The innermost run of a hook on a stack, innermost frame first; `None` if there is none or who ran it is not known.
/// `location` is the return address of the call that freed the packet: one of the frames.
pub fn site_of<'a>(stack: &[u64], location: u64, symbols: &'a Symbols) -> Option<Site<'a>> {
    let names: Vec<&str> = stack
        .iter()
        .map(|address| symbols.of(*address).map_or("", |symbol| symbol.name))
        .collect();
    log::trace!("freed by {names:?}");
    let freed = stack.iter().position(|address| *address == location);
    let is_run = |name: &&str| *name == "nf_hook_slow" || BRIDGE_PRE.contains(name);
    let run = names.iter().position(is_run)?;
    let function = (run > 0 && freed.is_some_and(|freed| freed < run)).then(|| names[run - 1]);
    let site = if names[run] == "nf_hook_slow" {
        of_callers(&names[run + 1..])?
    } else {
        (TableFamily::Bridge, Hook::Prerouting, false)
    };
    let (family, hook, bridged) = site;
    Some(Site {
        hook,
        family,
        bridged,
        function,
    })
}

/// Family and hook, and whether br_netfilter ran it, by the callers of `nf_hook_slow`.
fn of_callers(names: &[&str]) -> Option<(TableFamily, Hook, bool)> {
    let of_bridge = names.first() == Some(&THRESH);
    let callers = names.iter().filter(|name| !BETWEEN.contains(*name)).take(FRAMES);
    for (index, caller) in callers.enumerate() {
        if *caller == BRIDGE_FORWARD {
            return Some((TableFamily::Bridge, forward_or_output(names)?, false));
        }
        if let Some((_, family, hook)) = OTHER.iter().find(|(name, ..)| name == caller) {
            return Some((*family, *hook, false));
        }
        // Only br_netfilter itself is asked then: what called it ran another hook.
        if of_bridge && index > 0 {
            return None;
        }
        if let Some((_, hook)) = INET.iter().find(|(name, _)| name == caller) {
            let bridged = caller.starts_with("br_nf_");
            let family = if of_bridge {
                TableFamily::Bridge
            } else {
                TableFamily::Inet
            };
            return Some((family, *hook, bridged && !of_bridge));
        }
    }
    None
}

/// Whether a frame that a bridge sends out of a port is its own or came in by another port.
fn forward_or_output(names: &[&str]) -> Option<Hook> {
    names.iter().find_map(|name| match *name {
        BRIDGE_XMIT => Some(Hook::Output),
        BRIDGE_INPUT | "br_handle_frame_finish" => Some(Hook::Forward),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
