//! Pods, services and nodes as the API writes them in JSON: the few fields that are used, checked. All else is skipped and not kept.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::names::ObjectName;
use crate::names::change::{Kind, MAX_ADDRESSES, MAX_CONTAINERS, Owner, Who};
use crate::names::name::{is_label, is_subdomain, is_uid};
use crate::report::record::NamesFrom;

/// A kind of object that can have addresses.
pub(super) trait Object: DeserializeOwned {
    /// Which.
    const KIND: Kind;
    /// Its name in a path.
    const PLURAL: &'static str;

    fn metadata(&self) -> &Metadata;

    /// Who it is, with the addresses of its own that it has now.
    fn owner(&self) -> Option<Owner>;

    /// What tells it from another of the same name.
    fn uid(&self) -> Option<Box<str>> {
        let uid = &*self.metadata().uid;
        is_uid(uid).then(|| uid.into())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    pub(super) resource_version: String,
}

#[derive(Deserialize)]
pub(super) struct Pod {
    metadata: Metadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    host_network: bool,
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Ip>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ip {
    ip: String,
}

#[derive(Deserialize)]
pub(super) struct Service {
    metadata: Metadata,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default)]
    status: ServiceStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ip>,
}

#[derive(Deserialize)]
pub(super) struct Node {
    metadata: Metadata,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: String,
}

impl Object for Pod {
    const KIND: Kind = Kind::Pod;
    const PLURAL: &'static str = "pods";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn owner(&self) -> Option<Owner> {
        // What has ended has its old address still written down.
        let has_ended = matches!(&*self.status.phase, "Succeeded" | "Failed");
        (!has_ended).then_some(())?;
        let name = ObjectName::new(&self.metadata.namespace, &self.metadata.name)?;
        let containers = self.spec.containers.iter().map(|container| &*container.name);
        let who = Who::Pod {
            name,
            node: is_subdomain(&self.spec.node_name).then(|| self.spec.node_name.as_str().into()),
            containers: containers
                .filter(|name| is_label(name))
                .take(MAX_CONTAINERS)
                .map(Box::from)
                .collect(),
        };
        let more = self.status.pod_ips.iter().map(|address| &*address.ip);
        let all = std::iter::once(&*self.status.pod_ip).chain(more);
        // With the node's own network it has the node's addresses.
        owner(self, who, all.filter(|_| !self.spec.host_network))
    }
}

impl Object for Service {
    const KIND: Kind = Kind::Service;
    const PLURAL: &'static str = "services";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn owner(&self) -> Option<Owner> {
        let who = Who::Service(ObjectName::new(&self.metadata.namespace, &self.metadata.name)?);
        let lists = self.spec.cluster_ips.iter().chain(&self.spec.external_ips);
        let balanced = self
            .status
            .load_balancer
            .ingress
            .iter()
            .map(|address| &address.ip);
        let all = std::iter::once(&self.spec.cluster_ip)
            .chain(lists)
            .chain(balanced);
        owner(self, who, all.map(String::as_str))
    }
}

impl Object for Node {
    const KIND: Kind = Kind::Node;
    const PLURAL: &'static str = "nodes";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn owner(&self) -> Option<Owner> {
        let name = &*self.metadata.name;
        let who = Who::Node(is_subdomain(name).then(|| name.into())?);
        let addresses = self.status.addresses.iter().map(|address| &*address.address);
        owner(self, who, addresses)
    }
}

/// `None` and names of hosts are no addresses.
fn owner<'a>(object: &impl Object, who: Who, texts: impl Iterator<Item = &'a str>) -> Option<Owner> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in texts.filter_map(|text| text.parse().ok()) {
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(Owner {
        from: NamesFrom::Api,
        uid: object.uid()?,
        who,
        addresses,
        netns: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<O: Object>(text: &str) -> Option<Owner> {
        serde_json::from_str::<O>(text).expect("reads").owner()
    }

    const POD: &str = r#"{"kind":"Pod","metadata":{"name":"nginx-0","namespace":"nginx-test","uid":"5f1c","resourceVersion":"7",
        "labels":{"a":"b"},"ownerReferences":[{"kind":"StatefulSet"}]},
        "spec":{"nodeName":"node02","containers":[{"name":"nginx","image":"nginx"},{"name":"Bad"}]},
        "status":{"phase":"Running","podIP":"10.224.2.16","podIPs":[{"ip":"10.224.2.16"},{"ip":"fd00::16"}]}}"#;

    #[test]
    fn a_pod_is_who_has_its_addresses() {
        let owner = of::<Pod>(POD).expect("an owner");
        assert_eq!(owner.addresses.len(), 2);
        let Who::Pod {
            name,
            node,
            containers,
        } = owner.who
        else {
            panic!("a pod")
        };
        assert_eq!(
            (name.as_str(), node.as_deref()),
            ("nginx-test/nginx-0", Some("node02"))
        );
        assert_eq!(containers, [Box::from("nginx")]);
    }

    #[test]
    fn a_pod_that_has_ended_or_whose_name_is_none_is_no_owner() {
        for (from, to) in [
            ("Running", "Succeeded"),
            ("Running", "Failed"),
            ("nginx-0", "nginx\\u001b[2J"),
            ("nginx-test", "../x"),
            ("5f1c", ""),
        ] {
            assert_eq!(of::<Pod>(&POD.replace(from, to)), None, "{to}");
        }
    }

    #[test]
    fn a_pod_on_the_nodes_network_and_one_that_has_no_address_yet_are_there_without() {
        let on_the_node = POD.replace("\"nodeName\"", "\"hostNetwork\":true,\"nodeName\"");
        let new = POD.replace("10.224.2.16", "").replace("fd00::16", "none");
        for text in [on_the_node, new] {
            assert_eq!(of::<Pod>(&text).expect("an owner").addresses, [] as [IpAddr; 0]);
        }
    }

    #[test]
    fn a_service_has_its_cluster_external_and_balanced_addresses() {
        let text = r#"{"metadata":{"name":"nginx-service","namespace":"nginx-test","uid":"a"},
            "spec":{"clusterIP":"10.108.94.160","clusterIPs":["10.108.94.160"],"externalIPs":["192.0.2.7"],"type":"LoadBalancer"},
            "status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.1"},{"hostname":"lb.example.com"}]}}}"#;
        assert_eq!(of::<Service>(text).expect("an owner").addresses.len(), 3);
        let headless = r#"{"metadata":{"name":"x","namespace":"y","uid":"a"},"spec":{"clusterIP":"None"},"status":{"loadBalancer":{}}}"#;
        assert!(of::<Service>(headless).expect("an owner").addresses.is_empty());
    }

    #[test]
    fn a_node_has_addresses_and_a_host_name_is_none() {
        let text = r#"{"metadata":{"name":"node02","uid":"a"},"status":{"addresses":[
            {"type":"InternalIP","address":"172.30.2.2"},{"type":"Hostname","address":"node02"}]}}"#;
        let owner = of::<Node>(text).expect("an owner");
        assert_eq!(owner.who, Who::Node("node02".into()));
        assert_eq!(owner.addresses.len(), 1);
    }
}
