//! Traffic control and XDP. Read in net/core/{dev,filter}.c, include/net/sch_generic.h and net/sched/, v6.1 and v6.12.
//! On 6.1 and 6.12 a queue hands its victims to the caller, so `__dev_queue_xmit` frees them with QDISC_DROP.

use super::{Loss, Meaning, ReasonRow, SymbolRow, row};
use crate::report::record::Layer;

const fn tc(says: &'static str, check: &'static str) -> Meaning {
    row(Layer::Tc, says, check, Loss::Yes)
}

const QDISC: Meaning = row(
    Layer::Tc,
    "The queueing discipline of {out} dropped it: a full queue, a rate limit, netem, or a device without a carrier",
    "tc -s qdisc show dev {out}; ip -br link show {out}",
    Loss::UnlessUpkeep,
);
const OVERLIMIT: Meaning = tc("The queue of {out} is full", "tc -s qdisc show dev {out}");
const CONGESTED: Meaning = tc(
    "The queue of {out} shed it to keep delays short (CoDel and the like)",
    "tc -s qdisc show dev {out}",
);
const INGRESS: Meaning = tc(
    "A tc filter or BPF program at the ingress of {in} dropped it",
    "tc -s filter show dev {in} ingress; bpftool net show dev {in}",
);
const EGRESS: Meaning = tc(
    "A tc filter or BPF program at the egress of {out} dropped it",
    "tc -s filter show dev {out} egress; bpftool net show dev {out}",
);
const FILTERS: Meaning = tc(
    "A tc filter could not finish on this packet",
    "tc -s filter show dev {dev} ingress; tc -s qdisc show dev {dev}",
);
const FQ: Meaning = tc(
    "The fq queue of {out} is past one of its limits",
    "tc -s qdisc show dev {out}",
);
const REDIRECT: Meaning = tc(
    "A BPF program redirected it to a device that could not take it (down, too small an MTU, no neighbour)",
    "bpftool net show; ip -br link",
);
const XDP: Meaning = row(
    Layer::Xdp,
    "An XDP program on {in} dropped it",
    "bpftool net show dev {in}; ip link show {in}",
    Loss::Yes,
);

pub(super) const REASONS: &[ReasonRow] = &[
    ("QDISC_DROP", QDISC),
    ("QDISC_OVERLIMIT", OVERLIMIT),
    ("QDISC_CONGESTED", CONGESTED),
    ("QDISC_BAND_LIMIT", FQ),
    ("QDISC_HORIZON_LIMIT", FQ),
    ("QDISC_FLOW_LIMIT", FQ),
    ("CAKE_FLOOD", CONGESTED),
    ("DUALPI2_STEP_DROP", CONGESTED),
    ("FQ_BAND_LIMIT", FQ),
    ("FQ_HORIZON_LIMIT", FQ),
    ("FQ_FLOW_LIMIT", FQ),
    ("TC_INGRESS", INGRESS),
    ("TC_EGRESS", EGRESS),
    ("TC_ERROR", FILTERS),
    ("TC_COOKIE_ERROR", FILTERS),
    ("TC_CHAIN_NOTFOUND", FILTERS),
    ("TC_RECLASSIFY_LOOP", FILTERS),
    ("XDP", XDP),
];

pub(super) const SYMBOLS: &[SymbolRow] = &[
    (&["sch_handle_ingress"], INGRESS),
    (&["sch_handle_egress"], EGRESS),
    (
        &[
            "__dev_xmit_skb",
            "qdisc_reset",
            "qdisc_purge_queue",
            "__qdisc_run",
            "dequeue_skb",
            "drop_func",
            "codel_qdisc_dequeue",
            "fq_codel_dequeue",
            "fq_codel_enqueue",
            "cake_dequeue",
            "cake_enqueue",
            "pie_qdisc_enqueue",
            "tbf_segment",
            "tbf_dequeue",
            "netem_enqueue",
            "netem_dequeue",
            "__rtnl_unlock",
            "netdev_run_todo",
        ],
        QDISC,
    ),
    (
        &["net_tx_action"],
        tc(
            "The queue of {out} was taken down while it waited",
            "tc -s qdisc show dev {out}",
        ),
    ),
    (
        &[
            "skb_do_redirect",
            "__bpf_redirect",
            "__bpf_redirect_no_mac",
            "__bpf_redirect_common",
            "bpf_out_neigh_v4",
            "bpf_out_neigh_v6",
            "__bpf_redirect_neigh",
            "__bpf_redirect_neigh_v4",
            "__bpf_redirect_neigh_v6",
            "__bpf_tx_skb",
        ],
        REDIRECT,
    ),
    (
        &[
            "tcf_ct_handle_fragments",
            "tcf_mirred_act",
            "tcf_action_exec",
            "tcf_classify",
        ],
        FILTERS,
    ),
    (
        &[
            "do_xdp_generic",
            "netif_receive_generic_xdp",
            "generic_xdp_tx",
            "veth_xdp_rcv_skb",
            "tun_build_skb",
        ],
        XDP,
    ),
];
