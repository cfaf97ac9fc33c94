//! Sockets: none there, one that is full. TCP's own judgement is in tcp.rs. Read in net/ipv4/{udp,raw,ping,icmp}.c,
//! net/ipv6/{udp,raw,icmp}.c, net/packet/af_packet.c and net/core/{sock,datagram,filter}.c, v6.1 and v6.12.

use super::{Loss, Meaning, ReasonRow, RefinedRow, SymbolRow, row};
use crate::report::record::Layer;

const fn socket(says: &'static str, check: &'static str) -> Meaning {
    row(Layer::Socket, says, check, Loss::Yes)
}

const fn no_loss(says: &'static str) -> Meaning {
    row(Layer::Socket, says, "", Loss::No)
}

const CLOSED_UDP: Meaning = row(
    Layer::Socket,
    "No UDP socket is bound to {dst}:{dport}; the sender gets an ICMP port unreachable",
    "ss -ulnp 'sport = :{dport}'",
    Loss::UnlessToMany,
);
const NO_PING: Meaning =
    no_loss("No ping socket waits for this ICMP message; raw sockets (an ordinary ping) had their own copy");
const NOBODY: Meaning = row(Layer::Socket, "No socket takes it", "ss -anp", Loss::UnlessToMany);
const RECEIVE_BUFFER: Meaning = socket(
    "The receive buffer of the socket on port {dport} is full: the program reads too slowly",
    "ss -anmp 'sport = :{dport}'; nstat -az UdpRcvbufErrors TcpExtTCPRcvQDrop",
);
const TAP: Meaning = no_loss(
    "A tap's copy (tcpdump, a DHCP client) that its socket did not want or had no room for; the packet itself went on",
);
const QUEUED: Meaning = no_loss("It had been delivered, and lay in the queue of a socket that was closed");
const FILTER: Meaning = socket(
    "A filter attached to the socket (BPF, or the cgroup's ingress program) refused it",
    "ss -anp -b; bpftool cgroup tree",
);
const RAW: Meaning = row(
    Layer::Socket,
    "A raw socket did not take its copy",
    "ss -wanp",
    Loss::No,
);
const ICMP_BAD: Meaning = row(
    Layer::Socket,
    "An ICMP message that is malformed, not allowed or about no connection of this host",
    "nstat -az IcmpInErrors Icmp6InErrors",
    Loss::UnlessToMany,
);

/// `NO_SOCKET` by protocol number.
pub(super) const NO_SOCKET: &[(u8, Meaning)] = &[
    (6, super::tcp::CLOSED),
    (17, CLOSED_UDP),
    (136, CLOSED_UDP),
    (1, NO_PING),
    (58, NO_PING),
];

pub(super) const REASONS: &[ReasonRow] = &[
    ("NO_SOCKET", NOBODY),
    ("SOCKET_CLOSE", QUEUED),
    ("SOCKET_FILTER", FILTER),
    ("SOCKET_RCVBUFF", RECEIVE_BUFFER),
    (
        "SOCKET_BACKLOG",
        socket(
            "The socket's backlog is full: its program holds it busy while packets come in",
            "nstat -az TcpExtTCPBacklogDrop; ss -anmp 'sport = :{dport}'",
        ),
    ),
    (
        "UNIX_DISCONNECT",
        no_loss("A message between programs whose unix socket was disconnected"),
    ),
    (
        "UNIX_SKIP_OOB",
        no_loss("An out-of-band byte of a unix socket that was read past"),
    ),
    (
        "PROTO_MEM",
        socket(
            "All the memory that this protocol may use for sockets is in use",
            "cat /proc/net/sockstat; sysctl net.ipv4.tcp_mem net.ipv4.udp_mem",
        ),
    ),
    (
        "PKT_TOO_SMALL",
        socket("It is shorter than its headers say", "tcpdump -ni {in} -v"),
    ),
    (
        "UDP_CSUM",
        socket(
            "The UDP checksum is wrong: damaged on the way, or by a device",
            "nstat -az UdpInCsumErrors; ethtool -k {in}",
        ),
    ),
    (
        "ICMP_CSUM",
        socket("The ICMP checksum is wrong", "nstat -az IcmpInCsumErrors"),
    ),
    (
        "IP_NOPROTO",
        socket(
            "Nothing here speaks this IP protocol; the sender gets an ICMP protocol unreachable",
            "cat /proc/net/protocols; ip -d link",
        ),
    ),
    (
        "INVALID_PROTO",
        row(
            Layer::Socket,
            "An ICMP request to a broadcast or multicast address that this host does not answer",
            "sysctl net.ipv4.icmp_echo_ignore_broadcasts",
            Loss::UnlessToMany,
        ),
    ),
    ("PACKET_SOCK_ERROR", TAP),
    ("QUEUE_PURGE", QUEUED),
];

