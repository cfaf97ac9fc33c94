//! kube-proxy's nftables mode: its chains and the elements of its maps carry the Service's name.
//!
//! Chains are called `service-HASH-namespace/name/protocol/port`, `external-…`, `local-…` and `firewall-…`, and
//! `endpoint-HASH-namespace/name/protocol/port__address/port`; the map `service-ips` leads from an address to the first
//! of these, and an element of `no-endpoint-services` has the Service in its comment
//! (pkg/proxy/nftables/proxier.go, Kubernetes 1.29 … 1.34).

use std::net::IpAddr;

use crate::ruleset::nftables::listing::{Element, Expression, Set, Verdict};

use super::{Key, Services, service_name};

/// kube-proxy's table, in families ip and ip6.
pub const TABLE: &str = "kube-proxy";
/// Its maps from an address, protocol and port to what happens to packets for it.
pub const MAPS: [&str; 3] = ["service-ips", "no-endpoint-services", "firewall-ips"];

impl Services {
    /// Adds the endpoints that kube-proxy's chains are named after.
    pub fn add_chains<'a>(&mut self, chains: impl IntoIterator<Item = &'a str>) {
        for (name, endpoint) in chains.into_iter().filter_map(endpoint) {
            self.add_name_of_endpoint(endpoint, name);
        }
    }

    /// Adds the addresses of one of kube-proxy's maps.
    pub fn add_map(&mut self, map: &Set) {
        for element in &map.elements {
            let Some((key, name)) = named(element) else {
                continue;
            };
            if chain(element).is_some_and(|chain| chain.starts_with("service-")) {
                self.cluster_ips.insert(key.0);
            }
            self.by_address.insert(key, name);
        }
    }
}

/// Service and place of a chain `endpoint-HASH-namespace/name/protocol/port__address/port`.
fn endpoint(chain: &str) -> Option<(String, Key)> {
    let (service, place) = chain.strip_prefix("endpoint-")?.split_once("__")?;
    let (address, port) = place.rsplit_once('/')?;
    let address = address.parse().ok().or_else(|| {
        // A chain's name cannot have a colon.
        let address: IpAddr = address.replace('.', ":").parse().ok()?;
        address.is_ipv6().then_some(address)
    })?;
    let (name, proto) = of_chain(service)?;
    Some((name, (address, proto, port.parse().ok()?)))
}

/// `namespace/name`, and the protocol, of `HASH-namespace/name/protocol/port`. A name that was too long is cut, and is
/// none.
fn of_chain(chain: &str) -> Option<(String, u8)> {
    let (_, path) = chain.split_once('-')?;
    let parts: Vec<&str> = path.split('/').collect();
    let [namespace, name, proto, _port] = parts[..] else {
        return None;
    };
    let is_name = !namespace.is_empty() && !name.is_empty();
    is_name.then_some((format!("{namespace}/{name}"), number(proto)?))
}

/// One element: `10.96.0.10 . tcp . 53 comment "…" : goto service-…`.
fn named(element: &Element) -> Option<(Key, String)> {
    let Expression::Concatenation(parts) = &element.key else {
        return None;
    };
    let [address, proto, port] = &parts[..] else {
        return None;
    };
    let name = chain(element)
        .and_then(|chain| of_chain(chain.split_once('-')?.1))
        .map(|(name, _)| name)
        .or_else(|| service_name(element.comment()?))?;
    let key = (
        word(address)?.parse().ok()?,
        number(&word(proto)?)?,
        word(port)?.parse().ok()?,
    );
    Some((key, name))
}

/// Where it leads.
fn chain(element: &Element) -> Option<&str> {
    match element.data.as_ref()? {
        Expression::Verdict(Verdict::Goto(chain)) => Some(chain),
        _ => None,
    }
}

