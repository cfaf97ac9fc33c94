//! NAT of a connection's first packet: what it has afterwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::around::Surroundings;
use super::packet::{Dev, Kinds, Packet};
use crate::report::record::Hook;
use crate::ruleset::xtables::save::{NatKind, To};

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Its kind.
    pub kind: NatKind,
    /// What the packet gets.
    pub to: To,
    /// Whether a port is drawn by lot.
    pub is_random: bool,
}

impl Translation {
    /// Translates. It is taken to succeed: there is a free port.
    pub fn apply(&self, packet: &mut Packet, hook: Hook, around: &dyn Surroundings) {
        let of_destination = match self.kind {
            NatKind::Dnat | NatKind::Redirect => true,
            NatKind::Snat | NatKind::Masquerade => false,
            NatKind::Netmap => matches!(hook, Hook::Prerouting | Hook::Output),
        };
        if of_destination {
            self.destination(packet, hook, around);
        } else {
            self.source(packet, around);
        }
    }

    fn destination(&self, packet: &mut Packet, hook: Hook, around: &dyn Surroundings) {
        let (was, port_was) = (packet.dst, packet.dport);
        packet.dst = match (self.kind, hook) {
            (NatKind::Redirect, Hook::Output) => Some(loopback(packet.is_v6)),
            (NatKind::Redirect, _) => {
                named(&packet.in_dev).and_then(|device| around.address_of(device, packet.is_v6))
            }
            _ => self.address(was),
        };
        packet.dport = self.port(port_was);
        packet.dst_kinds = match packet.dst {
            _ if self.kind == NatKind::Redirect => Kinds::LOCAL,
            Some(addr) => around.kinds(addr),
            None => Kinds::ANY,
        };
        packet.conn.dnat = changed((was, packet.dst), (port_was, packet.dport));
    }

    fn source(&self, packet: &mut Packet, around: &dyn Surroundings) {
        let (was, port_was) = (packet.src, packet.sport);
        packet.src = match self.kind {
            NatKind::Masquerade => {
                named(&packet.out_dev).and_then(|device| around.address_of(device, packet.is_v6))
            }
            _ => self.address(was),
        };
        packet.sport = self.port(port_was);
        packet.src_kinds = packet.src.map_or(Kinds::ANY, |addr| around.kinds(addr));
        packet.conn.snat = changed((was, packet.src), (port_was, packet.sport));
    }

    /// Of a span it is any: the kernel chooses.
    fn address(&self, was: Option<IpAddr>) -> Option<IpAddr> {
        match &self.to {
            To::Span { addrs: None, .. } => was,
            To::Span {
                addrs: Some(range), ..
            } => (range.first == range.last).then_some(range.first),
            To::Net(net) => was.map(|addr| net.map(addr)),
            To::Unread => None,
        }
    }

    fn port(&self, was: Option<u16>) -> Option<u16> {
        match &self.to {
            _ if self.is_random => None,
            To::Span {
                ports: Some((first, last)),
                ..
            } => (first == last).then_some(*first),
            To::Span { ports: None, .. } | To::Net(_) => was,
            To::Unread => None,
        }
    }
}

/// Whether anything has changed: then the connection counts as translated.
pub(super) fn changed(
    addrs: (Option<IpAddr>, Option<IpAddr>),
    ports: (Option<u16>, Option<u16>),
) -> Option<bool> {
    match (addrs, ports) {
        ((Some(was), Some(is)), _) if was != is => Some(true),
        (_, (Some(was), Some(is))) if was != is => Some(true),
        ((Some(_), Some(_)), (Some(_), Some(_)) | (None, None)) => Some(false),
        _ => None,
    }
}

fn named(device: &Dev) -> Option<&str> {
    device.name().filter(|name| !name.is_empty())
}

pub(super) fn loopback(is_v6: bool) -> IpAddr {
    if is_v6 {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    }
}
