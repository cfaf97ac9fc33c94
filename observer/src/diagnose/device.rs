//! Devices, their queues and drivers; bridges, VLANs and tunnels. Read in net/core/dev.c, net/bridge/, net/8021q/,
//! drivers/net/{tun,veth,tap,macvlan,loopback}.c and drivers/net/vxlan/vxlan_core.c, v6.1 and v6.12.

use super::{Loss, Meaning, ReasonRow, RefinedRow, SymbolRow, row};
use crate::report::record::Layer;

const fn device(says: &'static str, check: &'static str) -> Meaning {
    row(Layer::Device, says, check, Loss::Yes)
}

const fn noise(says: &'static str) -> Meaning {
    row(Layer::Device, says, "", Loss::No)
}

const BACKLOG: Meaning = device(
    "This CPU's queue of received packets is full: it takes in packets more slowly than they come",
    "cat /proc/net/softnet_stat; sysctl net.core.netdev_max_backlog",
);
const NOT_READY: Meaning = device(
    "The device is down or not ready for packets",
    "ip -s link show {dev}; ip -br link",
);
const TUN: Meaning = device(
    "The tun/tap device did not take it: its queue is full because the program behind it reads too slowly, or nobody has it open",
    "ip -s link show {out}",
);
const VETH: Meaning = device(
    "The veth pair did not take it: the other end is gone, down or has a smaller MTU, or its queue is full",
    "ip -d -s link show {out}",
);
const VXLAN_OUT: Meaning = device(
    "The VXLAN device could not send it on: no forwarding entry for that MAC, no route to the other node, or a loop",
    "bridge fdb show dev {out}; ip -s -d link show {out}",
);
const NO_TARGET: Meaning = device(
    "{out} has nowhere to send it: a VXLAN device without a forwarding entry, or a bridge without a port",
    "bridge fdb show; ip -s -d link show {out}",
);
const VXLAN_IN: Meaning = device(
    "A VXLAN packet that this host cannot use: unknown VNI, bad flags, or its own MAC as the sender",
    "ip -s -d link show type vxlan",
);
const TUNNEL: Meaning = device(
    "The tunnel could not take it: no matching tunnel, no route to its other end, or too large",
    "ip -s -d tunnel show; ip -s -d link show {dev}",
);
const BRIDGE_FRAME: Meaning = device(
    "The bridge did not take the frame: the port is not forwarding (STP), a MAC control frame, or a rule of a bridge table",
    "bridge link show; nft list tables bridge",
);
const BRIDGE_FORWARD: Meaning = device(
    "The bridge would have to send it back by the port it came from (hairpin is off), or to a port that is down or isolated",
    "bridge -d link show; bridge fdb show",
);
const BRIDGE_FLOOD: Meaning = row(
    Layer::Device,
    "The bridge has no port to send it to: none is attached and up but the one it came by, and none is known for its MAC",
    "bridge fdb show; ip neigh show {dst}",
    Loss::IfIpForUs,
);
const BRIDGE_VLAN: Meaning = device(
    "The bridge's VLAN filter refused it",
    "bridge vlan show; ip -d link show {dev}",
);
const NO_MEMORY: Meaning = device("There was no memory for it", "free -m; nstat -az");
const SEGMENT: Meaning = device("Splitting a large packet for {out} failed", "ethtool -k {out}");
const USER_COPY: Meaning = device("Its data could not be copied from the program that sent it", "");
const TAP_FILTER: Meaning = device(
    "A filter that the owner of the tap device attached dropped it",
    "ip -d link show {out}",
);
const RECURSION: Meaning = device(
    "Devices send to each other in a loop (a tunnel through itself, a bridge in a ring)",
    "ip -d link; dmesg | grep -i 'dead loop'",
);
const MTU_OR_DOWN: Meaning = device(
    "{dev} is down, or the packet is larger than its MTU",
    "ip -s link show {dev}",
);
const XMIT: Meaning = device(
    "{out} did not take it: the device or its queue is down, or devices send to each other in a loop",
    "ip -s link show {out}; tc -s qdisc show dev {out}",
);

