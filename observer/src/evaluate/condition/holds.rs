//! Whether a condition holds.

use std::net::IpAddr;
use std::slice;

use super::super::packet::{Dev, Kinds, Packet};
use super::super::truth::Truth;
use super::{Ask, AskConn, Condition, End, OfConn, Side};
use crate::report::record::{CtState, Tuple};
use crate::ruleset::xtables::save::{CtStates, PortsOf, Span};

impl Condition {
    /// Whether it holds for a packet.
    pub fn holds(&self, packet: &Packet) -> Truth {
        match &self.ask {
            // As `Net::holds`.
            Ask::Net4(end, network, mask) => self.of_address(
                packet,
                *end,
                |addr| matches!(addr, IpAddr::V4(addr) if addr.to_bits() & mask == *network),
            ),
            Ask::Net6(end, net) => self.of_address(packet, *end, |addr| net.holds(addr)),
            Ask::Range(end, range) => self.of_address(packet, *end, |addr| range.holds(addr)),
            Ask::Kind(end, kinds) => self.known(kind(packet, *end, *kinds)),
            Ask::Dev(side, device) => {
                // An empty pattern compares nothing.
                let any = device.is_prefix && device.name.is_empty();
                let name = side.of(packet).name();
                self.known(any.then_some(true).or(name.map(|name| device.fits(name))))
            }
            Ask::Proto(number) => self.known(packet.proto.map(|proto| proto == *number)),
            Ask::Fragment => self.known(packet.is_fragment),
            Ask::Port(of, span) => self.of_transport(packet, ports(packet, *of, slice::from_ref(span))),
            Ask::Ports(of, spans) => self.of_transport(packet, ports(packet, *of, &spans.0)),
            Ask::TcpFlags(mask, set) => {
                let flags = packet.tcp_flags.map(|flags| flags & mask == *set);
                self.of_transport(packet, Truth::of(flags))
            }
            Ask::Icmp(kind, code) => self.of_transport(packet, icmp(packet, *kind, *code)),
            Ask::AnyIcmp => self.of_transport(packet, Truth::Yes),
            Ask::Length(span) => self.known(packet.len_bytes.map(|len| span.contains(&len))),
            Ask::Ttl(span) => self.known(packet.ttl.map(|ttl| span.contains(&ttl))),
            Ask::Mark(value, mask) => self.known(packet.mark.map(|mark| mark & mask == *value)),
            Ask::Connmark(value, mask) => match packet.conn.exists() {
                Some(false) => Truth::No,
                Some(true) => self.known(packet.conn.mark.map(|mark| mark & mask == *value)),
                None => Truth::Unknown,
            },
            Ask::State(states) => state(packet, *states).turned(self.negated),
            Ask::Conn(of_conn) => self.of_conn(packet, of_conn),
            Ask::Set(set) => set.holds(packet).turned(self.negated),
            Ask::Time(ask) => self.known(packet.at.map(|at| ask.holds(at))),
            Ask::Open(_) => Truth::Unknown,
        }
    }

    /// Whether the negated one holds where this does not: neither of them does, or both, where what they ask of is not there.
    pub fn has_opposite(&self, packet: &Packet) -> bool {
        match &self.ask {
            Ask::Port(..) | Ask::Ports(..) | Ask::TcpFlags(..) | Ask::Icmp(..) | Ask::AnyIcmp => {
                packet.is_fragment == Some(false)
            }
            Ask::Connmark(..) | Ask::Conn(_) => packet.conn.exists() == Some(true),
            _ => true,
        }
    }

    fn known(&self, known: Option<bool>) -> Truth {
        Truth::of(known).turned(self.negated)
    }

    fn of_address(&self, packet: &Packet, end: End, holds: impl FnOnce(IpAddr) -> bool) -> Truth {
        self.known(end.address(packet).map(holds))
    }

    /// What lies behind the network header is not there in a fragment: then no match on it holds.
    fn of_transport(&self, packet: &Packet, truth: Truth) -> Truth {
        let has_header = Truth::of(packet.is_fragment).turned(true);
        has_header.and(truth.turned(self.negated))
    }

