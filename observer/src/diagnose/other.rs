//! What belongs to no other layer: netfilter's own, subsystems with reasons of their own, and bookkeeping.

use super::{Loss, Meaning, ReasonRow, SymbolRow, row};
use crate::report::record::Layer;

const fn other(says: &'static str, check: &'static str) -> Meaning {
    row(Layer::Other, says, check, Loss::Yes)
}

const NETFILTER: Meaning = row(
    Layer::Netfilter,
    "A netfilter hook dropped it",
    "iptables-save -c; nft list ruleset",
    Loss::Yes,
);
const NF_QUEUE: Meaning = row(
    Layer::Netfilter,
    "A rule sent it to a user-space queue (NFQUEUE), and no program took it, or the queue was full",
    "cat /proc/net/netfilter/nfnetlink_queue",
    Loss::Yes,
);
const IPVS: Meaning = row(
    Layer::Netfilter,
    "IPVS could not send it on to a real server",
    "ipvsadm -Ln --stats",
    Loss::Yes,
);
const OVS: Meaning = other(
    "Open vSwitch dropped it",
    "ovs-appctl dpctl/dump-flows -m | grep drop",
);
const WIFI: Meaning = row(
    Layer::Device,
    "The Wi-Fi layer could not use the frame",
    "iw dev {in} station dump",
    Loss::UnlessToMany,
);
const MONITOR: Meaning = row(
    Layer::Device,
    "A Wi-Fi frame only of interest to a monitor",
    "",
    Loss::No,
);
const NO_NETWORK: Meaning = row(
    Layer::Other,
    "No network packet: a message between programs of this host",
    "",
    Loss::No,
);

pub(super) const REASONS: &[ReasonRow] = &[
    ("NETFILTER_DROP", NETFILTER),
    (
        "CONSUMED",
        row(
            Layer::Other,
            "It reached its end in the ordinary way",
            "",
            Loss::No,
        ),
    ),
    (
        "SECURITY_HOOK",
        other(
            "A security module (SELinux, AppArmor, Smack, a BPF LSM) refused it",
            "dmesg | tail; ausearch -m avc -ts recent",
        ),
    ),
    ("OVS_DROP_LAST_ACTION", OVS),
    ("OVS_DROP_ACTION_ERROR", OVS),
    ("OVS_DROP_EXPLICIT", OVS),
    ("OVS_DROP_EXPLICIT_WITH_ERROR", OVS),
    ("OVS_DROP_METER", OVS),
    ("OVS_DROP_RECURSION_LIMIT", OVS),
    ("OVS_DROP_DEFERRED_LIMIT", OVS),
    ("OVS_DROP_FRAG_L2_TOO_LONG", OVS),
    ("OVS_DROP_FRAG_INVALID_PROTO", OVS),
    ("OVS_DROP_CONNTRACK", OVS),
    ("OVS_DROP_IP_TTL", OVS),
    ("MAC80211_UNUSABLE", WIFI),
    ("MAC80211_MONITOR", MONITOR),
];

pub(super) const SYMBOLS: &[SymbolRow] = &[
    (
        &[
            "nf_hook_slow",
            "nf_hook_slow_list",
            "nft_do_chain",
            "nf_reinject",
            "nf_queue_entry_free",
            "nft_do_chain_ipv4",
            "nft_do_chain_inet",
            "nft_fwd_neigh_eval",
            "nft_synproxy_eval",
            "synproxy_tg4",
            "synproxy_tg6",
        ],
        NETFILTER,
    ),
    (
        &["nf_queue", "__nf_queue", "nfqnl_reinject", "nfqnl_flush"],
        NF_QUEUE,
    ),
    (
        &[
            "ip_vs_nat_xmit",
            "ip_vs_dr_xmit",
            "ip_vs_tunnel_xmit",
            "ip_vs_bypass_xmit",
            "ip_vs_in_hook",
            "ip_vs_out_hook",
            "ip_vs_nat_xmit_v6",
            "ip_vs_tunnel_xmit_v6",
            "ip_vs_dr_xmit_v6",
        ],
        IPVS,
    ),
    (
        &["nf_dup_ipv4", "nf_dup_ipv6", "nf_do_netdev_egress"],
        row(
            Layer::Netfilter,
            "A copy (TEE, dup) that could not be sent; the packet itself went on",
            "",
            Loss::No,
        ),
    ),
    (
        &[
            "ovs_dp_process_packet",
            "ovs_execute_actions",
            "do_execute_actions",
            "ovs_dp_upcall",
            "ovs_vport_receive",
            "ovs_vport_send",
        ],
        OVS,
    ),
    (
        &[
            "ieee80211_rx_napi",
            "ieee80211_rx_list",
            "ieee80211_tx_dequeue",
            "cfg80211_rx_unprot_mlme_mgmt",
        ],
        WIFI,
    ),
    (
        &[
            "netlink_unicast",
            "netlink_broadcast",
            "netlink_broadcast_filtered",
            "do_one_broadcast",
            "netlink_rcv_skb",
            "netlink_attachskb",
            "netlink_sendmsg",
            "unix_dgram_sendmsg",
            "unix_stream_sendmsg",
            "unix_stream_connect",
            "unix_release_sock",
            "unix_sock_destructor",
            "unix_stream_read_generic",
            "rtnl_notify",
            "nlmsg_notify",
            "alloc_skb_with_frags",
            "vsock_dgram_sendmsg",
            "virtio_transport_recv_pkt",
        ],
        NO_NETWORK,
    ),
];
