//! Routing, forwarding and IP itself. Read in net/ipv4/{ip_input,ip_forward,ip_output,ip_fragment,route}.c and
//! net/ipv6/{ip6_input,ip6_output,route,exthdrs,reassembly}.c, v6.1 and v6.12; the reasons of `enum skb_drop_reason`
//! in v6.1, v6.12 and v6.18.

use super::{Loss, Meaning, ReasonRow, RefinedRow, SymbolRow, row};
use crate::report::record::Layer;

const fn routing(says: &'static str, check: &'static str) -> Meaning {
    row(Layer::Routing, says, check, Loss::Yes)
}

const NO_ROUTE_OUT: Meaning = routing(
    "This host has no route to {dst} for a packet of its own",
    "ip route get {dst}",
);
const NO_ROUTE_IN: Meaning = routing(
    "No route to {dst} for what comes in here",
    "ip route get {dst} from {src} iif {in}",
);
const TTL: Meaning = routing(
    "The TTL (hop limit) ran out here: a route goes round in a loop, or the sender set it too low",
    "traceroute -n {dst}",
);
const TOO_BIG: Meaning = routing(
    "The packet ({len} bytes) is larger than the next MTU and may not be fragmented; if the sender never sees the ICMP \
     error, the connection hangs",
    "ip route get {dst}; ping -M do -s 1400 {dst}",
);
const MARTIAN: Meaning = routing(
    "The source address cannot come from outside (martian: multicast, broadcast, zero, or one of this host's own)",
    "ip route get {src}; sysctl net.ipv4.conf.all.log_martians",
);
const BAD_HEADER: Meaning = routing(
    "The IP header is damaged or not allowed",
    "nstat -az IpInHdrErrors Ip6InHdrErrors",
);
const FRAG_TIMEOUT: Meaning = routing(
    "The other fragments of this packet did not arrive in time",
    "nstat -az IpReasmTimeout IpReasmFails; sysctl net.ipv4.ipfrag_time",
);
const FRAG_BAD: Meaning = routing(
    "A fragment that fits with no others (overlapping, too long, or no memory left for it)",
    "nstat -az IpReasmFails; sysctl net.ipv4.ipfrag_high_thresh",
);
const XFRM: Meaning = routing(
    "An IPsec policy forbids it, or requires protection that it lacks",
    "ip xfrm policy; ip xfrm state",
);
const EXTENSION: Meaning = routing(
    "An IPv6 extension header is malformed or not accepted",
    "nstat -az Ip6InHdrErrors",
);

pub(super) const REASONS: &[ReasonRow] = &[
    ("IP_OUTNOROUTES", NO_ROUTE_OUT),
    ("IP_INNOROUTES", NO_ROUTE_IN),
    (
        "IP_INADDRERRORS",
        routing(
            "The address {dst} is not this host's, and it may not be forwarded or reached from here",
            "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding; ip route get {dst} from {src} iif {in}",
        ),
    ),
    (
        "IP_RPFILTER",
        routing(
            "Reverse-path filter: the way back to {src} does not leave by {in}, where this came in",
            "ip route get {src}; sysctl net/ipv4/conf/{in}/rp_filter net.ipv4.conf.all.rp_filter",
        ),
    ),
    ("IP_LOCAL_SOURCE", MARTIAN),
    ("IP_INVALID_SOURCE", MARTIAN),
    (
        "IP_INVALID_DEST",
        routing(
            "The destination address {dst} is none a packet can be sent to",
            "",
        ),
    ),
    (
        "IP_LOCALNET",
        routing(
            "An address of 127.0.0.0/8 came in from outside (martian); a DNAT to 127.0.0.1 needs route_localnet",
            "sysctl net/ipv4/conf/{in}/route_localnet",
        ),
    ),
    ("PKT_TOO_BIG", TOO_BIG),
    ("IP_INHDR", BAD_HEADER),
    (
        "IP_CSUM",
        routing(
            "The checksum of the IPv4 header is wrong: damaged on the way, or by a device",
            "ethtool -S {in}",
        ),
    ),
    (
        "UNICAST_IN_L2_MULTICAST",
        routing(
            "A unicast packet came in a multicast or broadcast frame, and this host is told to refuse that",
            "sysctl net/ipv4/conf/{in}/drop_unicast_in_l2_multicast",
        ),
    ),
    ("XFRM_POLICY", XFRM),
    (
        "DUP_FRAG",
        row(Layer::Routing, "A fragment that was here already", "", Loss::No),
    ),
    ("FRAG_REASM_TIMEOUT", FRAG_TIMEOUT),
    (
        "FRAG_TOO_FAR",
        routing(
            "Too many other packets of this sender came between the fragments",
            "sysctl net.ipv4.ipfrag_max_dist",
        ),
    ),
    (
        "IPV6DISABLED",
        routing(
            "IPv6 is switched off on the device",
            "sysctl net/ipv6/conf/{dev}/disable_ipv6",
        ),
    ),
    ("IPV6_BAD_EXTHDR", EXTENSION),
    (
        "BPF_CGROUP_EGRESS",
        routing(
            "A BPF program of the sender's cgroup (egress) dropped it",
            "bpftool cgroup tree",
        ),
    ),
    (
        "IP_TUNNEL_ECN",
        routing(
            "The congestion marks outside and inside the tunnel contradict each other",
            "nstat -az; tcpdump -ni {in} -v",
        ),
    ),
];

