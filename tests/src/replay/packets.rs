//! Random packets, as the evaluator and as the kernel get them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use observer::evaluate::{Conn, Course, Dev, Packet};
use observer::report::record::{CtState, Tuple};

use super::random::Random;
use crate::cluster::Family;
use crate::traffic::packet::{self, Transport};

/// This host's address.
pub(super) fn own(family: Family) -> IpAddr {
    match family {
        Family::Ip => Ipv4Addr::new(10, 9, 0, 1).into(),
        Family::Ip6 => Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Nobody routes to these: what is answered to them goes nowhere, and is counted by no rule.
fn foreign(family: Family, last: u8) -> IpAddr {
    match family {
        Family::Ip => Ipv4Addr::new(203, 0, 113, last).into(),
        Family::Ip6 => Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, last.into()).into(),
    }
}

/// Behind `out0`, or behind `out1`.
fn remote(family: Family, is_second: bool, last: u8) -> IpAddr {
    match (family, is_second) {
        (Family::Ip, false) => Ipv4Addr::new(198, 18, 0, last).into(),
        (Family::Ip, true) => Ipv4Addr::new(198, 19, 7, last).into(),
        (Family::Ip6, _) => {
            let first = if is_second { 0xfd19 } else { 0xfd18 };
            // As it is written: 77 is 0x77.
            let last = u16::from(last / 10 * 16 + last % 10);
            Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last).into()
        }
    }
}
/// `ACK`, `SYN`, … as the TCP header has them.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;

/// A packet to be asked about and to be sent.
pub(super) struct Asked {
    pub(super) packet: Packet,
    pub(super) course: Course,
    pub(super) bytes: Vec<u8>,
    /// The device that it comes in by; `None` from this host itself.
    pub(super) in_dev: Option<&'static str>,
    pub(super) dst: IpAddr,
}

impl Asked {
    /// No two of a run are of one connection: `serial` makes the source's port.
    pub(super) fn make(random: &mut Random, serial: u64, family: Family) -> Self {
        let is_own = random.one_in(3);
        let foreign = foreign(family, u8::try_from(random.below(12)).unwrap_or(0));
        let src = if is_own { own(family) } else { foreign };
        let dst = match random.below(6) {
            0 | 1 if !is_own => own(family),
            0..=3 => remote(family, false, *random.pick(&[1, 2, 77])),
            _ => remote(family, true, *random.pick(&[1, 5, 99])),
        };
        let port = u16::try_from(1024 + serial % 60_000).unwrap_or(1024);
        let sent = packet::Packet {
            src,
            dst,
            sport: port,
            dport: *random.pick(&[80, 443, 53, 8080]),
            ttl: *random.pick(&[64, 64, 9]),
            transport: match random.below(3) {
                0 => Transport::Tcp {
                    flags: *random.pick(&[SYN, SYN, ACK, RST]),
                },
                1 => Transport::Udp,
                _ => Transport::IcmpEcho { id: port },
            },
            payload_bytes: random.below(40),
            bad_checksum: false,
        };
        let in_dev = (!is_own).then(|| *random.pick(&["in0", "in1"]));
        Self {
            packet: known(&sent, in_dev),
            course: if is_own { Course::Output } else { Course::Arriving },
            bytes: sent.bytes(),
            in_dev,
            dst,
        }
    }
}

/// What is known of a packet.
fn known(sent: &packet::Packet, in_dev: Option<&str>) -> Packet {
    let (proto, ports, flags, icmp) = match sent.transport {
        Transport::Tcp { flags } => (6, Some((sent.sport, sent.dport)), Some(flags), None),
        Transport::Udp => (17, Some((sent.sport, sent.dport)), None, None),
        Transport::IcmpEcho { .. } if sent.src.is_ipv6() => (58, None, None, Some(128)),
        Transport::IcmpEcho { .. } => (1, None, None, Some(8)),
    };
    // A connection may be picked up in its middle (nf_conntrack_tcp_loose), but not at its end.
    let state = if flags == Some(RST) {
        CtState::Invalid
    } else {
        CtState::New
    };
    let conn = Conn {
        original: Some(Tuple {
            src: sent.src,
            sport: ports.map(|(sport, _)| sport),
            dst: sent.dst,
            dport: ports.map(|(_, dport)| dport),
            icmp_id: None,
        }),
        ..Conn::new()
    };
    let none = Conn {
        state: Some(state),
        ..Conn::default()
    };
    Packet {
        is_v6: sent.src.is_ipv6(),
        src: Some(sent.src),
        dst: Some(sent.dst),
        proto: Some(proto),
        sport: ports.map(|(sport, _)| sport),
        dport: ports.map(|(_, dport)| dport),
        tcp_flags: flags,
        icmp_type: icmp,
        icmp_code: icmp.map(|_| 0),
        is_fragment: Some(false),
        len_bytes: u32::try_from(sent.bytes().len()).ok(),
        // What is forwarded loses one hop on its way: which hook sees which is not told.
        ttl: in_dev.is_none().then_some(sent.ttl),
        mark: Some(0),
        in_dev: in_dev.map_or(Dev::Absent, Dev::named),
        out_dev: match in_dev {
            None => Dev::named(super::world::device_to(sent.dst)),
            Some(_) => Dev::Unknown,
        },
        conn: if state == CtState::New { conn } else { none },
        at: now(),
        ..Packet::default()
    }
}

/// Seconds since 1970; none near a full hour, where rules' answers change while packets are on their way.
fn now() -> Option<i64> {
    const NEAR: i64 = 30;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(since.as_secs()).ok()?;
    (NEAR..3600 - NEAR).contains(&(now % 3600)).then_some(now)
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.course, self.packet)
    }
}
