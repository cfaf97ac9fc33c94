//! Names of Kubernetes Services, from the comments that kube-proxy writes into the nat table, or in its nftables mode
//! from its chains and maps (`nftables.rs`).
//!
//! `KUBE-SERVICES` has a rule for each cluster IP, commented `namespace/name:port cluster IP`; each `KUBE-SEP-…` chain
//! a DNAT rule for one endpoint, commented `namespace/name:port` (pkg/proxy/iptables/proxier.go, Kubernetes 1.20 … 1.34).

mod nftables;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::report::record::{Flow, Packet};
use crate::ruleset::text::{SavedRule, words};

pub use nftables::{MAPS, TABLE};

/// Address, protocol, port.
type Key = (IpAddr, u8, u16);

/// Services by where they are reached.
#[derive(Debug, Default)]
pub struct Services {
    /// By cluster IP, external IP or load balancer's IP.
    by_address: HashMap<Key, String>,
    /// Those that are cluster IPs, as far as it is said.
    cluster_ips: HashSet<IpAddr>,
    /// By endpoint; `None` where two Services share one.
    by_endpoint: HashMap<Key, Option<String>>,
}

impl Services {
    /// Adds the rules of one nat table.
    pub fn add<'a>(&mut self, rules: impl IntoIterator<Item = SavedRule<'a>>) {
        for rule in rules {
            match rule.chain {
                "KUBE-SERVICES" => self.add_service(rule.text),
                chain if chain.starts_with("KUBE-SEP-") => self.add_endpoint(rule.text),
                _ => {}
            }
        }
    }

    /// Name of the Service that a connection is for: by the address that the client wrote to, else by the endpoint.
    pub fn of(&self, flow: &Flow, packet: &Packet) -> Option<&str> {
        let proto = packet.proto?.0;
        let original = (flow.original.dst, proto, flow.original.dport?);
        if let Some(name) = self.by_address.get(&original) {
            return Some(name);
        }
        let reply = flow
            .reply
            .as_ref()
            .and_then(|reply| Some((reply.src, proto, reply.sport?)));
        let endpoint = [Some(original), reply]
            .into_iter()
            .flatten()
            .find_map(|key| self.by_endpoint.get(&key));
        endpoint?.as_deref()
    }

    /// Where it is reached: its cluster, external and load balancer's addresses.
    pub fn addresses_of(&self, name: &str) -> impl Iterator<Item = IpAddr> {
        let its = self.by_address.iter().filter(move |(_, known)| *known == name);
        its.map(|((address, ..), _)| *address)
    }

    /// Whether an address is said to be a Service's cluster IP.
    pub fn is_cluster_ip(&self, address: IpAddr) -> bool {
        self.cluster_ips.contains(&address)
    }

    fn add_service(&mut self, text: &str) {
        let words = words(text);
        let comment = option(&words, "--comment");
        let name = comment.and_then(service_name);
        let address = option(&words, "-d").and_then(|dst| dst.split('/').next()?.parse().ok());
        let port = option(&words, "--dport").and_then(|port| port.parse().ok());
        if let (Some(name), Some(address), Some(proto), Some(port)) = (name, address, proto(&words), port) {
            self.by_address.insert((address, proto, port), name);
            if comment.is_some_and(|comment| comment.ends_with(" cluster IP")) {
                self.cluster_ips.insert(address);
            }
        }
    }

    fn add_endpoint(&mut self, text: &str) {
        let words = words(text);
        let name = option(&words, "--comment").and_then(service_name);
        let to = option(&words, "--to-destination").and_then(|to| to.parse::<std::net::SocketAddr>().ok());
        if let (Some(name), Some(to), Some(proto)) = (name, to, proto(&words)) {
            self.add_name_of_endpoint((to.ip(), proto, to.port()), name);
        }
    }

    fn add_name_of_endpoint(&mut self, endpoint: Key, name: String) {
        let known = self
            .by_endpoint
            .entry(endpoint)
            .or_insert_with(|| Some(name.clone()));
        if known.as_deref() != Some(name.as_str()) {
            *known = None;
        }
    }
}

