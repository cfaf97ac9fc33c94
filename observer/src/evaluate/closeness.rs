//! How nearly a condition held: what looks like a slip of the pen first, what every firewall has last.

use std::net::IpAddr;
use std::slice;

use super::condition::{Ask, Condition, Side};
use super::packet::Packet;
use crate::report::record::CtState;
use crate::ruleset::xtables::save::{CtStates, Net, PortsOf, Span};

/// Whatever is so far away did not nearly hold.
pub(super) const FAR: u32 = 100;

/// How far a condition that does not hold is from holding; 0 would be nothing at all.
pub(super) fn distance(condition: &Condition, packet: &Packet) -> u32 {
    let can_be_near = !condition.negated && packet.is_fragment != Some(true);
    match &condition.ask {
        Ask::Net4(..) | Ask::Net6(..) | Ask::Range(..) if condition.negated => 30,
        ask @ (Ask::Net4(..) | Ask::Net6(..)) => {
            let asked = ask.net().and_then(|(end, net)| Some((net, end.address(packet)?)));
            asked.map_or(FAR, |(net, addr)| of_net(&net, addr))
        }
        Ask::Range(..) => 40,
        // Every firewall lets its host talk to itself.
        Ask::Dev(_, device) if &*device.name == "lo" => 85,
        Ask::Dev(side, device) if !condition.negated => {
            let name = side.of(packet).name().unwrap_or_default();
            match (side, is_slip(&device.name, name)) {
                (_, true) => 15,
                (Side::In, false) => 35,
                (Side::Out, false) => 36,
            }
        }
        Ask::Dev(..) => 38,
        Ask::Port(of, span) if can_be_near => of_ports(packet, *of, slice::from_ref(span)),
        Ask::Ports(of, spans) if can_be_near => of_ports(packet, *of, &spans.0),
        Ask::Set(_) => 36,
        Ask::Proto(_) => 45,
        Ask::Kind(..) | Ask::Icmp(..) => 50,
        Ask::Mark(..) | Ask::Connmark(..) => 70,
        // Every firewall lets answers through: that a first packet is none is no news.
        Ask::State(states) if packet.conn.state == Some(CtState::New) && !states.has(CtStates::NEW) => 90,
        Ask::Fragment => 90,
        _ => 60,
    }
}

pub(super) fn of_net(net: &Net, addr: IpAddr) -> u32 {
    if net.is_v6() != addr.is_ipv6() {
        return FAR;
    }
    let whole = if net.is_v6() { 128 } else { 32 };
    let prefix = net.prefix().map_or(whole, u32::from);
    if slip(net, addr).is_some() {
        // Hosts often differ by a digit and are meant to.
        return if prefix == whole { 25 } else { 10 };
    }
    let missing = prefix.saturating_sub(net.bits_shared(addr));
    match missing * 64 / whole {
        // Almost nothing in common with one host.
        56.. => FAR,
        apart => 20 + apart,
    }
}

fn of_ports(packet: &Packet, of: PortsOf, spans: &[Span]) -> u32 {
    let is_near = |port: Option<u16>| {
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        let mut single = spans.iter().filter(|span| span.first == span.last);
        single.any(|span| {
            let needs = span.first.to_string();
            is_slip(&needs, &port) || is_alternative(&needs, &port)
        })
    };
    let near = match of {
        PortsOf::Source => is_near(packet.sport),
        PortsOf::Destination => is_near(packet.dport),
        PortsOf::Either => is_near(packet.sport) || is_near(packet.dport),
    };
    if near { 22 } else { 40 }
}

/// Whether one port is the other with something before it, as programs choose theirs: 80 and 8080, 443 and 8443.
pub(super) fn is_alternative(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    short.len() >= 2 && short.len() < long.len() && long.ends_with(short)
}

/// The parts of a network and of an address that differ by one digit, if they do.
pub(super) fn slip(net: &Net, addr: IpAddr) -> Option<(String, String)> {
    let prefix = net.prefix()?;
    let (needs, has) = (covered(net.addr(), prefix), covered(net.masked(addr), prefix));
    is_slip(&needs, &has).then_some((needs, has))
}

/// The groups of an address that a prefix reaches into.
fn covered(addr: IpAddr, prefix: u8) -> String {
    match addr {
        IpAddr::V4(v4) => {
            let octets = v4.octets().map(|octet| octet.to_string());
            octets[..usize::from(prefix).div_ceil(8).min(4)].join(".")
        }
        IpAddr::V6(v6) => {
            let groups = v6.segments().map(|group| format!("{group:x}"));
            groups[..usize::from(prefix).div_ceil(16).min(8)].join(":")
        }
    }
}

/// One character replaced, left out or put in, or two neighbours exchanged.
pub(super) fn is_slip(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // Of very short words each is near each.
    if one.len().min(other.len()) < 2 || one == other {
        return false;
    }
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    match (one, other) {
        ([_, one @ ..], [_, other @ ..]) if one == other => true,
        ([_, rest @ ..], whole) | (whole, [_, rest @ ..]) if rest == whole => true,
        ([a, b, one @ ..], [c, d, other @ ..]) => (a, b) == (d, c) && one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_what_a_hand_does() {
        for (one, other) in [
            ("10.244", "10.224"),
            ("10.24", "10.244"),
            ("8080", "8008"),
            ("eth0", "eth1"),
            ("ab", "ba"),
        ] {
            assert!(is_slip(one, other) && is_slip(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("10.244", "10.244"),
            ("10.1", "11.2"),
            ("docker0", "cni0"),
            ("8", "9"),
            ("abc", "cba"),
        ] {
            assert!(!is_slip(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_port_and_the_one_that_programs_take_instead_are_near() {
        for (one, other) in [("80", "8080"), ("8443", "443"), ("53", "5353"), ("22", "2222")] {
            assert!(is_alternative(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("80", "80"),
            ("80", "8000"),
            ("8", "38"),
            ("", "80"),
            ("443", "8080"),
        ] {
            assert!(!is_alternative(one, other), "{one} {other}");
        }
    }

    #[test]
    fn networks_that_differ_by_a_digit_are_nearest() {
        let net = |text| Net::parse(text).expect("a network");
        let pod: IpAddr = "10.224.2.16".parse().expect("an address");
        assert_eq!(
            slip(&net("10.244.0.0/16"), pod),
            Some(("10.244".into(), "10.224".into()))
        );
        let mut nets = [
            "192.168.0.0/16",
            "10.0.0.0/16",
            "10.225.0.0/16",
            "10.224.2.17/32",
            "10.224.3.0/25",
        ];
        nets.sort_by_key(|text| of_net(&net(text), pod));
        assert_eq!(nets[0], "10.225.0.0/16");
        assert_eq!(nets[4], "192.168.0.0/16");
        let v6: IpAddr = "fd00:224::1".parse().expect("an address");
        assert_eq!(
            slip(&net("fd00:244::/32"), v6),
            Some(("fd00:244".into(), "fd00:224".into()))
        );
    }
}