/// A part of a key, as it is written.
fn word(part: &Expression) -> Option<String> {
    match part {
        Expression::Word(word) => Some(word.to_string()),
        Expression::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The name where it is known, else the number.
fn number(proto: &str) -> Option<u8> {
    Some(match proto {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        number => number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::nftables::listing::{Name, Own};

    /// An element of a map, as it is listed.
    fn listed(key: [&str; 2], port: u64, data: Verdict, comment: Option<&str>) -> Element {
        let words = key.into_iter().map(|word| Expression::Word(word.into()));
        let parts = words.chain([Expression::Number(port)]).collect();
        Element {
            data: Some(Expression::Verdict(data)),
            own: Own {
                comment: comment.map(Name::from),
                ..Own::default()
            }
            .of_element(),
            ..Element::of(Expression::Concatenation(parts))
        }
    }

    fn goto(chain: &str) -> Verdict {
        Verdict::Goto(chain.into())
    }

    fn map(elements: Vec<Element>) -> Set {
        Set {
            name: "service-ips".to_owned(),
            handle: None,
            key_types: Vec::new(),
            data_types: None,
            policy: None,
            flags: Vec::new(),
            size: None,
            timeout: None,
            gc_interval: None,
            auto_merge: false,
            comment: None,
            statements: Vec::new(),
            elements,
        }
    }

    fn key(address: &str, proto: u8, port: u16) -> Key {
        (address.parse().expect("address"), proto, port)
    }

    #[test]
    fn an_address_leads_to_the_service_whose_chain_it_goes_to() {
        let mut services = Services::default();
        services.add_map(&map(vec![
            listed(
                ["10.105.38.68", "sctp"],
                3868,
                goto("service-WTAG3TKZ-telecom/diameter/sctp/dia"),
                None,
            ),
            listed(
                ["10.96.0.10", "udp"],
                53,
                goto("service-FY5PMXPG-kube-system/kube-dns/udp/dns"),
                None,
            ),
            listed(
                ["203.0.113.54", "6"],
                5432,
                goto("external-PE3JXG7F-db/postgres/tcp/pg"),
                None,
            ),
        ]));
        let named = |address, proto, port| {
            services
                .by_address
                .get(&key(address, proto, port))
                .map(String::as_str)
        };
        assert_eq!(named("10.105.38.68", 132, 3868), Some("telecom/diameter"));
        assert_eq!(named("10.96.0.10", 17, 53), Some("kube-system/kube-dns"));
        assert_eq!(named("203.0.113.54", 6, 5432), Some("db/postgres"));
        assert_eq!(named("10.96.0.10", 6, 53), None);
        assert_eq!(services.by_address.len(), 3);
    }

    #[test]
    fn a_service_without_endpoints_is_named_in_the_comment() {
        let mut services = Services::default();
        services.add_map(&map(vec![
            listed(
                ["10.104.88.12", "tcp"],
                8080,
                goto("reject-chain"),
                Some("shop/orders:http"),
            ),
            listed(
                ["10.100.24.224", "udp"],
                24224,
                Verdict::Drop,
                Some("logging/fluentd:fwd"),
            ),
        ]));
        assert_eq!(services.by_address[&key("10.104.88.12", 6, 8080)], "shop/orders");
        assert_eq!(
            services.by_address[&key("10.100.24.224", 17, 24224)],
            "logging/fluentd"
        );
    }

    #[test]
    fn chains_are_named_after_their_endpoints() {
        let mut services = Services::default();
        services.add_chains([
            "endpoint-6B2ZJMOA-micro/svc-06/tcp/http__10.244.1.112/8080",
            "endpoint-2QRHZV4L-default/kubernetes/tcp/https__fd00.10.244..5/6443",
            "endpoint-AAAAAAAA-a/one/udp/__10.244.1.9/53",
            "endpoint-BBBBBBBB-a/two/udp/__10.244.1.9/53",
            "service-W7IBEEP5-micro/svc-06/tcp/http",
            "endpoint-CCCCCCCC-cut...",
        ]);
        let named = |address, proto, port| services.by_endpoint.get(&key(address, proto, port)).cloned();
        assert_eq!(
            named("10.244.1.112", 6, 8080),
            Some(Some("micro/svc-06".to_owned()))
        );
        assert_eq!(
            named("fd00:10:244::5", 6, 6443),
            Some(Some("default/kubernetes".to_owned()))
        );
        assert_eq!(named("10.244.1.9", 17, 53), Some(None), "two Services share it");
        assert_eq!(services.by_endpoint.len(), 3);
    }

    #[test]
    fn what_is_no_map_of_kube_proxy_adds_nothing() {
        let mut services = Services::default();
        services.add_map(&map(vec![
            Element::of(Expression::Word("1.2.3.4".into())),
            listed(["1.2.3.4", "tcp"], 1, Verdict::Drop, None),
            listed(["x", "tcp"], 1, goto("a-b-c/d/tcp/e"), None),
            listed(["1.2.3.4", "tcp"], 65_536, goto("a-b-c/d/tcp/e"), None),
        ]));
        assert!(services.by_address.is_empty());
    }
}
