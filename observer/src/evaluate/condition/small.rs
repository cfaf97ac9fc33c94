//! Networks and ports in little memory: a ruleset of 50,000 rules asks for some 200,000 of them.

use std::net::{IpAddr, Ipv4Addr};

use super::{Ask, End};
use crate::ruleset::xtables::save::{Net, Span};

impl Ask {
    /// An address of a packet in a network.
    pub fn in_net(end: End, net: &Net) -> Self {
        match (net.addr(), net.mask()) {
            (IpAddr::V4(addr), IpAddr::V4(mask)) => Self::Net4(end, addr.to_bits(), mask.to_bits()),
            _ => Self::Net6(end, Box::new(*net)),
        }
    }

    /// Which address must be in which network, if that is what is asked.
    pub fn net(&self) -> Option<(End, Net)> {
        match self {
            Self::Net4(end, addr, mask) => Some((
                *end,
                Net::v4(Ipv4Addr::from_bits(*addr), Ipv4Addr::from_bits(*mask)),
            )),
            Self::Net6(end, net) => Some((*end, **net)),
            _ => None,
        }
    }
}

/// Any number of spans, behind one thin pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans(pub Box<[Span]>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::condition::Condition;
    use crate::evaluate::packet::Packet;
    use crate::evaluate::table::Rule;
    use crate::evaluate::truth::Truth;

    #[test]
    fn networks_are_given_back_as_they_were() {
        for text in [
            "10.0.0.0/8",
            "10.0.0.9/255.255.0.255",
            "0.0.0.0/0",
            "fd00::/64",
            "fd00::/32",
            "::1/128",
        ] {
            let net = Net::parse(text).expect("a network");
            let ask = Ask::in_net(End::Destination, &net);
            assert_eq!(ask.net(), Some((End::Destination, net)), "{text}");
            let condition = Condition { negated: false, ask };
            assert_eq!(condition.needs(), format!("dst {}", net.short()));
            for addr in ["10.0.77.9", "10.0.0.8", "11.0.0.0", "::1", "fd00::7", "::a00:9"] {
                let addr: IpAddr = addr.parse().expect("an address");
                let packet = Packet {
                    dst: Some(addr),
                    ..Packet::default()
                };
                let expected = Truth::of(Some(net.holds(addr)));
                assert_eq!(condition.holds(&packet), expected, "{text} {addr}");
            }
        }
    }

    #[test]
    fn a_rule_is_small() {
        assert!(size_of::<Condition>() <= 24, "{}", size_of::<Condition>());
        assert!(size_of::<Rule>() <= 32, "{}", size_of::<Rule>());
    }
}
