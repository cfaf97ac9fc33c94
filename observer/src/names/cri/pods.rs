//! What the container runtime says of its pods, checked: whoever talks at its socket may say anything.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use nix::sys::statfs::{FsType, statfs};
use serde::Deserialize;

use super::proto::{Container, NODE, PodSandbox, PodSandboxStatusResponse};
use crate::names::ObjectName;
use crate::names::change::{MAX_ADDRESSES, MAX_CONTAINERS, Owner, Who};
use crate::names::name::{is_label, is_uid};
use crate::report::record::NamesFrom;

/// A longer description of a sandbox is not looked at.
const MAX_INFO_BYTES: usize = 1 << 20;
/// `NSFS_MAGIC`, include/uapi/linux/magic.h: a file that is a namespace.
const NSFS: FsType = FsType(0x6e73_6673);

/// Its name; `None` if that is none that Kubernetes allows.
pub(super) fn name(sandbox: &PodSandbox) -> Option<ObjectName> {
    let metadata = sandbox.metadata.as_ref()?;
    is_uid(&sandbox.id).then_some(())?;
    ObjectName::new(&metadata.namespace, &metadata.name)
}

/// The names of its containers, each once.
pub(super) fn containers(all: &[Container], sandbox: &str) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = all
        .iter()
        .filter(|container| container.pod_sandbox_id == sandbox)
        .filter_map(|container| container.metadata.as_ref())
        .map(|metadata| &*metadata.name)
        .filter(|name| is_label(name))
        .take(MAX_CONTAINERS)
        .map(Box::from)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The pod as an owner of addresses. With the node's own network it has none of its own.
pub(super) fn owner(
    uid: &str,
    name: ObjectName,
    node: Option<&str>,
    containers: Vec<Box<str>>,
    status: &PodSandboxStatusResponse,
) -> Owner {
    let is_on_host = mode(status) == Some(NODE);
    let addresses = if is_on_host { Vec::new() } else { addresses(status) };
    let netns = status.info.get("info").filter(|_| !is_on_host);
    Owner {
        from: NamesFrom::Cri,
        uid: uid.into(),
        who: Who::Pod {
            name,
            node: node.map(Box::from),
            containers,
        },
        addresses,
        netns: netns.and_then(|info| inode(&netns_path(info)?)),
    }
}

/// Whether everything is known of it that will be: a sandbox gets its address a little after it is made.
pub(super) fn is_complete(status: &PodSandboxStatusResponse, owner: &Owner) -> bool {
    mode(status) == Some(NODE) || !owner.addresses.is_empty()
}

fn mode(status: &PodSandboxStatusResponse) -> Option<i32> {
    let linux = status.status.as_ref()?.linux.as_ref()?;
    Some(linux.namespaces.as_ref()?.options.as_ref()?.network)
}

fn addresses(status: &PodSandboxStatusResponse) -> Vec<IpAddr> {
    let network = status.status.as_ref().and_then(|status| status.network.as_ref());
    let Some(network) = network else { return Vec::new() };
    let others = network.additional_ips.iter().map(|address| &address.ip);
    std::iter::once(&network.ip)
        .chain(others)
        .filter_map(|text| text.parse().ok())
        .take(MAX_ADDRESSES)
        .collect()
}

/// What containerd and CRI-O add to a status: the part of it that names the network namespace.
#[derive(Deserialize)]
struct Info {
    #[serde(rename = "runtimeSpec")]
    runtime_spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    linux: Linux,
}

#[derive(Deserialize)]
struct Linux {
    namespaces: Vec<NamespacePath>,
}

