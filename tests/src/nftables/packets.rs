//! Random packets: their bytes, and what is known of them.

use std::net::IpAddr;

use observer::evaluate::Kinds;
use observer::evaluate::nftables::{Bits, Connection, CtState, Device, Direction, IpFamily, Packet, Tuple};

use super::generate::{PORTS, V4, V6};
use super::house::{INPUT, ROUTER};
use super::random::Random;
use crate::traffic;

/// `RST`
const RST: u8 = 4;

/// A packet that was made up.
pub struct Sent {
    /// Its source port, or the identifier of an echo request.
    pub number: u16,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Where from.
    pub src: IpAddr,
    /// Where to.
    pub dst: IpAddr,
    /// What is known of it when it has arrived at the router.
    pub packet: Packet,
}

/// A packet that is unlike all others: `number` becomes its source port, or what an echo request has instead.
pub fn packet(random: &mut Random, number: u16) -> Sent {
    let v6 = random.one_in(4);
    let address = |random: &mut Random, router: bool| -> IpAddr {
        let text = match (router, v6) {
            (true, false) => ROUTER[0],
            (true, true) => ROUTER[1],
            (false, false) => random.pick(&V4[1..]),
            (false, true) => random.pick(&V6[1..]),
        };
        text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
    };
    let source = if v6 { V6[0] } else { V4[0] };
    let src = match random.one_in(2) {
        true => source.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])),
        false => address(random, false),
    };
    let local = random.one_in(4);
    let mut dst = address(random, local);
    while dst == src {
        dst = address(random, local);
    }
    let transport = match random.below(6) {
        0 => traffic::Transport::IcmpEcho { id: number },
        1 | 2 => traffic::Transport::Udp,
        _ => traffic::Transport::Tcp {
            flags: *random.pick(&[2, 2, 2, 16, RST]),
        },
    };
    let made = traffic::Packet {
        src,
        dst,
        sport: number,
        dport: *random.pick(&PORTS),
        ttl: *random.pick(&[64, 64, 61]),
        transport,
        payload_bytes: random.below(3) * 20,
        bad_checksum: false,
    };
    let bytes = made.bytes();
    Sent {
        number,
        packet: known(&made, bytes.len()),
        bytes,
        src,
        dst,
    }
}

/// What the router's kernel sees of a packet that has just come in.
pub(super) fn known(made: &traffic::Packet, length: usize) -> Packet {
    let v4 = made.src.is_ipv4();
    let (protocol, ports, tcp_flags, icmp_type) = match made.transport {
        traffic::Transport::Udp => (17, Some((made.sport, made.dport)), None, None),
        traffic::Transport::Tcp { flags } => (6, Some((made.sport, made.dport)), Some(flags), None),
        traffic::Transport::IcmpEcho { .. } if v4 => (1, None, None, Some(8)),
        traffic::Transport::IcmpEcho { .. } => (58, None, None, Some(128)),
    };
    let (sport, dport) = ports.unzip();
    // A reset that belongs to nothing is invalid; anything else here begins a connection.
    let is_reset = tcp_flags.is_some_and(|flags| flags & RST != 0);
    let state = if is_reset { CtState::Invalid } else { CtState::New };
    let original = Tuple {
        source: Some(made.src),
        destination: Some(made.dst),
        sport,
        dport,
    };
    Packet {
        family: Some(if v4 { IpFamily::V4 } else { IpFamily::V6 }),
        protocol: Some(protocol),
        source: Some(made.src),
        destination: Some(made.dst),
        sport,
        dport,
        tcp_flags,
        icmp_type,
        icmp_code: icmp_type.map(|_| 0),
        length_bytes: u32::try_from(length).ok(),
        ttl: Some(made.ttl),
        dscp: Some(0),
        ecn: Some(0),
        later_fragment: Some(false),
        extension_headers: Some(false),
        vlan_tag: Some(false),
        input: Device::Named(INPUT.to_owned()),
        output: Device::None,
        mark: Bits::exact(0),
        packet_type: Some(0),
        source_kinds: Kinds::UNICAST,
        destination_kinds: match ROUTER.contains(&made.dst.to_string().as_str()) {
            true => Kinds::LOCAL,
            false => Kinds::UNICAST,
        },
        connection: Connection {
            state: Some(state),
            status: Bits::exact(0),
            mark: Bits::exact(0),
            direction: Some(Direction::Original),
            reply: Tuple {
                source: original.destination,
                destination: original.source,
                sport: dport,
                dport: sport,
            },
            original,
        },
    }
}
