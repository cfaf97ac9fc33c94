//! What statements change: fields of the packet, marks, addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::compare::any_number;
use super::load::Scene;
use super::matcher::number;
use super::packet::{Bits, Connection, IpFamily, Packet};
use super::value::{Data, Loaded, Truth};
use crate::evaluate::packet::Kinds;
use crate::ruleset::nftables::listing::{Datatype, Expression, Nat, NatKind, Payload};

/// `IPS_SRC_NAT`, `IPS_DST_NAT`
const SNAT: u32 = 1 << 4;
const DNAT: u32 = 1 << 5;

impl Scene<'_> {
    /// The packet after `key set value`. None if the packet has no such value: the rule then ends.
    pub(super) fn mangled(self, key: &Expression, value: &Expression) -> Option<Packet> {
        let loaded = match number(value, datatype(key)) {
            Some(number) => Loaded::number(number),
            None => self.load(value),
        };
        (loaded != Loaded::Missing).then(|| self.with(key, &loaded))
    }

    /// The packet after `key set …`, if that sets this.
    pub(super) fn with(self, key: &Expression, loaded: &Loaded) -> Packet {
        let mut packet = self.packet.clone();
        let bits = bits(loaded);
        match key {
            Expression::Meta(key) if key == "mark" => packet.mark = bits,
            Expression::Meta(key) if key == "pkttype" => packet.packet_type = exact(loaded),
            Expression::Ct { key, .. } if key == "mark" => {
                set_ct_mark(&mut packet.connection, bits, self.has_connection());
            }
            Expression::Payload(Payload::Field { protocol, field }) => {
                self.set_field(&mut packet, protocol, field, loaded);
            }
            Expression::Payload(Payload::Raw { base, .. }) => forget_header(&mut packet, base),
            // Nothing that conditions are evaluated on.
            _ => {}
        }
        packet
    }

    fn set_field(self, packet: &mut Packet, protocol: &str, field: &str, value: &Loaded) {
        match (protocol, field) {
            ("ip" | "ip6", "saddr") => {
                packet.source = address(value, packet.ip_family());
                packet.source_kinds = Kinds::ANY;
            }
            ("ip" | "ip6", "daddr") => {
                packet.destination = address(value, packet.ip_family());
                packet.destination_kinds = Kinds::ANY;
            }
            ("ip", "ttl") | ("ip6", "hoplimit") => packet.ttl = exact(value),
            ("ip" | "ip6", "dscp") => packet.dscp = exact(value),
            ("ip" | "ip6", "ecn") => packet.ecn = exact(value),
            ("ip", "protocol") => packet.protocol = exact(value),
            ("ip", "length") | ("ip6", "length") => packet.length_bytes = None,
            ("ip", "frag-off") => packet.later_fragment = None,
            ("ip6", "nexthdr") => packet.extension_headers = None,
            ("tcp", "flags") => packet.tcp_flags = exact(value),
            ("icmp" | "icmpv6", "type") => packet.icmp_type = exact(value),
            ("icmp" | "icmpv6", "code") => packet.icmp_code = exact(value),
            (_, "sport") => packet.sport = exact(value),
            (_, "dport") => packet.dport = exact(value),
            _ => {}
        }
    }

    /// Whether a value that is set or translated to is there: without it the rule ends.
    pub(super) fn is_there(self, value: &Expression) -> Truth {
        match value {
            Expression::Map { key, data } => {
                let found = self.find(key, data);
                if found.missing {
                    Truth::No
                } else {
                    found.is_there()
                }
            }
            Expression::Number(_) | Expression::Word(_) | Expression::List(_) | Expression::Exists(_) => {
                Truth::Yes
            }
            Expression::Range(_) | Expression::Prefix { .. } => Truth::Yes,
            Expression::Concatenation(parts) => parts
                .iter()
                .map(|part| self.is_there(part))
                .fold(Truth::Yes, Truth::and),
            other if number(other, datatype(other)).is_some() => Truth::Yes,
            other => match self.load(other) {
                Loaded::Is(_) => Truth::Yes,
                Loaded::Missing => Truth::No,
                Loaded::Unknown => Truth::Unknown,
            },
        }
    }

    /// The packet after a translation of a new connection.
    pub(super) fn translated(self, nat: &Nat) -> Packet {
        let before = self.packet;
        let mut packet = before.clone();
        let (to_address, to_port) = match nat.kind {
            NatKind::Snat | NatKind::Dnat => self.target(nat),
            // To an address of the device, or of this host.
            NatKind::Masquerade | NatKind::Redirect => (To::Unknown, self.port(nat)),
        };
        let is_source = matches!(nat.kind, NatKind::Snat | NatKind::Masquerade);
        if is_source {
            packet.source = to_address.of(before.source);
            // Another connection may have the port already.
            packet.sport = match to_port {
                To::Same => None,
                other => other.of(before.sport),
            };
            if packet.source != before.source {
                packet.source_kinds = Kinds::ANY;
            }
        } else {
            packet.destination = to_address.of(before.destination);
            packet.dport = to_port.of(before.dport);
            if packet.destination != before.destination {
                packet.destination_kinds = Kinds::ANY;
            }
        }
        note_translation(&mut packet, before, is_source);
        packet
    }

    /// The new address and the new port.
    fn target(self, nat: &Nat) -> (To<IpAddr>, To<u16>) {
        let Some(to) = &nat.address else {
            return (To::Same, self.port(nat));
        };
        // Networks are mapped onto each other, ranges are chosen from, maps may have ports in them.
        if !nat.type_flags.is_empty() || nat.flags.iter().any(|flag| flag == "netmap") {
            return (To::Unknown, To::Unknown);
        }
        match to {
            Expression::Map { key, data } => {
                let (address, port) = self.mapped_target(key, data);
                let port = if port == To::Same { self.port(nat) } else { port };
                (address, port)
            }
            one => {
                let loaded = any_number(one).map_or_else(|| self.load(one), Loaded::number);
                (To::known(self.address(&loaded)), self.port(nat))
            }
        }
    }

    /// What a map has for this packet, if it surely has one element: an address, and maybe a port.
    fn mapped_target(self, key: &Expression, data: &Expression) -> (To<IpAddr>, To<u16>) {
        let found = self.find(key, data);
        let Some(value) = found.sure.and_then(|element| element.data.as_ref()) else {
            return (To::Unknown, To::Unknown);
        };
        let parts = match value {
            Expression::Concatenation(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        let part = |index: usize| parts.get(index).map(|part| Loaded::known(any_number(part)));
        let address = part(0).and_then(|loaded| self.address(&loaded));
        let port = match part(1) {
            None => To::Same,
            Some(loaded) => To::known(exact(&loaded)),
        };
        (To::known(address), port)
    }

    fn address(self, loaded: &Loaded) -> Option<IpAddr> {
        address(loaded, self.packet.ip_family())
    }

    fn port(self, nat: &Nat) -> To<u16> {
        let is_random = nat.flags.iter().any(|flag| flag.contains("random"));
        match &nat.port {
            None if is_random => To::Unknown,
            None => To::Same,
            Some(Expression::Number(port)) if !is_random => To::known((*port).try_into().ok()),
            Some(_) => To::Unknown,
        }
    }
}

/// What a translation makes of an address or a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To<T> {
    /// It stays.
    Same,
    /// It becomes this.
    This(T),
    /// It becomes something that is not known.
    Unknown,
}

