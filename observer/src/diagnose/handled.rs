//! Functions that free some packets as if they were lost, without a reason, after they have done all that the packet
//! asked for. Which packets these are, the packet itself tells.

use super::{Loss, Meaning, PacketFacts, row};
use crate::report::record::{Layer, Packet, Proto, TcpFlags};

/// Functions, packets, and what it means that these free those.
pub(super) type HandledRow = (&'static [&'static str], Which, Meaning);

/// The packets that a row is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// ICMPv6 messages of a type that the kernel itself acts on: net/ipv6/icmp.c, the cases of `icmpv6_rcv`.
    Icmpv6,
    /// TCP segments that end a connection and carry no data: a reset, or a FIN that pushes nothing.
    TcpEnd,
}

pub(super) const HANDLED: &[HandledRow] = &[
    (
        // Up to v6.1 every message ends in kfree_skb_reason(skb, NOT_SPECIFIED) but the replies that a ping socket
        // takes. Later kernels give a reason, or consume it, for all but group membership and the like.
        &["icmpv6_rcv"],
        Which::Icmpv6,
        row(
            Layer::Socket,
            "An ICMPv6 message that this host has received and acted on",
            "",
            Loss::No,
        ),
    ),
    (
        // do_time_wait: the segment that ends a connection meets what is left of its socket (net/ipv4/tcp_ipv4.c,
        // net/ipv6/tcp_ipv6.c, v6.1 … v6.12), is answered, and falls through to discard_it.
        &["tcp_v4_rcv", "tcp_v6_rcv"],
        Which::TcpEnd,
        row(
            Layer::Socket,
            "The end of a TCP connection that this host had closed already",
            "",
            Loss::No,
        ),
    ),
];

/// What it means that `symbol` freed this packet without a reason, if it had done its work.
pub(super) fn by_symbol(symbol: &str, facts: &PacketFacts<'_>) -> Option<Meaning> {
    let packet = facts.packet?;
    let fits = |row: &&HandledRow| row.0.contains(&symbol) && row.1.is(packet);
    HANDLED.iter().find(fits).map(|(_, _, meaning)| *meaning)
}

impl Which {
    fn is(self, packet: &Packet) -> bool {
        match self {
            Self::Icmpv6 => packet.proto == Some(Proto::ICMPV6) && packet.icmp_type.is_some_and(is_acted_on),
            Self::TcpEnd => packet.tcp_flags.is_some_and(is_end),
        }
    }

    /// In words, for the documentation.
    #[cfg(test)]
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Icmpv6 => "ICMPv6 types 1–4, 128–137, 139–147, 160, 161",
            Self::TcpEnd => "TCP with RST, or FIN without PSH",
        }
    }
}

fn is_end(flags: TcpFlags) -> bool {
    flags.has(TcpFlags::RST) || (flags.has(TcpFlags::FIN) && !flags.has(TcpFlags::PSH))
}

/// Errors; echo, group membership and neighbour discovery; node information, group reports and mobility; extended echo.
fn is_acted_on(icmp_type: u8) -> bool {
    matches!(icmp_type, 1..=4 | 128..=137 | 139..=147 | 160 | 161)
}
