//! What statements change: fields of the packet, marks, addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::load::Scene;
use super::packet::{Bits, Connection, IpFamily, Packet};
use super::value::{Data, Loaded, Truth};
use crate::ruleset::nftables::listing::{Expression, Nat, NatKind, Payload};

/// `IPS_SRC_NAT`, `IPS_DST_NAT`
const SNAT: u32 = 1 << 4;
const DNAT: u32 = 1 << 5;

impl Scene<'_> {
    /// The packet after `key set value`. None if the packet has no such value: the rule then ends.
    pub(super) fn mangled(self, key: &Expression, value: &Expression) -> Option<Packet> {
        let mut packet = self.packet.clone();
        let loaded = match super::matcher::number(value, datatype(key)) {
            Some(number) => Loaded::number(number),
            None => self.load(value),
        };
        if loaded == Loaded::Missing {
            return None;
        }
        let bits = bits(&loaded);
        match key {
            Expression::Meta(key) if key == "mark" => packet.mark = bits,
            Expression::Meta(key) if key == "pkttype" => packet.packet_type = exact(&loaded),
            Expression::Ct { key, .. } if key == "mark" => {
                set_ct_mark(&mut packet.connection, bits, self.has_connection());
            }
            Expression::Payload(Payload::Field { protocol, field }) => {
                self.set_field(&mut packet, protocol, field, &loaded);
            }
            Expression::Payload(Payload::Raw { base, .. }) => forget_header(&mut packet, base),
            // Nothing that conditions are evaluated on.
            _ => {}
        }
        Some(packet)
    }

    fn set_field(self, packet: &mut Packet, protocol: &str, field: &str, value: &Loaded) {
        match (protocol, field) {
            ("ip" | "ip6", "saddr") => packet.source = address(value, packet.ip_family()),
            ("ip" | "ip6", "daddr") => packet.destination = address(value, packet.ip_family()),
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

    /// The packet after a translation of a new connection, and whether it was changed for sure.
    pub(super) fn translated(self, nat: &Nat) -> Packet {
        let mut packet = self.packet.clone();
        let is_source = matches!(nat.kind, NatKind::Snat | NatKind::Masquerade);
        let family = packet.ip_family();
        let (to_address, to_port) = match nat.kind {
            NatKind::Snat | NatKind::Dnat => self.target(nat, family),
            // To an address of the device, or of this host.
            NatKind::Masquerade | NatKind::Redirect => (Some(None), self.port(nat)),
        };
        let bit = if is_source { SNAT } else { DNAT };
        let before = packet.clone();
        let (address, port) = match is_source {
            true => (&mut packet.source, &mut packet.sport),
            false => (&mut packet.destination, &mut packet.dport),
        };
        if let Some(to) = to_address {
            *address = to;
        }
        match to_port {
            Some(to) => *port = to,
            // Another connection may have the source port already; a destination's stays.
            None if is_source => *port = None,
            None => {}
        }
        let changed = match is_source {
            true => (packet.source, packet.sport) != (before.source, before.sport),
            false => (packet.destination, packet.dport) != (before.destination, before.dport),
        };
        let is_known = match is_source {
            true => packet.source.is_some() && packet.source != before.source && before.source.is_some(),
            false => {
                let moved = packet.destination.is_some()
                    && before.destination.is_some()
                    && packet.destination != before.destination;
                moved || (packet.dport.is_some() && before.dport.is_some() && packet.dport != before.dport)
            }
        };
        let connection = &mut packet.connection;
        if is_known {
            connection.status = connection.status.with(bit);
        } else if changed {
            connection.status = connection.status.without(bit);
        }
        // The answer comes from where the packet goes now, to where it seems to come from.
        let reply = &mut connection.reply;
        if is_source {
            (reply.destination, reply.dport) = (packet.source, packet.sport);
        } else {
            (reply.source, reply.sport) = (packet.destination, packet.dport);
        }
        packet
    }

    /// The new address and the new port: none if it stays, none within if it is not known.
    #[allow(clippy::type_complexity)]
    fn target(self, nat: &Nat, family: Option<IpFamily>) -> (Option<Option<IpAddr>>, Option<Option<u16>>) {
        let Some(to) = &nat.address else {
            return (None, self.port(nat));
        };
        // Networks are mapped onto each other, ranges are chosen from, maps may have ports in them.
        if !nat.type_flags.is_empty() || nat.flags.iter().any(|flag| flag == "netmap") {
            return (Some(None), Some(None));
        }
        match to {
            Expression::Map { .. } => match self.mapped_target(to) {
                Some((address, port)) => (Some(address), port.or(self.port(nat))),
                None => (Some(None), Some(None)),
            },
            one => {
                let loaded = match super::compare::any_number(one) {
                    Some(number) => Loaded::number(number),
                    None => self.load(one),
                };
                (Some(address(&loaded, family)), self.port(nat))
            }
        }
    }

    /// The address that a map has for this packet, if it surely has one, and its port, if there is one.
    #[allow(clippy::type_complexity)]
    fn mapped_target(self, map: &Expression) -> Option<(Option<IpAddr>, Option<Option<u16>>)> {
        let Expression::Map { key, data } = map else {
            return None;
        };
        let found = self.find(key, data);
        let value = found.sure?.data.as_ref()?;
        let parts = match value {
            Expression::Concatenation(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        let part = |index: usize| {
            parts
                .get(index)
                .map(|part| Loaded::known(super::compare::any_number(part)))
        };
        let to = part(0).map(|loaded| address(&loaded, self.packet.ip_family()))?;
        Some((to, part(1).map(|loaded| exact(&loaded))))
    }

    fn port(self, nat: &Nat) -> Option<Option<u16>> {
        let is_random = nat.flags.iter().any(|flag| flag.contains("random"));
        match &nat.port {
            None if is_random => Some(None),
            None => None,
            Some(Expression::Number(port)) if !is_random => Some((*port).try_into().ok()),
            Some(_) => Some(None),
        }
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

fn forget_header(packet: &mut Packet, base: &str) {
    match base {
        "nh" => {
            packet.source = None;
            packet.destination = None;
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

fn datatype(key: &Expression) -> crate::ruleset::nftables::listing::Datatype {
    use crate::ruleset::nftables::listing::Datatype;
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