impl<T> To<T> {
    fn known(value: Option<T>) -> Self {
        value.map_or(Self::Unknown, Self::This)
    }

    fn of(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Same => before,
            Self::This(value) => Some(value),
            Self::Unknown => None,
        }
    }
}

/// What conntrack notes of a translation: that there was one, and where answers come from now.
fn note_translation(packet: &mut Packet, before: &Packet, is_source: bool) {
    let surely = |to: bool, from: bool, differ: bool| to && from && differ;
    let (bit, moved, same) = if is_source {
        let moved = surely(
            packet.source.is_some(),
            before.source.is_some(),
            packet.source != before.source,
        );
        (
            SNAT,
            moved,
            packet.source == before.source && packet.sport == before.sport,
        )
    } else {
        let moved = surely(
            packet.destination.is_some(),
            before.destination.is_some(),
            packet.destination != before.destination,
        ) || surely(
            packet.dport.is_some(),
            before.dport.is_some(),
            packet.dport != before.dport,
        );
        let same = packet.destination == before.destination && packet.dport == before.dport;
        (DNAT, moved, same)
    };
    let connection = &mut packet.connection;
    if moved {
        connection.status = connection.status.with(bit);
    } else if !same {
        connection.status = connection.status.without(bit);
    }
    // The answer comes from where the packet goes now, to where it seems to come from.
    let reply = &mut connection.reply;
    if is_source {
        (reply.destination, reply.dport) = (packet.source, packet.sport);
    } else {
        (reply.source, reply.sport) = (packet.destination, packet.dport);
    }
}

/// A connection's mark is set only if there is a connection.
fn set_ct_mark(connection: &mut Connection, mark: Bits, there: Truth) {
    match there {
        Truth::No => {}
        Truth::Yes => connection.mark = mark,
        Truth::Unknown => connection.mark = connection.mark.merged(mark),
    }
}

/// What targets of xtables may change, of which only the name is listed; those that translate leave the base chain.
pub(super) fn forget_by_extension(packet: &mut Packet) {
    packet.mark = Bits::UNKNOWN;
    packet.connection.mark = Bits::UNKNOWN;
    packet.connection.state = None;
    packet.ttl = None;
    packet.dscp = None;
    packet.ecn = None;
    packet.length_bytes = None;
}

fn forget_header(packet: &mut Packet, base: &str) {
    match base {
        "nh" => {
            (packet.source, packet.source_kinds) = (None, Kinds::ANY);
            (packet.destination, packet.destination_kinds) = (None, Kinds::ANY);
            packet.protocol = None;
            packet.ttl = None;
            packet.dscp = None;
            packet.ecn = None;
            packet.length_bytes = None;
            packet.later_fragment = None;
            packet.extension_headers = None;
        }
        "th" => {
            packet.sport = None;
            packet.dport = None;
            packet.tcp_flags = None;
            packet.icmp_type = None;
            packet.icmp_code = None;
        }
        _ => {}
    }
}

fn datatype(key: &Expression) -> Datatype {
    Datatype::of(key).first().copied().unwrap_or(Datatype::Other)
}

fn bits(loaded: &Loaded) -> Bits {
    match loaded {
        Loaded::Is(Data::Number(number)) => Bits::partly(number.value as u32, !(number.unknown as u32)),
        _ => Bits::UNKNOWN,
    }
}

fn exact<T: TryFrom<u128>>(loaded: &Loaded) -> Option<T> {
    match loaded {
        Loaded::Is(Data::Number(number)) if number.is_exact() => T::try_from(number.value).ok(),
        _ => None,
    }
}

fn address(loaded: &Loaded, family: Option<IpFamily>) -> Option<IpAddr> {
    let number: u128 = exact(loaded)?;
    match family? {
        IpFamily::V4 => Some(Ipv4Addr::from_bits(number.try_into().ok()?).into()),
        IpFamily::V6 => Some(Ipv6Addr::from_bits(number).into()),
    }
}
