//! Neighbour resolution. Read in net/core/neighbour.c, net/ipv4/arp.c and net/ipv6/ndisc.c, v6.1 and v6.12.

use super::{Loss, Meaning, ReasonRow, RefinedRow, SymbolRow, row};
use crate::report::record::Layer;

const fn neighbour(says: &'static str, check: &'static str) -> Meaning {
    row(Layer::Neighbour, says, check, Loss::Yes)
}

const FAILED: Meaning = neighbour(
    "Nobody answers ARP (NDP) for the next hop to {dst}: the host or pod with that address is gone or unreachable",
    "ip neigh show {dst}; ip route get {dst}",
);
const QUEUE_FULL: Meaning = neighbour(
    "The next hop to {dst} is still being resolved (ARP, NDP), and too many packets wait for it",
    "ip neigh show {dst}; sysctl net.ipv4.neigh.default.unres_qlen_bytes",
);
const DEAD: Meaning = neighbour(
    "The neighbour entry for {dst} was being removed",
    "ip monitor neigh",
);
const PURGED: Meaning = neighbour(
    "It waited for ARP (NDP) when the neighbour entry was removed: nobody answered, or the device went down",
    "ip neigh show {dst}; ip -br link show {out}",
);
const OUTPUT: Meaning = neighbour(
    "The link-layer header for {dst} could not be built: the neighbour is not resolved, or the device went down",
    "ip neigh show {dst}; ip -br link show {out}",
);
const CREATE: Meaning = neighbour(
    "No neighbour entry could be made for {dst}: the table is full, or the next hop is impossible on this device",
    "ip -s -s neigh | wc -l; sysctl net.ipv4.neigh.default.gc_thresh3",
);
const NDISC_BAD: Meaning = row(
    Layer::Neighbour,
    "A neighbour-discovery message that breaks the rules",
    "tcpdump -ni {in} icmp6",
    Loss::Yes,
);
const ARP_UNUSED: Meaning = row(
    Layer::Neighbour,
    "An ARP message that is not for this host or of no use to it",
    "",
    Loss::No,
);

pub(super) const REASONS: &[ReasonRow] = &[
    ("NEIGH_CREATEFAIL", CREATE),
    ("NEIGH_FAILED", FAILED),
    ("NEIGH_QUEUEFULL", QUEUE_FULL),
    ("NEIGH_DEAD", DEAD),
    ("NEIGH_HH_FILLFAIL", OUTPUT),
    (
        "ARP_PVLAN_DISABLE",
        row(
            Layer::Neighbour,
            "An ARP request that this host would answer only as a private-VLAN proxy, which is off",
            "sysctl net/ipv4/conf/{in}/proxy_arp_pvlan",
            Loss::No,
        ),
    ),
    ("IPV6_NDISC_FRAG", NDISC_BAD),
    ("IPV6_NDISC_HOP_LIMIT", NDISC_BAD),
    ("IPV6_NDISC_BAD_CODE", NDISC_BAD),
    ("IPV6_NDISC_BAD_OPTIONS", NDISC_BAD),
    (
        "IPV6_NDISC_NS_OTHERHOST",
        row(
            Layer::Neighbour,
            "A neighbour solicitation for another host",
            "",
            Loss::No,
        ),
    ),
];

pub(super) const REFINED: &[RefinedRow] = &[(
    // These functions purge the queue of packets that wait for the answer; elsewhere the reason is a socket's end.
    "QUEUE_PURGE",
    &[
        "neigh_destroy",
        "neigh_flush_dev",
        "neigh_invalidate",
        "__neigh_update",
        "neigh_timer_handler",
        "neigh_update",
    ],
    PURGED,
)];

pub(super) const SYMBOLS: &[SymbolRow] = &[
    (
        &[
            "arp_error_report",
            "ndisc_error_report",
            "neigh_invalidate",
            "neigh_timer_handler",
            "neigh_blackhole",
        ],
        FAILED,
    ),
    (
        &[
            "neigh_destroy",
            "neigh_flush_dev",
            "__neigh_update",
            "neigh_update",
        ],
        PURGED,
    ),
    (&["__neigh_event_send", "neigh_event_send"], FAILED),
    (
        &[
            "neigh_resolve_output",
            "neigh_connected_output",
            "neigh_direct_output",
            "neigh_hh_output",
            "neigh_xmit",
        ],
        OUTPUT,
    ),
    (&["blackhole_neigh_output"], DEAD),
    (
        &[
            "arp_process",
            "arp_rcv",
            "pneigh_enqueue",
            "pneigh_queue_purge",
            "neigh_proxy_process",
            "pndisc_redo",
        ],
        ARP_UNUSED,
    ),
    (
        &["ndisc_send_skb"],
        neighbour(
            "No route for a neighbour-discovery message of this host",
            "ip -6 route",
        ),
    ),
    (&["ndisc_rcv", "ndisc_recv_ns", "ndisc_recv_na"], NDISC_BAD),
];