pub(super) const REASONS: &[ReasonRow] = &[
    (
        "OTHERHOST",
        noise("A frame for another host, seen because the device listens to all (promiscuous)"),
    ),
    ("CPU_BACKLOG", BACKLOG),
    ("DEV_READY", NOT_READY),
    (
        "DEV_HDR",
        device(
            "The header that belongs to the device is invalid",
            "ip -s -d link show {dev}",
        ),
    ),
    (
        "FULL_RING",
        device(
            "The ring of {dev} is full: whoever empties it is too slow",
            "ip -s link show {dev}; ethtool -S {dev}",
        ),
    ),
    ("NOMEM", NO_MEMORY),
    (
        "PFMEMALLOC",
        device(
            "It came in on the memory reserve, which only swapping over the network may use",
            "free -m",
        ),
    ),
    (
        "HDR_TRUNC",
        device(
            "It is too short for the headers that it claims to have",
            "tcpdump -ni {in} -v",
        ),
    ),
    ("TAP_FILTER", TAP_FILTER),
    (
        "TAP_TXFILTER",
        noise("A frame that is not for the MAC addresses the tap device asked for"),
    ),
    (
        "SKB_CSUM",
        device("Its checksum could not be computed", "ethtool -k {out}"),
    ),
    ("SKB_GSO_SEG", SEGMENT),
    ("SKB_BAD_GSO", SEGMENT),
    ("SKB_UCOPY_FAULT", USER_COPY),
    (
        "UNHANDLED_PROTO",
        row(
            Layer::Device,
            "Nobody here speaks this protocol (LLDP, STP, an unknown Ethernet type, an untagged VLAN)",
            "ip -d link show {in}",
            Loss::IfIp,
        ),
    ),
    (
        "BRIDGE_INGRESS_STP_STATE",
        row(
            Layer::Device,
            "The bridge port is not forwarding (spanning tree)",
            "bridge link show",
            Loss::UnlessToMany,
        ),
    ),
    (
        "MAC_IEEE_MAC_CONTROL",
        noise("A MAC control (pause) frame, which a bridge never forwards"),
    ),
    (
        "MAC_INVALID_SOURCE",
        device("The source MAC address is multicast or zero", "tcpdump -eni {in}"),
    ),
    (
        "LOCAL_MAC",
        noise("The source MAC address is the device's own: its packet came back"),
    ),
    ("NO_TX_TARGET", NO_TARGET),
    ("VXLAN_INVALID_HDR", VXLAN_IN),
    ("VXLAN_VNI_NOT_FOUND", VXLAN_IN),
    (
        "VXLAN_ENTRY_EXISTS",
        device(
            "The MAC has a fixed forwarding entry at another node, so a packet from here is refused",
            "bridge fdb show dev {in}",
        ),
    ),
    (
        "TUNNEL_TXINFO",
        device(
            "A packet for a metadata tunnel carries no tunnel information",
            "ip -d link show {out}",
        ),
    ),
    ("RECURSION_LIMIT", RECURSION),
    (
        "CAN_RX_INVALID_FRAME",
        device("An invalid CAN frame", "ip -d link show {in}"),
    ),
    (
        "CANFD_RX_INVALID_FRAME",
        device("An invalid CAN FD frame", "ip -d link show {in}"),
    ),
    (
        "CANXL_RX_INVALID_FRAME",
        device("An invalid CAN XL frame", "ip -d link show {in}"),
    ),
    (
        "PSP_INPUT",
        device("PSP encryption: the packet failed a check on arrival", ""),
    ),
    (
        "PSP_OUTPUT",
        device("PSP encryption: the packet failed a check on leaving", ""),
    ),
];

pub(super) const REFINED: &[RefinedRow] = &[
    ("NO_TX_TARGET", &["vxlan_xmit", "vxlan_xmit_nhid"], VXLAN_OUT),
    // A bridge says it of what it cannot flood.
    (
        "NO_TX_TARGET",
        &["br_dev_xmit", "br_flood", "br_multicast_flood"],
        BRIDGE_FLOOD,
    ),
];

