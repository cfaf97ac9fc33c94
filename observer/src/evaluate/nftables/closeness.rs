//! How nearly a condition of nft's held: as for other rules, what looks like a slip of the pen first.

use std::net::IpAddr;

use super::near_miss::Failing;
use crate::evaluate::closeness::{FAR, is_alternative, is_slip, of_net, slip};
use crate::ruleset::xtables::save::Net;

/// What says little: another protocol, another mark.
const OTHER: u32 = 60;
/// Every firewall lets answers through, and its host talk to itself.
const NO_NEWS: u32 = 90;

impl Failing {
    /// How far the condition is from holding, on the scale of [`crate::evaluate::NearMiss::distance`].
    pub fn distance(&self) -> u32 {
        let words: Vec<&str> = self.needs.split(' ').collect();
        match words[..] {
            ["ip" | "ip6", "saddr" | "daddr", _] => self.nets().map_or(FAR, |(net, has)| of_net(&net, has)),
            ["iif" | "oif" | "iifname" | "oifname", name] => match name.trim_matches('"') {
                "lo" => NO_NEWS,
                name if is_slip(name, self.has.trim_matches('"')) => 15,
                _ => 35,
            },
            [_, "sport" | "dport", port] if is_slip(port, &self.has) || is_alternative(port, &self.has) => 22,
            [_, "sport" | "dport", _] => 40,
            ["ct", "state" | "status", ..] => NO_NEWS,
            _ => OTHER,
        }
    }

    /// What strikes the eye.
    pub fn remark(&self) -> Option<String> {
        let (net, has) = self.nets()?;
        let (needs, has) = slip(&net, has)?;
        Some(format!("one digit differs: {needs}, {has}"))
    }

    fn nets(&self) -> Option<(Net, IpAddr)> {
        let net = Net::parse(self.needs.rsplit(' ').next()?)?;
        Some((net, self.has.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::NearMiss;

    fn failing(needs: &str, has: &str) -> Failing {
        Failing {
            needs: needs.to_owned(),
            has: has.to_owned(),
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_nearer_than_what_is_meant_otherwise() {
        let near = [
            failing("ip daddr 10.244.0.0/16", "10.224.2.16"),
            failing("oifname \"cni0\"", "\"cni1\""),
            failing("tcp dport 8080", "8008"),
            failing("iifname \"docker0\"", "\"flannel.1\""),
        ];
        let distances = near.each_ref().map(Failing::distance);
        assert!(distances.is_sorted(), "{distances:?}");
        assert!(distances.iter().all(|distance| *distance <= NearMiss::TELLING));
        assert_eq!(
            near[0].remark().as_deref(),
            Some("one digit differs: 10.244, 10.224")
        );
    }

    #[test]
    fn what_everybody_lacks_is_far() {
        for (needs, has) in [
            ("ct state established,related", "new"),
            ("iifname \"lo\"", "\"eth0\""),
            ("ip saddr 192.0.2.7", "10.224.2.16"),
            ("ip6 saddr fe80::/10", "IPv4 tcp"),
            ("ip saddr != 10.0.0.0/8", "10.224.2.16"),
            ("meta l4proto udp", "tcp"),
            ("", ""),
        ] {
            assert!(failing(needs, has).distance() > NearMiss::TELLING, "{needs}");
        }
    }
}