/// `namespace/name` of `namespace/name:port cluster IP`.
fn service_name(comment: &str) -> Option<String> {
    let name = comment.split_ascii_whitespace().next()?;
    let name = name.split(':').next()?;
    (name.split('/').count() == 2 && !name.starts_with('/') && !name.ends_with('/')).then(|| name.to_owned())
}

fn option<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| word == name)?;
    words.get(at + 1).map(String::as_str)
}

fn proto(words: &[String]) -> Option<u8> {
    match option(words, "-p")? {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{Proto, Tuple};

    fn flow(dst: &str, dport: u16) -> Flow {
        Flow {
            id: String::new(),
            original: Tuple {
                src: "10.0.0.1".parse().expect("address"),
                sport: Some(1),
                dst: dst.parse().expect("address"),
                dport: Some(dport),
                icmp_id: None,
            },
            reply: None,
            nat: Vec::new(),
            ct_state: None,
            service: None,
            packets: 1,
        }
    }

    fn services() -> Services {
        let mut services = Services::default();
        let rule = |chain, text| SavedRule { chain, text };
        services.add([
            rule(
                "KUBE-SERVICES",
                "-A KUBE-SERVICES -d 10.108.94.160/32 -p tcp -m comment --comment \"nginx-test/nginx-service cluster IP\" -m tcp --dport 80 -j KUBE-SVC-X",
            ),
            rule(
                "KUBE-SEP-A",
                "-A KUBE-SEP-A -p tcp -m comment --comment \"nginx-test/nginx-service\" -m tcp -j DNAT --to-destination 10.224.2.16:80",
            ),
            rule(
                "KUBE-SEP-B",
                "-A KUBE-SEP-B -p tcp -m comment --comment \"a/one:http\" -m tcp -j DNAT --to-destination 10.224.2.17:80",
            ),
            rule(
                "KUBE-SEP-C",
                "-A KUBE-SEP-C -p tcp -m comment --comment \"a/two:http\" -m tcp -j DNAT --to-destination 10.224.2.17:80",
            ),
        ]);
        services
    }

    #[test]
    fn a_service_is_known_by_its_cluster_ip_and_by_its_endpoint() {
        let packet = Packet {
            proto: Some(Proto(6)),
            ..Packet::default()
        };
        let services = services();
        assert_eq!(
            services.of(&flow("10.108.94.160", 80), &packet),
            Some("nginx-test/nginx-service")
        );
        assert_eq!(
            services.of(&flow("10.224.2.16", 80), &packet),
            Some("nginx-test/nginx-service")
        );
        assert_eq!(services.of(&flow("10.224.2.16", 81), &packet), None);
    }

    #[test]
    fn a_service_is_found_by_its_name_also_without_endpoints() {
        let mut services = services();
        services.add([SavedRule {
            chain: "KUBE-SERVICES",
            text: "-A KUBE-SERVICES -d 10.96.7.7/32 -p tcp -m comment --comment \"a/none:http has no endpoints\" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable",
        }]);
        let found = |name: &str| services.addresses_of(name).collect::<Vec<_>>();
        let address = |text: &str| text.parse::<IpAddr>().expect("address");
        assert_eq!(found("nginx-test/nginx-service"), [address("10.108.94.160")]);
        assert_eq!(found("a/none"), [address("10.96.7.7")]);
        assert!(found("a/one").is_empty(), "only its endpoint is known");
        assert!(
            services.is_cluster_ip(address("10.108.94.160")) && !services.is_cluster_ip(address("10.96.7.7"))
        );
    }

    #[test]
    fn an_endpoint_of_two_services_names_neither() {
        let packet = Packet {
            proto: Some(Proto(6)),
            ..Packet::default()
        };
        assert_eq!(services().of(&flow("10.224.2.17", 80), &packet), None);
    }
}