#[derive(Deserialize)]
struct NamespacePath {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

fn netns_path(info: &str) -> Option<String> {
    let info: Info = serde_json::from_str((info.len() <= MAX_INFO_BYTES).then_some(info)?).ok()?;
    let mut namespaces = info.runtime_spec.linux.namespaces.into_iter();
    namespaces
        .find(|namespace| namespace.kind == "network")
        .map(|network| network.path)
}

/// The inode of a network namespace that has a name: `/run/netns/cni-…`. No other file is looked at.
fn inode(path: &str) -> Option<u32> {
    let path = Path::new(path);
    let is_named = path.starts_with("/run/netns") || path.starts_with("/var/run/netns");
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    (is_named && !goes_up && statfs(path).ok()?.filesystem_type() == NSFS).then_some(())?;
    u32::try_from(std::fs::metadata(path).ok()?.ino()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::proto::{
        ContainerMetadata, LinuxPodSandboxStatus, Namespace, NamespaceOption, PodIp, PodSandboxMetadata,
        PodSandboxNetworkStatus, PodSandboxStatus,
    };
    use super::*;

    fn status(network: i32, ips: &[&str], info: &str) -> PodSandboxStatusResponse {
        let options = Some(NamespaceOption { network });
        let (ip, more) = ips.split_first().expect("an address");
        PodSandboxStatusResponse {
            status: Some(PodSandboxStatus {
                network: Some(PodSandboxNetworkStatus {
                    ip: (*ip).into(),
                    additional_ips: more.iter().map(|ip| PodIp { ip: (*ip).into() }).collect(),
                }),
                linux: Some(LinuxPodSandboxStatus {
                    namespaces: Some(Namespace { options }),
                }),
            }),
            info: HashMap::from([("info".to_owned(), info.to_owned())]),
        }
    }

    fn owner_of(status: &PodSandboxStatusResponse) -> Owner {
        let name = ObjectName::parse("web/nginx-0").expect("a name");
        owner("3f0c", name, Some("node02"), Vec::new(), status)
    }

    #[test]
    fn a_pod_has_all_its_addresses_and_one_with_the_nodes_network_has_none() {
        let both = status(0, &["10.224.2.16", "fd00::16"], "{}");
        assert_eq!(owner_of(&both).addresses.len(), 2);
        assert!(is_complete(&both, &owner_of(&both)));
        let on_host = status(NODE, &["192.0.2.1"], "{}");
        assert!(owner_of(&on_host).addresses.is_empty());
        assert!(is_complete(&on_host, &owner_of(&on_host)));
        let early = status(0, &[""], "{}");
        assert!(!is_complete(&early, &owner_of(&early)));
    }

    #[test]
    fn an_enemys_addresses_and_descriptions_are_left_out() {
        let many: Vec<String> = (0..5000).map(|number| format!("fd00::{number:x}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(owner_of(&status(0, &many, "")).addresses.len(), MAX_ADDRESSES);
        assert!(
            owner_of(&status(0, &["10.0.0.256", "\u{1b}[2J", "::1 "], ""))
                .addresses
                .is_empty()
        );
        let nested = "[".repeat(100_000);
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_INFO_BYTES));
        for info in ["", "{", "null", "{\"runtimeSpec\":[]}", &nested, &long] {
            assert_eq!(netns_path(info), None);
        }
    }

    #[test]
    fn only_a_named_network_namespace_is_looked_at() {
        let info = |path: &str| {
            format!(
                r#"{{"pid":4711,"runtimeSpec":{{"linux":{{"namespaces":[{{"type":"pid"}},{{"type":"network","path":{path:?}}}]}}}}}}"#
            )
        };
        assert_eq!(
            netns_path(&info("/var/run/netns/cni-1")).as_deref(),
            Some("/var/run/netns/cni-1")
        );
        for path in [
            "/etc/passwd",
            "/run/netns",
            "/run/netns/../../etc/passwd",
            "/run/netns/none",
            "/run/netnsx",
            "/proc/self/ns/net",
        ] {
            assert_eq!(inode(path), None, "{path}");
        }
    }

    #[test]
    fn names_are_checked_and_containers_belong_to_their_sandbox() {
        let sandbox = |namespace: &str, name: &str| PodSandbox {
            id: "3f0c".into(),
            metadata: Some(PodSandboxMetadata {
                name: name.into(),
                namespace: namespace.into(),
            }),
            state: 0,
        };
        assert!(name(&sandbox("web", "nginx-0")).is_some());
        assert!(name(&sandbox("web", "nginx\u{1b}[2J")).is_none());
        assert!(name(&PodSandbox::default()).is_none());
        let container = |sandbox: &str, name: &str| Container {
            pod_sandbox_id: sandbox.into(),
            metadata: Some(ContainerMetadata { name: name.into() }),
            state: 1,
        };
        let all = [
            container("3f0c", "nginx"),
            container("3f0c", "log"),
            container("3f0c", "log"),
            container("3f0c", "Bad"),
            container("other", "db"),
        ];
        assert_eq!(containers(&all, "3f0c"), [Box::from("log"), Box::from("nginx")]);
    }
}
