//! Whether two lines can be of the same packet.

use std::net::IpAddr;

use crate::report::record::{Event, Flow, Line, Packet, Proto, Tuple};

/// Who talks to whom: source, its port, destination, its port.
type Ends = (IpAddr, Option<u16>, IpAddr, Option<u16>);

/// What stays the same about a packet from node to node, and what is known of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// Protocol and IP identification; NAT leaves both alone.
    pub(super) key: (Proto, u16),
    /// TCP flags and type of ICMP: the same, too.
    kind: (Option<u8>, Option<u8>),
    /// Of its headers, and of its connection before and after NAT.
    ends: Vec<Ends>,
    /// Time to live.
    pub(super) ttl: Option<u8>,
}

/// Of a line; `None` if it tells of no packet, or of one that nothing tells from others.
pub(super) fn sight(line: &Line) -> Option<Sight> {
    let (packet, flow) = packet_of(line)?;
    let ip_id = packet.ip_id.filter(|id| *id != 0)?;
    let mut ends = vec![(packet.src?, packet.sport, packet.dst?, packet.dport)];
    if let Some(flow) = flow {
        let original = of_tuple(&flow.original);
        let answered = flow.reply.as_ref().map(|reply| reversed(of_tuple(reply)));
        // Whichever direction of the connection the packet is of, and however far it had been translated.
        let both = [Some(original), answered];
        for one in both.into_iter().flatten() {
            let is_that_way = is_forward(&ends[0], original, answered);
            ends.push(if is_that_way { one } else { reversed(one) });
        }
        ends.dedup();
    }
    Some(Sight {
        key: (packet.proto?, ip_id),
        kind: (packet.tcp_flags.map(|flags| flags.0), packet.icmp_type),
        ends,
        ttl: packet.ttl,
    })
}

impl Sight {
    pub(super) fn may_be(&self, other: &Self) -> bool {
        self.key == other.key
            && self.kind == other.kind
            && self.ends.iter().any(|ends| other.ends.contains(ends))
    }
}

/// The packet that a line tells of, and its connection.
pub(super) fn packet_of(line: &Line) -> Option<(&Packet, Option<&Flow>)> {
    match &line.event {
        Event::Drop(drop) => Some((&drop.packet, drop.flow.as_ref())),
        Event::Path(path) => Some((&path.packet, path.flow.as_ref())),
        _ => None,
    }
}

fn of_tuple(tuple: &Tuple) -> Ends {
    (tuple.src, tuple.sport, tuple.dst, tuple.dport)
}

fn reversed((src, sport, dst, dport): Ends) -> Ends {
    (dst, dport, src, sport)
}

/// Whether the packet goes the way of the connection's first packet: by either of its ends, before or after NAT.
fn is_forward(packet: &Ends, original: Ends, answered: Option<Ends>) -> bool {
    let shares =
        |ends: Ends| (packet.0, packet.1) == (ends.0, ends.1) || (packet.2, packet.3) == (ends.2, ends.3);
    shares(original) || answered.is_some_and(shares)
}