    fn of_conn(&self, packet: &Packet, of_conn: &OfConn) -> Truth {
        let conn = &packet.conn;
        match conn.exists() {
            None => return Truth::Unknown,
            Some(false) if of_conn.beside_state => return Truth::Yes,
            Some(false) => return Truth::No,
            Some(true) => {}
        }
        let tuple = |is_reply: bool| if is_reply { &conn.reply } else { &conn.original };
        let known = match &of_conn.ask {
            AskConn::Proto(number) => packet.proto.map(|proto| proto == *number),
            AskConn::Net(is_reply, end, net) => {
                let tuple = tuple(*is_reply).as_ref();
                tuple.map(|tuple| net.holds(end.of_tuple(tuple)))
            }
            AskConn::Port(is_reply, end, span) => {
                let tuple = tuple(*is_reply).as_ref();
                tuple
                    .and_then(|tuple| end.port_of_tuple(tuple))
                    .map(|port| span.holds(port))
            }
            AskConn::IsReply(is_reply) => conn.is_reply.map(|known| known == *is_reply),
            AskConn::Open(_) => None,
        };
        self.known(known)
    }
}

impl End {
    /// That address of a packet.
    pub fn address(self, packet: &Packet) -> Option<IpAddr> {
        match self {
            Self::Source => packet.src,
            Self::Destination => packet.dst,
        }
    }

    fn of_tuple(self, tuple: &Tuple) -> IpAddr {
        match self {
            Self::Source => tuple.src,
            Self::Destination => tuple.dst,
        }
    }

    fn port_of_tuple(self, tuple: &Tuple) -> Option<u16> {
        match self {
            Self::Source => tuple.sport,
            Self::Destination => tuple.dport,
        }
    }
}

impl Side {
    /// That device of a packet.
    pub fn of(self, packet: &Packet) -> &Dev {
        match self {
            Self::In => &packet.in_dev,
            Self::Out => &packet.out_dev,
        }
    }
}

/// IPv6 has another idea of types: this host's own addresses are UNICAST, too, and what is unreachable is told by a route
/// (`match_type6`, net/netfilter/xt_addrtype.c). Only LOCAL alone means the same.
fn kind(packet: &Packet, end: End, kinds: Kinds) -> Option<bool> {
    if packet.is_v6 && kinds != Kinds::LOCAL {
        return None;
    }
    let possible = match end {
        End::Source => packet.src_kinds,
        End::Destination => packet.dst_kinds,
    };
    if possible.without(kinds).is_empty() {
        Some(true)
    } else if possible.within(kinds).is_empty() {
        Some(false)
    } else {
        None
    }
}

fn ports(packet: &Packet, of: PortsOf, spans: &[Span]) -> Truth {
    let within = |port: Option<u16>| Truth::of(port.map(|port| spans.iter().any(|span| span.holds(port))));
    match of {
        PortsOf::Source => within(packet.sport),
        PortsOf::Destination => within(packet.dport),
        PortsOf::Either => within(packet.sport).or(within(packet.dport)),
    }
}

fn icmp(packet: &Packet, kind: u8, code: Option<u8>) -> Truth {
    let same_kind = Truth::of(packet.icmp_type.map(|found| found == kind));
    let same_code = match code {
        None => Truth::Yes,
        Some(code) => Truth::of(packet.icmp_code.map(|found| found == code)),
    };
    same_kind.and(same_code)
}

/// A connection that is translated has SNAT or DNAT beside its state.
fn state(packet: &Packet, states: CtStates) -> Truth {
    let conn = &packet.conn;
    let Some(state) = conn.state else {
        return Truth::Unknown;
    };
    let own = match state {
        CtState::New => CtStates::NEW,
        CtState::Established => CtStates::ESTABLISHED,
        CtState::Related => CtStates::RELATED,
        CtState::Invalid => CtStates::INVALID,
        CtState::Untracked => CtStates::UNTRACKED,
    };
    if conn.exists() == Some(false) {
        return Truth::of(Some(states.has(own)));
    }
    let translated = |asked: bool, known: Option<bool>| {
        if asked { Truth::of(known) } else { Truth::No }
    };
    Truth::of(Some(states.has(own)))
        .or(translated(states.has(CtStates::SNAT), conn.snat))
        .or(translated(states.has(CtStates::DNAT), conn.dnat))
}
