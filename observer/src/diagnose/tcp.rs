//! TCP's own judgement of a segment. Read in net/ipv4/{tcp_input,tcp_ipv4}.c and net/ipv6/tcp_ipv6.c, v6.1 and v6.12.

use super::{Loss, Meaning, ReasonRow, RefinedRow, SymbolRow, row};
use crate::report::record::Layer;

const fn socket(says: &'static str, check: &'static str) -> Meaning {
    row(Layer::Socket, says, check, Loss::Yes)
}

const fn no_loss(says: &'static str) -> Meaning {
    row(Layer::Socket, says, "", Loss::No)
}

/// `NO_SOCKET` for TCP.
pub(super) const CLOSED: Meaning = socket(
    "No TCP socket takes it: nothing listens on {dst}:{dport}, or the connection it belongs to is gone; the sender gets a reset",
    "ss -tlnp 'sport = :{dport}'; ss -tnp 'sport = :{dport}'",
);
/// Its sender wants no answer and gets none.
pub(super) const STRAY_RESET: Meaning = no_loss("A reset (RST) for a connection that is gone already");
const LISTEN_OVERFLOW: Meaning = socket(
    "The accept queue of the listener on port {dport} is full: the program accepts connections too slowly",
    "ss -tln 'sport = :{dport}'; nstat -az TcpExtListenOverflows; sysctl net.core.somaxconn",
);
const SEQUENCE: Meaning = socket(
    "The sequence numbers do not fit the connection: an old or repeated segment, or one that is not of this connection",
    "ss -tni 'sport = :{dport}'; nstat -az",
);
const PAWS: Meaning = socket(
    "The TCP timestamp is older than one already seen (PAWS): a late segment, or several hosts behind one NAT address",
    "nstat -az TcpExtPAWSEstab TcpExtPAWSActive; sysctl net.ipv4.tcp_timestamps",
);
const WINDOW: Meaning = socket(
    "More data than the receiver had room for",
    "ss -tnim 'sport = :{dport}'",
);
const AUTH: Meaning = socket(
    "TCP authentication (MD5 or AO) is missing, unexpected or wrong: the two sides disagree about the key",
    "nstat -az TcpExtTCPMD5Failure TcpExtTCPAOBad; dmesg | tail",
);
const TCP_CHECKSUM: Meaning = socket(
    "The TCP checksum is wrong: damaged on the way, or by a device",
    "nstat -az TcpInCsumErrors; ethtool -k {in}",
);
const DUPLICATE: Meaning = no_loss("A TCP segment whose data had arrived already");
const OLD_ACK: Meaning = no_loss("An acknowledgement older than the last one");
// What comes to a connection in TIME-WAIT is freed at the same place of tcp_v4_rcv(), `discard_it`, and as a rule without a reason.
const TCP_UNCLEAR: Meaning = socket(
    "TCP refused it: a full accept queue, a bad SYN cookie, or a segment that does not fit the connection, such as data after it was closed; \
     or it is one of the last of a connection that this side closed first (TIME-WAIT), which is no loss",
    "nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtSyncookiesFailed; ss -tan 'sport = :{dport}'",
);