pub(super) const REFINED: &[RefinedRow] = &[
    // ip_forward(), ip6_forward(): the only place there that sets this reason is the TTL's end.
    ("IP_INHDR", &["ip_forward", "ip6_forward"], TTL),
    (
        "IP_INADDRERRORS",
        // ip_error() sets it only with forwarding off on the device.
        &["ip_error"],
        routing(
            "{dst} is not this host's address, and {in} does not forward",
            "sysctl net.ipv4.ip_forward net/ipv4/conf/{in}/forwarding",
        ),
    ),
    (
        "IP_INADDRERRORS",
        &["ip6_forward"],
        routing(
            "IPv6 forwarding is off, or the source address {src} may not be forwarded (link-local, multicast, none)",
            "sysctl net.ipv6.conf.all.forwarding",
        ),
    ),
    (
        "IP_INNOROUTES",
        &["ip6_pkt_drop", "ip6_pkt_discard", "ip6_pkt_prohibit"],
        routing(
            "No route to {dst} for what comes in here, or a route of type unreachable or prohibit",
            "ip -6 route get {dst} from {src} iif {in}; ip -6 route show table all type unreachable",
        ),
    ),
    (
        "IP_OUTNOROUTES",
        &["ip6_pkt_drop", "ip6_pkt_discard_out", "ip6_pkt_prohibit_out"],
        routing(
            "This host has no route to {dst}, or one of type unreachable or prohibit",
            "ip -6 route get {dst}; ip -6 route show table all type unreachable",
        ),
    ),
];

