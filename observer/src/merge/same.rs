//! Whether two lines can be of the same packet.

use std::net::{IpAddr, SocketAddr};

use crate::report::record::{
    Change, Event, Flow, Hook, Line, Packet, PacketFamily, PassVerdict, Passage, Proto, Tuple,
};

/// What NAT and routers leave alone about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kept {
    proto: Proto,
    ip_id: u16,
    len_bytes: u32,
    frag_offset: Option<u16>,
    tcp_flags: Option<u8>,
    icmp: (Option<u8>, Option<u8>),
}

/// An address and its port, where the protocol has ports.
type End = (IpAddr, Option<u16>);

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    src: End,
    dst: End,
}

/// What a line tells of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// What stays the same from node to node.
    pub(super) kept: Kept,
    /// As it came to the node; `None` if it was made there.
    enters: Option<Ends>,
    /// What its connection says that it was before NAT, where the way does not tell how it came.
    was: Option<Ends>,
    /// As it left the node; `None` if it stayed, or if that is not known.
    leaves: Option<Ends>,
    /// Time to live.
    pub(super) ttl: Option<u8>,
    /// Only hooks that a tunnel passed with it saw it, and it did not come out there: a router carries it, or the beginning of its
    /// way is not told.
    pub(super) is_carried: bool,
}

/// Of a line; `None` if it tells of no packet, or of one that nothing tells from others.
pub(super) fn sight(line: &Line) -> Option<Sight> {
    let (packet, flow, path) = match &line.event {
        Event::Drop(drop) => (&drop.packet, drop.flow.as_ref(), &drop.path),
        Event::Path(path) => (&path.packet, path.flow.as_ref(), &path.path),
        _ => return None,
    };
    // What was joined before is left as it is: which of its nodes saw what is not looked into again.
    if path.iter().any(|passage| passage.node.is_some()) {
        return None;
    }
    let kept = kept(packet)?;
    let told = Ends {
        src: (packet.src?, packet.sport),
        dst: (packet.dst?, packet.dport),
    };
    // What hooks saw of a tunnel's own headers says nothing of the packet in it.
    let own: Vec<&Passage> = path.iter().filter(|passage| passage.outer.is_none()).collect();
    let is_made_here = own.first().is_some_and(|passage| passage.hook == Hook::Output);
    let (enters, leaves) = match &line.event {
        // Told as it was when it died: what was done to it before is undone.
        Event::Drop(_) => (undone(told, &own), None),
        _ => (Some(told), if stays(&own) { None } else { done(told, &own) }),
    };
    Some(Sight {
        kept,
        enters: enters.filter(|_| !is_made_here),
        was: flow
            .filter(|_| own.is_empty())
            .and_then(|flow| before_nat(told, flow)),
        leaves,
        ttl: packet.ttl,
        is_carried: matches!(line.event, Event::Path(_))
            && own.is_empty()
            && path.last().is_some_and(|last| last.hook != Hook::Input),
    })
}

impl Sight {
    /// Whether this packet, once it has left its node, can be the one that comes to the other.
    pub(super) fn may_go_on_as(&self, other: &Self) -> bool {
        let was = other.was.is_some() && self.leaves == other.was;
        !self.is_carried
            && !other.is_carried
            && (self.may_be_before(other) || (was && self.is_kept_in(other)))
    }

    /// Whether this may be the beginning of a way, on one node, whose rest the other is.
    pub(super) fn may_be_before(&self, other: &Self) -> bool {
        self.leaves.is_some() && self.leaves == other.enters && self.is_kept_in(other)
    }

    fn is_kept_in(&self, other: &Self) -> bool {
        // Nobody on the way raises it.
        let is_younger = matches!((self.ttl, other.ttl), (Some(mine), Some(its)) if mine < its);
        self.kept == other.kept && !is_younger
    }
}

fn kept(packet: &Packet) -> Option<Kept> {
    Some(Kept {
        proto: packet.proto?,
        ip_id: packet
            .ip_id
            .filter(|id| *id != 0 && packet.family == PacketFamily::Ip)?,
        len_bytes: packet.len,
        frag_offset: packet.frag_offset,
        tcp_flags: packet.tcp_flags.map(|flags| flags.0),
        icmp: (packet.icmp_type, packet.icmp_code),
    })
}

/// Whether it was for the node itself.
fn stays(own: &[&Passage]) -> bool {
    own.last().is_some_and(|last| {
        last.hook == Hook::Input || matches!(last.verdict, Some(PassVerdict::Drop | PassVerdict::Queue))
    })
}

/// The packet as it is after its way; `None` if what was changed does not fit what was there.
fn done(mut ends: Ends, own: &[&Passage]) -> Option<Ends> {
    for change in own.iter().flat_map(|passage| &passage.changes) {
        match change {
            Change::Dnat { from, to } => replace(&mut ends.dst, from, to)?,
            Change::Snat { from, to } => replace(&mut ends.src, from, to)?,
            Change::Mark { .. } => {}
        }
    }
    Some(ends)
}

/// The packet as it was before its way; `None` as in [`done`].
fn undone(mut ends: Ends, own: &[&Passage]) -> Option<Ends> {
    for change in own.iter().rev().flat_map(|passage| passage.changes.iter().rev()) {
        match change {
            Change::Dnat { from, to } => replace(&mut ends.dst, to, from)?,
            Change::Snat { from, to } => replace(&mut ends.src, to, from)?,
            Change::Mark { .. } => {}
        }
    }
    Some(ends)
}

fn replace(end: &mut End, old: &str, new: &str) -> Option<()> {
    (*end == endpoint(old)?).then_some(())?;
    *end = endpoint(new)?;
    Some(())
}

/// `ADDRESS` or `ADDRESS:PORT`, as the trace has it.
fn endpoint(text: &str) -> Option<End> {
    let alone = || text.parse::<IpAddr>().ok().map(|addr| (addr, None));
    let with_port = || text.parse::<SocketAddr>().ok();
    alone().or_else(|| with_port().map(|both| (both.ip(), Some(both.port()))))
}

/// What the first of a connection's packets was before NAT, of a packet that goes its way.
fn before_nat(packet: Ends, flow: &Flow) -> Option<Ends> {
    let original = of_tuple(&flow.original);
    let reply = of_tuple(flow.reply.as_ref()?);
    let translated = Ends {
        src: reply.dst,
        dst: reply.src,
    };
    // Between the two it can be translated in part; what goes the other way is nothing of these.
    let fits = |end: End, one: End, other: End| end == one || end == other;
    (fits(packet.src, original.src, translated.src) && fits(packet.dst, original.dst, translated.dst))
        .then_some(original)
}

fn of_tuple(tuple: &Tuple) -> Ends {
    Ends {
        src: (tuple.src, tuple.sport),
        dst: (tuple.dst, tuple.dport),
    }
}