pub(super) const REASONS: &[ReasonRow] = &[
    ("TCP_CSUM", TCP_CHECKSUM),
    ("TCP_AUTH_HDR", AUTH),
    ("TCP_MD5NOTFOUND", AUTH),
    ("TCP_MD5UNEXPECTED", AUTH),
    ("TCP_MD5FAILURE", AUTH),
    ("TCP_AONOTFOUND", AUTH),
    ("TCP_AOUNEXPECTED", AUTH),
    ("TCP_AOKEYNOTFOUND", AUTH),
    ("TCP_AOFAILURE", AUTH),
    (
        "TCP_FLAGS",
        socket(
            "Its TCP flags make no sense in the state the connection is in",
            "ss -tn state all 'sport = :{dport}'",
        ),
    ),
    (
        "TCP_ABORT_ON_DATA",
        socket(
            "Data came after the program had closed the connection; the sender gets a reset",
            "nstat -az TcpExtTCPAbortOnData",
        ),
    ),
    (
        "TCP_ZEROWINDOW",
        socket(
            "The receiver had announced a zero window: its program reads too slowly",
            "ss -tnim 'sport = :{dport}'",
        ),
    ),
    ("TCP_OLD_DATA", DUPLICATE),
    ("TCP_OVERWINDOW", WINDOW),
    ("TCP_OFOMERGE", DUPLICATE),
    ("TCP_OFO_DROP", DUPLICATE),
    ("TCP_OLD_SEQUENCE", DUPLICATE),
    ("TCP_RFC7323_PAWS", PAWS),
    ("TCP_RFC7323_PAWS_ACK", OLD_ACK),
    (
        "TCP_RFC7323_TW_PAWS",
        socket(
            "A SYN with an old timestamp met a connection in TIME-WAIT",
            "nstat -az TcpExtPAWSTimewait; ss -tan state time-wait",
        ),
    ),
    (
        "TCP_RFC7323_TSECR",
        socket(
            "The echoed TCP timestamp is none this host has sent",
            "nstat -az TcpExtTSEcrRejected",
        ),
    ),
    ("TCP_LISTEN_OVERFLOW", LISTEN_OVERFLOW),
    ("TCP_INVALID_SEQUENCE", SEQUENCE),
    ("TCP_INVALID_END_SEQUENCE", SEQUENCE),
    ("TCP_INVALID_ACK_SEQUENCE", SEQUENCE),
    (
        "TCP_RESET",
        socket(
            "A reset (RST) that does not fit the connection it was sent to, and was refused",
            "nstat -az TcpEstabResets TcpExtTCPChallengeACK",
        ),
    ),
    (
        "TCP_INVALID_SYN",
        socket(
            "A SYN inside a connection that exists",
            "nstat -az TcpExtTCPSYNChallenge; ss -tn 'sport = :{dport}'",
        ),
    ),
    (
        "TCP_CLOSE",
        socket("The TCP socket is closed", "ss -tan 'sport = :{dport}'"),
    ),
    (
        "TCP_FASTOPEN",
        socket(
            "A segment that does not fit a TCP Fast Open request",
            "sysctl net.ipv4.tcp_fastopen",
        ),
    ),
    ("TCP_OLD_ACK", OLD_ACK),
    ("TCP_TOO_OLD_ACK", OLD_ACK),
    (
        "TCP_ACK_UNSENT_DATA",
        socket(
            "It acknowledges data that this host never sent: not of this connection",
            "nstat -az TcpExtTCPChallengeACK",
        ),
    ),
    (
        "TCP_OFO_QUEUE_PRUNE",
        socket(
            "Data that came out of order was thrown away to free memory",
            "nstat -az TcpExtOfoPruned; ss -tnim 'sport = :{dport}'",
        ),
    ),
    (
        "TCP_MINTTL",
        socket(
            "Its TTL is below what the socket demands (IP_MINTTL, as BGP sets it)",
            "nstat -az TcpExtTCPMinTTLDrop",
        ),
    ),
];

pub(super) const REFINED: &[RefinedRow] = &[
    // A listener has no connection to reset.
    ("TCP_RESET", &["tcp_rcv_state_process"], STRAY_RESET),
    // tcp_v4_cookie_check() and the children of a handshake: the listener is there, what it should continue is not.
    (
        "NO_SOCKET",
        &["tcp_v4_do_rcv", "tcp_v6_do_rcv"],
        socket(
            "The listener on port {dport} has no handshake that this continues: late, forged, or a bad SYN cookie",
            "nstat -az TcpExtSyncookiesFailed TcpExtListenDrops",
        ),
    ),
];

pub(super) const SYMBOLS: &[SymbolRow] = &[
    // What it refuses has a reason. What it has used and need not queue, such as the ACK of a FIN, is freed without.
    (
        &["tcp_rcv_state_process"],
        no_loss("A TCP segment without data that was used to open or close the connection"),
    ),
    (
        &[
            "tcp_v4_rcv",
            "tcp_v6_rcv",
            "tcp_v4_do_rcv",
            "tcp_v6_do_rcv",
            "tcp_conn_request",
            "tcp_child_process",
            "tcp_check_req",
        ],
        TCP_UNCLEAR,
    ),
    (
        &[
            "tcp_validate_incoming",
            "tcp_rcv_established",
            "tcp_data_queue",
            "tcp_rcv_synsent_state_process",
            "tcp_ack",
            "tcp_drop_reason",
            "tcp_urg",
            "tcp_timewait_state_process",
        ],
        SEQUENCE,
    ),
    (
        &[
            "tcp_ofo_queue",
            "tcp_data_queue_ofo",
            "tcp_try_coalesce",
            "tcp_collapse_one",
            "tcp_queue_rcv",
        ],
        DUPLICATE,
    ),
    (
        &["tcp_prune_ofo_queue", "tcp_prune_queue"],
        socket(
            "Data that came out of order was thrown away to free memory",
            "nstat -az TcpExtOfoPruned",
        ),
    ),
    (
        &["tcp_add_backlog", "__sk_receive_skb", "sk_backlog_rcv"],
        socket(
            "The socket's backlog is full or its filter refused it",
            "nstat -az TcpExtTCPBacklogDrop",
        ),
    ),
];