pub(super) const REFINED: &[RefinedRow] = &[
    (
        "SOCKET_FILTER",
        &[
            "packet_rcv",
            "tpacket_rcv",
            "packet_rcv_spkt",
            "packet_rcv_fanout",
        ],
        TAP,
    ),
    (
        "SOCKET_RCVBUFF",
        &[
            "packet_rcv",
            "tpacket_rcv",
            "packet_rcv_spkt",
            "packet_rcv_fanout",
        ],
        TAP,
    ),
    (
        "SOCKET_RCVBUFF",
        &["raw_rcv_skb", "rawv6_rcv_skb", "raw_rcv", "rawv6_rcv"],
        RAW,
    ),
    (
        "SOCKET_FILTER",
        &["raw_rcv_skb", "rawv6_rcv_skb", "raw_rcv", "rawv6_rcv"],
        RAW,
    ),
];

pub(super) const SYMBOLS: &[SymbolRow] = &[
    (
        &[
            "packet_rcv",
            "tpacket_rcv",
            "packet_rcv_spkt",
            "packet_rcv_fanout",
        ],
        TAP,
    ),
    (
        &[
            "__udp_queue_rcv_skb",
            "udp_queue_rcv_one_skb",
            "udp_queue_rcv_skb",
            "__udp_enqueue_schedule_skb",
            "__udpv6_queue_rcv_skb",
            "udpv6_queue_rcv_one_skb",
            "udpv6_queue_rcv_skb",
        ],
        RECEIVE_BUFFER,
    ),
    (
        &["__udp4_lib_rcv", "__udp6_lib_rcv", "udp_rcv", "udpv6_rcv"],
        CLOSED_UDP,
    ),
    (
        &["__udp4_lib_mcast_deliver", "__udp6_lib_mcast_deliver"],
        no_loss("A copy for one of several receivers that could not be made or is not wanted"),
    ),
    (
        &[
            "icmp_rcv",
            "icmpv6_rcv",
            "icmpv6_param_prob_reason",
            "icmpv6_param_prob",
            "icmp_unreach",
            "icmp_redirect",
            "icmp_echo",
        ],
        ICMP_BAD,
    ),
    (
        &["ping_rcv", "ping_queue_rcv_skb", "__ping_queue_rcv_skb"],
        NO_PING,
    ),
    (
        &[
            "raw_rcv",
            "raw_rcv_skb",
            "raw_local_deliver",
            "rawv6_rcv",
            "rawv6_rcv_skb",
            "raw6_local_deliver",
        ],
        RAW,
    ),
    (
        &[
            "ip_protocol_deliver_rcu",
            "ip6_protocol_deliver_rcu",
            "ip_local_deliver_finish",
            "ip6_input_finish",
        ],
        socket(
            "Nothing here speaks this IP protocol, or an IPsec policy forbids it",
            "cat /proc/net/protocols; ip xfrm policy",
        ),
    ),
    (
        &[
            "sk_filter_trim_cap",
            "sock_queue_rcv_skb",
            "sock_queue_rcv_skb_reason",
            "__sock_queue_rcv_skb",
        ],
        FILTER,
    ),
    (
        &[
            "skb_queue_purge",
            "skb_queue_purge_reason",
            "__skb_queue_purge",
            "skb_rbtree_purge",
            "inet_sock_destruct",
            "sk_stream_kill_queues",
            "skb_errqueue_purge",
            "udp_destruct_common",
            "udp_destruct_sock",
            "inet6_destroy_sock",
            "packet_release",
            "tcp_write_queue_purge",
            "tcp_disconnect",
            "inet_csk_destroy_sock",
            "sock_rfree",
            "tun_queue_purge",
            "sk_psock_backlog",
            "tcp_clean_rtx_queue",
            "tcp_rtx_queue_purge",
        ],
        QUEUED,
    ),
    (
        &[
            "skb_kill_datagram",
            "__skb_free_datagram_locked",
            "udp_recvmsg",
            "udpv6_recvmsg",
            "__first_packet_length",
            "first_packet_length",
        ],
        socket(
            "A datagram with a wrong checksum was thrown away when its program read it",
            "nstat -az UdpInCsumErrors",
        ),
    ),
    (
        &[
            "igmp_rcv",
            "ip_mc_check_igmp",
            "ipv6_mc_check_mld",
            "br_multicast_rcv",
            "igmp6_event_query",
            "mld_process_v1",
        ],
        no_loss("A group-membership message (IGMP, MLD) that concerns nobody here"),
    ),
    (&["sctp_rcv", "dccp_v4_rcv", "dccp_v6_rcv"], NOBODY),
    (
        &[
            "ip_icmp_error",
            "ip_local_error",
            "ipv6_icmp_error",
            "ipv6_local_error",
            "ip_recv_error",
            "ipv6_recv_error",
            "sock_recv_errqueue",
            "__skb_tstamp_tx",
            "skb_complete_wifi_ack",
        ],
        no_loss("A note to a program about an error or a timestamp, not a packet"),
    ),
];
