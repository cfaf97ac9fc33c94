//! In which hook a packet died, from the stack of the call that freed it: whoever called `nf_hook_slow`.

use crate::kernel::Symbols;
use crate::report::record::Hook;

/// Between `nf_hook_slow` and the function that runs the hook there may be one of these.
const BETWEEN: [&str; 3] = ["nf_hook_slow_list", "nf_hook", "br_nf_hook_thresh"];
/// Frames after `nf_hook_slow` that are looked at.
const FRAMES: usize = 3;

/// Functions that run a hook of IPv4 or IPv6: net/ipv4, net/ipv6, net/bridge/br_netfilter_*.c, v6.1 … v6.18. A static
/// function that runs one may be inlined into its caller, so the callers are here too.
const CALLERS: [(&str, Hook); 45] = [
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

/// Where in the kernel a hook was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The hook.
    pub hook: Hook,
    /// Whether br_netfilter ran it for a frame on a bridge: the packet's device is then a port.
    pub bridged: bool,
}

/// The innermost `nf_hook_slow` on a stack; `None` if there is none or its caller is not known.
pub fn site_of(stack: &[u64], symbols: &Symbols) -> Option<Site> {
    let mut names = stack
        .iter()
        .map(|address| symbols.of(*address).map_or("", |symbol| symbol.name));
    names.find(|name| *name == "nf_hook_slow")?;
    let callers = names.filter(|name| !BETWEEN.contains(name)).take(FRAMES);
    let mut known = callers.filter_map(|name| CALLERS.iter().find(|(caller, _)| *caller == name));
    let (caller, hook) = known.next()?;
    Some(Site {
        hook: *hook,
        bridged: caller.starts_with("br_nf_"),
    })
}
