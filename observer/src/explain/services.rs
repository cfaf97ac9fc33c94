//! Where kube-proxy's rules have a service, for who knows it by its name and has no API to ask.

use std::net::IpAddr;

use super::rules::Rules;
use crate::ruleset::text::SavedRule;
use crate::trace::{KUBE_PROXY_MAPS, KUBE_PROXY_TABLE, Services};

impl Rules {
    /// The addresses of a service, `namespace/name`, as kube-proxy's iptables and nftables modes write them, also of one without endpoints;
    /// the cluster's first.
    pub fn addresses_of_service(&self, name: &str) -> Vec<IpAddr> {
        let mut services = Services::default();
        // Of a service without endpoints it is in table filter that its packets are rejected.
        for table in self
            .saved
            .iter()
            .filter(|table| matches!(&*table.name, "nat" | "filter"))
        {
            for (index, chain) in table.chains.iter().enumerate() {
                if &*chain.name != "KUBE-SERVICES" {
                    continue;
                }
                let texts: Vec<String> = chain.rules.iter().map(|rule| table.text(index, rule)).collect();
                services.add(texts.iter().map(|text| SavedRule {
                    chain: &chain.name,
                    text,
                }));
            }
        }
        let own = self
            .nft
            .tables
            .iter()
            .filter(|table| table.name == KUBE_PROXY_TABLE);
        for map in own.flat_map(|table| KUBE_PROXY_MAPS.iter().filter_map(|map| table.set(map))) {
            services.add_map(map);
        }
        let mut addresses: Vec<IpAddr> = services.addresses_of(name).collect();
        addresses.sort_unstable_by_key(|address| (!services.is_cluster_ip(*address), *address));
        addresses.dedup();
        addresses
    }
}