pub(super) const SYMBOLS: &[SymbolRow] = &[
    (
        &["ip_error"],
        routing(
            "The route to {dst} says unreachable, prohibit or blackhole (or IP is off on the device)",
            "ip route get {dst} from {src} iif {in}; ip route show table all type blackhole",
        ),
    ),
    (
        &["dst_discard_out", "dst_discard"],
        routing(
            "A blackhole route to {dst}, or the route's device has just gone",
            "ip route get {dst}; ip route show table all type blackhole",
        ),
    ),
    (
        &[
            "ip_rcv_finish_core",
            "ip_rcv_finish",
            "ip_rcv",
            "ip_list_rcv",
            "ip_sublist_rcv",
        ],
        // A group that nobody here is a member of is refused in the same way, without a reason.
        row(
            Layer::Routing,
            "Routing refused the packet: a martian address (loopback, multicast or zero as source), or IP options",
            "ip route get {dst} from {src} iif {in}; nstat -az IpInAddrErrors IpExtInNoRoutes",
            Loss::UnlessToMany,
        ),
    ),
    (
        &["ip_rcv_core"],
        routing(
            "The IPv4 packet is damaged, or there was no memory to hold it",
            "nstat -az IpInDiscards",
        ),
    ),
    (
        &["ip6_rcv_core", "ipv6_rcv"],
        routing(
            "The IPv6 packet is damaged, or IPv6 is off on the device",
            "nstat -az Ip6InDiscards",
        ),
    ),
    (
        &["ip_forward"],
        routing(
            "It may not be forwarded: a frame that was not for this host, strict source routing, or no memory",
            "nstat -az IpInDiscards; ip -s link show {in}",
        ),
    ),
    (
        &["ip6_forward"],
        routing(
            "It may not be forwarded: a frame that was not for this host, an IPsec policy, or no memory",
            "nstat -az Ip6InDiscards",
        ),
    ),
    (
        &[
            "ip6_pkt_drop",
            "ip6_pkt_discard",
            "ip6_pkt_discard_out",
            "ip6_pkt_prohibit",
            "ip6_pkt_prohibit_out",
        ],
        routing(
            "No route to {dst}, or a route of type unreachable or prohibit",
            "ip -6 route get {dst}; ip -6 route show table all type unreachable",
        ),
    ),
    (
        &[
            "ip_fragment",
            "ip_finish_output",
            "__ip_finish_output",
            "ip6_fragment",
        ],
        TOO_BIG,
    ),
    (
        &["br_nf_dev_queue_xmit", "br_ip6_fragment", "nf_br_ip_fragment"],
        TOO_BIG,
    ),
    (
        &["ip_do_fragment"],
        routing("Fragmenting the packet failed", "nstat -az IpFragFails"),
    ),
    (
        &["ip_finish_output_gso", "ip_finish_output2"],
        routing("Preparing the packet for {out} failed", "nstat -az IpOutDiscards"),
    ),
    (
        &["ip_mc_output", "ip6_finish_output2", "dev_loopback_xmit"],
        row(
            Layer::Routing,
            "A multicast packet that may not leave this host, or a copy for the host itself",
            "",
            Loss::UnlessToMany,
        ),
    ),
    (
        &["ip6_mc_input"],
        row(
            Layer::Routing,
            "A multicast packet that nobody here has joined",
            "ip maddr show dev {in}",
            Loss::No,
        ),
    ),
    (
        &["__ip_queue_xmit", "ip_queue_xmit", "inet6_csk_xmit", "ip6_xmit"],
        NO_ROUTE_OUT,
    ),
    (
        &["ip_expire", "inet_frag_rbtree_purge", "ip6frag_expire_frag_queue"],
        FRAG_TIMEOUT,
    ),
    (
        &[
            "ip_frag_queue",
            "ip_defrag",
            "ip_check_defrag",
            "ip6_frag_queue",
            "ipv6_frag_rcv",
            "nf_ct_frag6_queue",
        ],
        FRAG_BAD,
    ),
    (
        &[
            "ip6_parse_tlv",
            "ip6_tlvopt_unknown",
            "ipv6_parse_hopopts",
            "ipv6_destopt_rcv",
            "ipv6_rthdr_rcv",
            "ipv6_srh_rcv",
        ],
        EXTENSION,
    ),
    (
        &["ip_rt_bug"],
        routing(
            "A packet without a usable route reached the output path",
            "ip route get {dst}",
        ),
    ),
    (
        &[
            "xfrm_input",
            "xfrm_output",
            "xfrm_output_one",
            "validate_xmit_xfrm",
            "xdst_queue_output",
            "__xfrm6_output",
            "xfrm4_rcv_encap",
            "xfrm4_esp_rcv",
            "xfrm4_ah_rcv",
            "xfrm6_rcv_encap",
            "xfrm6_esp_rcv",
            "xfrmi_xmit",
            "vti_tunnel_xmit",
        ],
        XFRM,
    ),
    (
        &[
            "lwtunnel_output",
            "lwtunnel_xmit",
            "lwtunnel_input",
            "bpf_input",
            "bpf_output",
            "bpf_xmit",
            "bpf_lwt_xmit_reroute",
        ],
        routing(
            "The encapsulation that the route asks for (lwtunnel) refused the packet",
            "ip route get {dst}",
        ),
    ),
];
