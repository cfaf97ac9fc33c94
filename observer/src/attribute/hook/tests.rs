//! Stacks as 6.18 shows them, innermost frame first.

use super::*;

/// The site of a packet freed by the call in the frame `freed`.
fn site(freed: &str, stack: &[&str]) -> Option<(TableFamily, Hook, bool, Option<String>)> {
    let mut names = stack.to_vec();
    names.sort_unstable();
    names.dedup();
    let start =
        |name: &str| 0xffff_ffff_8100_0000_u64 + 0x1000 * names.partition_point(|known| *known < name) as u64;
    let text: String = names
        .iter()
        .map(|name| format!("{:x} t {name}\n", start(name)))
        .collect();
    let symbols = Symbols::parse(&text);
    let addresses: Vec<u64> = (0..)
        .zip(stack)
        .map(|(index, name)| start(name) + 0x10 + index)
        .collect();
    let location = stack
        .iter()
        .position(|name| *name == freed)
        .map_or(0, |index| addresses[index]);
    let site = site_of(&addresses, location, &symbols)?;
    Some((
        site.family,
        site.hook,
        site.bridged,
        site.function.map(str::to_owned),
    ))
}

/// As above, freed by `nft_do_chain`, called by `function`, called by the rest.
fn nft(function: &str, rest: &str) -> Option<(TableFamily, Hook, bool, Option<String>)> {
    let mut stack = vec!["bpf_trace_run4", "sk_skb_reason_drop", "nft_do_chain", function];
    stack.extend(rest.split(' '));
    site("nft_do_chain", &stack)
}

fn found(
    family: TableFamily,
    hook: Hook,
    bridged: bool,
    function: &str,
) -> Option<(TableFamily, Hook, bool, Option<String>)> {
    let function = (!function.is_empty()).then(|| function.to_owned());
    Some((family, hook, bridged, function))
}

const BRIDGE: &str = "nft_do_chain_bridge";

#[test]
fn the_bridge_runs_its_prerouting_by_itself() {
    assert_eq!(
        nft(BRIDGE, "br_handle_frame __netif_receive_skb_core process_backlog"),
        found(TableFamily::Bridge, Hook::Prerouting, false, BRIDGE)
    );
    // What interrupted another hook is not in that hook.
    assert_eq!(
        nft(
            BRIDGE,
            "br_handle_frame __netif_receive_skb_core do_softirq nf_hook_slow ip_output"
        ),
        found(TableFamily::Bridge, Hook::Prerouting, false, BRIDGE)
    );
    // Frames to a link-local address.
    assert_eq!(
        nft(BRIDGE, "nf_hook_slow br_handle_frame __netif_receive_skb_core"),
        found(TableFamily::Bridge, Hook::Input, false, BRIDGE)
    );
}

#[test]
fn a_bridge_forwards_what_came_in_and_puts_out_what_is_its_own() {
    let hook = |rest| nft(BRIDGE, rest).map(|(family, hook, ..)| (family, hook));
    let bridge = |hook| Some((TableFamily::Bridge, hook));
    assert_eq!(
        hook("nf_hook_slow __br_forward br_handle_frame_finish br_nf_hook_thresh br_nf_pre_routing_finish"),
        bridge(Hook::Forward)
    );
    assert_eq!(
        hook("nf_hook_slow __br_forward maybe_deliver br_flood br_handle_frame_finish br_handle_frame"),
        bridge(Hook::Forward)
    );
    assert_eq!(
        hook("nf_hook_slow __br_forward br_dev_xmit dev_hard_start_xmit __dev_queue_xmit"),
        bridge(Hook::Output)
    );
    assert_eq!(hook("nf_hook_slow __br_forward something_else"), None);
    assert_eq!(
        hook("nf_hook_slow br_pass_frame_up br_handle_frame_finish br_nf_hook_thresh"),
        bridge(Hook::Input)
    );
    assert_eq!(
        hook(
            "nf_hook_slow br_forward_finish br_nf_hook_thresh br_nf_forward_finish br_nf_forward_ip nf_hook_slow"
        ),
        bridge(Hook::Postrouting)
    );
}

#[test]
fn br_netfilter_runs_ip_s_hooks_and_the_rest_of_the_bridge_s() {
    assert_eq!(
        nft(
            "nft_do_chain_ipv4",
            "nf_hook_slow br_nf_forward_ip nf_hook_slow __br_forward br_handle_frame_finish br_nf_hook_thresh"
        ),
        found(TableFamily::Inet, Hook::Forward, true, "nft_do_chain_ipv4")
    );
    assert_eq!(
        nft(
            BRIDGE,
            "nf_hook_slow br_nf_hook_thresh br_nf_pre_routing_finish br_nf_pre_routing br_handle_frame"
        ),
        found(TableFamily::Bridge, Hook::Prerouting, false, BRIDGE)
    );
    // Inlined.
    assert_eq!(
        nft(
            BRIDGE,
            "nf_hook_slow br_nf_hook_thresh br_nf_forward_ip nf_hook_slow"
        ),
        found(TableFamily::Bridge, Hook::Forward, false, BRIDGE)
    );
}

#[test]
fn devices_have_an_ingress_and_an_egress() {
    let netdev = "nft_do_chain_netdev";
    assert_eq!(
        nft(
            netdev,
            "nf_hook_slow __netif_receive_skb_core __netif_receive_skb_one_core"
        ),
        found(TableFamily::Netdev, Hook::Ingress, false, netdev)
    );
    assert_eq!(
        nft(
            netdev,
            "nf_hook_slow __dev_queue_xmit br_dev_queue_push_xmit br_dev_xmit"
        ),
        found(TableFamily::Netdev, Hook::Egress, false, netdev)
    );
}

#[test]
fn a_verdict_that_the_hook_s_caller_carries_out_is_in_no_function() {
    let stack = [
        "bpf_trace_run4",
        "sk_skb_reason_drop",
        "nf_hook_slow",
        "ip_forward",
    ];
    assert_eq!(
        site("nf_hook_slow", &stack),
        found(TableFamily::Inet, Hook::Forward, false, "")
    );
    let queued = [
        "sk_skb_reason_drop",
        "nf_queue",
        "nf_hook_slow",
        "ip_local_deliver",
    ];
    assert_eq!(
        site("nf_queue", &queued),
        found(TableFamily::Inet, Hook::Input, false, "nf_queue")
    );
}

#[test]
fn a_stack_without_a_hook_or_with_an_unknown_caller_tells_nothing() {
    assert_eq!(
        site(
            "nfqnl_reinject",
            &["kfree_skb", "nfqnl_reinject", "netlink_rcv_skb"]
        ),
        None
    );
    assert_eq!(
        site(
            "nf_hook_slow",
            &["kfree_skb", "nf_hook_slow", "new", "newer", "newest"]
        ),
        None
    );
    assert_eq!(site_of(&[], 0, &Symbols::default()), None);
}

#[test]
fn the_function_that_walked_the_chain_tells_the_table_s_family() {
    let family = |function| {
        Site {
            hook: Hook::Ingress,
            family: TableFamily::Netdev,
            bridged: false,
            function,
        }
        .nft_family()
    };
    assert_eq!(family(Some("nft_do_chain_inet_ingress")), Some(TableFamily::Inet));
    assert_eq!(family(Some("nft_do_chain_netdev")), Some(TableFamily::Netdev));
    assert_eq!(family(Some("nf_nat_ipv4_out")), None);
    assert_eq!(family(None), None);
}