pub(super) const SYMBOLS: &[SymbolRow] = &[
    (&["enqueue_to_backlog", "netif_rx_internal"], BACKLOG),
    (
        &["flush_backlog", "dev_cpu_dead"],
        device("The device went away while it waited", "ip monitor link"),
    ),
    (
        &[
            "__dev_queue_xmit",
            "dev_queue_xmit",
            "__dev_direct_xmit",
            "dev_hard_start_xmit",
        ],
        XMIT,
    ),
    (
        // It frees a list for its caller: a device that is down (__dev_queue_xmit), the parts of a fragmented packet.
        &["kfree_skb_list_reason"],
        device(
            "Several packets were freed together: {out} is down or cannot keep up, or fragmenting failed",
            "ip -s link show {out}; tc -s qdisc show dev {out}",
        ),
    ),
    (
        &[
            "validate_xmit_skb",
            "validate_xmit_skb_list",
            "skb_segment",
            "skb_gso_segment",
        ],
        SEGMENT,
    ),
    (
        &[
            "__dev_forward_skb",
            "__dev_forward_skb2",
            "dev_forward_skb",
            "dev_forward_skb_nomtu",
        ],
        MTU_OR_DOWN,
    ),
    (
        &["dev_queue_xmit_nit"],
        noise("A tap's copy (tcpdump and the like); the packet itself went on"),
    ),
    (
        &[
            "__netif_receive_skb_core",
            "__netif_receive_skb_one_core",
            "__netif_receive_skb_list_core",
        ],
        row(
            Layer::Device,
            "No protocol handler, VLAN or bridge took the frame",
            "ip -d link show {in}",
            Loss::IfIp,
        ),
    ),
    (
        &["napi_gro_complete", "flush_gro_hash", "gro_cells_receive"],
        NOT_READY,
    ),
    (&["tun_net_xmit", "tap_handle_frame"], TUN),
    (
        &[
            "tun_get_user",
            "tun_xdp_one",
            "tap_get_user",
            "tun_do_read",
            "tap_do_read",
        ],
        USER_COPY,
    ),
    (
        &["veth_xmit", "veth_xdp_rx", "veth_ptr_free", "veth_forward_skb"],
        VETH,
    ),
    (
        &[
            "vxlan_xmit",
            "vxlan_xmit_one",
            "vxlan_xmit_nh",
            "vxlan_xmit_nhid",
            "vxlan_encap_bypass",
            "encap_bypass_if_local",
            "vxlan_mdb_xmit",
        ],
        VXLAN_OUT,
    ),
    (&["vxlan_rcv"], VXLAN_IN),
    (
        &[
            "geneve_rx",
            "geneve_udp_encap_recv",
            "geneve_xmit",
            "ip_tunnel_xmit",
            "ip_md_tunnel_xmit",
            "ip_tunnel_rcv",
            "ipip_tunnel_xmit",
            "ipip_tunnel_rcv",
            "ipip_rcv",
            "tunnel4_rcv",
            "tunnel6_rcv",
            "gre_rcv",
            "gre_tap_xmit",
            "ipgre_xmit",
            "ipip6_tunnel_xmit",
            "sit_tunnel_xmit",
            "ip6_tnl_start_xmit",
            "ip6_tnl_xmit",
            "__ip6_tnl_rcv",
            "ip6gre_tunnel_xmit",
            "iptunnel_xmit",
            "fou_udp_recv",
            "gue_udp_recv",
            "wg_xmit",
        ],
        TUNNEL,
    ),
    (
        &[
            "br_handle_frame",
            "br_handle_frame_finish",
            "nf_hook_bridge_pre",
            "br_pass_frame_up",
        ],
        BRIDGE_FRAME,
    ),
    (&["br_forward", "__br_forward"], BRIDGE_FORWARD),
    (&["br_flood", "br_multicast_flood"], BRIDGE_FLOOD),
    (&["br_dev_queue_push_xmit"], MTU_OR_DOWN),
    (
        &["br_handle_vlan", "__allowed_ingress", "br_allowed_ingress"],
        BRIDGE_VLAN,
    ),
    (
        &["br_dev_xmit"],
        device(
            "The bridge device could not send it on",
            "bridge fdb show; ip -s link show {out}",
        ),
    ),
    (
        &[
            "br_nf_pre_routing_finish",
            "br_nf_pre_routing_finish_bridge",
            "br_nf_pre_routing_finish_ipv6",
        ],
        device(
            "br_netfilter: after a DNAT on the bridge, no route or no neighbour for {dst}",
            "ip route get {dst}; sysctl net.bridge.bridge-nf-call-iptables",
        ),
    ),
    (
        &["br_stp_rcv", "stp_pdu_rcv", "llc_rcv", "snap_rcv"],
        noise("A bridge protocol (STP) or LLC frame that nobody here wants"),
    ),
    (
        &[
            "vlan_do_receive",
            "skb_vlan_untag",
            "vlan_dev_hard_start_xmit",
            "skb_reorder_vlan_header",
        ],
        device("The VLAN device did not take it", "ip -d link show {dev}"),
    ),
    (
        &[
            "macvlan_handle_frame",
            "macvlan_broadcast_enqueue",
            "macvlan_start_xmit",
            "ipvlan_start_xmit",
            "ipvlan_queue_xmit",
        ],
        MTU_OR_DOWN,
    ),
    (
        &["bond_handle_frame", "bond_start_xmit", "bond_tx_drop"],
        device(
            "The bond has no working link for it",
            "cat /proc/net/bonding/{out}",
        ),
    ),
    (
        &["dummy_xmit"],
        device(
            "A dummy device swallows all that is sent to it",
            "ip route get {dst}; ip -d link show {out}",
        ),
    ),
    (
        &["blackhole_netdev_xmit"],
        device(
            "Its device was removed while it was on the way",
            "ip monitor link",
        ),
    ),
    (&["noop_enqueue", "noop_dequeue", "noqueue_init"], NOT_READY),
];
