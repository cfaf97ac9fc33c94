//! Random packets through the router, each unlike all others of its time.

use std::net::IpAddr;

use serde_json::Value;

use super::random::Random;
use crate::cluster::{Backend, Family};
use crate::kernel::trace::ident::Ident;
use crate::traffic::{Packet, Transport};

/// Where a packet is sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// What comes in by `in0`.
    Client,
    /// What comes in by `in1`.
    Client1,
    /// The router itself.
    Router,
}

impl From {
    /// The node's name in the cluster.
    pub(super) fn node(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Client1 => "client1",
            Self::Router => "router",
        }
    }
}

/// A packet that is to be sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) from: From,
    pub(super) packet: Packet,
    /// What tells it from others: its source port, or the identifier of an echo request; of IPv4 also the IP header's.
    pub(super) number: u16,
}

/// Numbers begin here again after [`NUMBERS`].
const FIRST_NUMBER: u16 = 1024;
/// As many numbers as are told apart.
const NUMBERS: u64 = 60_000;
/// A port that packets and rules ask for: what is answered from there has it as its source port, as a packet with this number has.
const ASKED_FOR: u16 = 8080;
/// As many lengths as echo requests of IPv6 have: nothing else in a report of one tells it from others.
const LENGTHS: u16 = 1200;

impl Sent {
    /// The packet with this serial number in a run.
    pub(super) fn make(random: &mut Random, serial: u64, backend: Backend, family: Family) -> Self {
        let number = match FIRST_NUMBER + (serial % NUMBERS) as u16 {
            ASKED_FOR => FIRST_NUMBER + NUMBERS as u16,
            number => number,
        };
        let v6 = family == Family::Ip6;
        let from = match random.below(6) {
            0 | 1 => From::Router,
            2 => From::Client1,
            _ => From::Client,
        };
        let (src, dst) = addresses(random, from, backend, v6);
        let transport = match random.below(6) {
            0 => Transport::IcmpEcho { id: number },
            1 | 2 => Transport::Udp,
            _ => Transport::Tcp {
                flags: *random.pick(&[SYN, SYN, SYN, ACK, RST]),
            },
        };
        let payload_bytes = match transport {
            Transport::IcmpEcho { .. } if v6 => 8 + usize::from(number % LENGTHS),
            _ => random.below(40),
        };
        Self {
            from,
            packet: Packet {
                src,
                dst,
                sport: number,
                dport: *random.pick(&[80, 443, 53, 8080, 22, 1000]),
                ttl: *random.pick(&[64, 64, 9]),
                transport,
                payload_bytes,
                bad_checksum: false,
            },
            number,
        }
    }

    /// What is sent: of IPv4 with the number in the header, where the kernel would put one of its own.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.packet.bytes();
        if self.packet.src.is_ipv4() {
            bytes[4..6].copy_from_slice(&self.number.to_be_bytes());
        }
        bytes
    }

    fn protocol(&self) -> (u8, &'static str) {
        match (self.packet.transport, self.packet.src.is_ipv4()) {
            (Transport::Udp, _) => (17, "udp"),
            (Transport::Tcp { .. }, _) => (6, "tcp"),
            (Transport::IcmpEcho { .. }, true) => (1, "icmp"),
            (Transport::IcmpEcho { .. }, false) => (58, "icmpv6"),
        }
    }

    /// Whether headers in the kernel's trace are this packet's, translated or not: not those of an answer to it.
    pub(super) fn is_of(&self, ident: &Ident) -> bool {
        let is_number = match self.packet.src.is_ipv4() {
            true => ident.ip_id == self.number,
            false => ident.sport == Some(self.number),
        };
        // An ICMP error of the router's may have the same number: the kernel counts them up.
        let is_kind = self.echo_type().is_none() || ident.icmp_type == self.echo_type();
        is_number && is_kind && ident.proto == self.protocol().0 && ident.dst != self.packet.src
    }

    /// The type of its ICMP message, if it is one.
    fn echo_type(&self) -> Option<u8> {
        matches!(self.packet.transport, Transport::IcmpEcho { .. }).then_some(if self.packet.src.is_ipv4() {
            8
        } else {
            128
        })
    }

    /// Whether a line of observer's is about this packet.
    pub(super) fn is_told(&self, line: &Value) -> bool {
        let packet = &line["packet"];
        let is_proto = packet["proto"] == self.protocol().1;
        let is_answer = packet["dst"].as_str().and_then(|dst| dst.parse().ok()) == Some(self.packet.src);
        let is_kind = self.echo_type().is_none_or(|kind| packet["icmp_type"] == kind);
        if !is_proto || is_answer || !is_kind {
            return false;
        }
        let number = u64::from(self.number);
        match (self.packet.src.is_ipv4(), self.packet.transport) {
            (true, _) => packet["ip_id"].as_u64() == Some(number),
            (false, Transport::IcmpEcho { .. }) => {
                packet["len"].as_u64() == Some(self.packet.bytes().len() as u64)
            }
            (false, _) => {
                let original = &line["flow"]["original"]["sport"];
                original.as_u64().or(packet["sport"].as_u64()) == Some(number)
            }
        }
    }
}

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Pools that the rulesets of a backend ask for.
fn addresses(random: &mut Random, from: From, backend: Backend, v6: bool) -> (IpAddr, IpAddr) {
    let own = if v6 { "fd09::1" } else { "10.9.0.1" };
    let native = backend == Backend::Native;
    // Nobody routes to the first ones, so that nothing is answered: what a rule without a trace counted is this packet.
    let foreign = match (native, v6) {
        (false, false) => format!("203.0.113.{}", random.below(12)),
        (false, true) => format!("2001:db8:113::{:x}", random.below(12)),
        (true, false) => {
            (*random.pick(&["10.9.0.2", "10.9.0.2", "10.1.0.1", "10.1.0.2", "192.0.2.7"])).to_owned()
        }
        (true, true) => {
            (*random.pick(&["fd09::2", "fd09::2", "fd01::1", "fd01::2", "2001:db8::7"])).to_owned()
        }
    };
    let remote = match (native, v6) {
        (false, false) => *random.pick(&[
            "198.18.0.1",
            "198.18.0.2",
            "198.18.0.77",
            "198.19.7.1",
            "198.19.7.5",
            "198.19.7.99",
        ]),
        (false, true) => *random.pick(&["fd18::1", "fd18::2", "fd18::77", "fd19::1", "fd19::5", "fd19::99"]),
        (true, false) => *random.pick(&["10.1.0.1", "10.1.0.2", "10.1.1.1", "10.2.0.1", "192.0.2.7"]),
        (true, true) => *random.pick(&["fd01::1", "fd01::2", "fd01:0:0:1::1", "2001:db8::7"]),
    };
    let is_local = from != From::Router && random.one_in(4);
    let src = if from == From::Router { own } else { &foreign };
    let dst = if is_local || src == remote { own } else { remote };
    let address = |text: &str| text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    (address(src), address(dst))
}
