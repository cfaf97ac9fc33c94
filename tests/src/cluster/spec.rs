//! What a cluster file may say.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

/// A cluster file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What it models, in a sentence.
    pub about: String,
    /// Shell commands that must work in an empty namespace, or this kernel cannot run the cluster.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Words for `{{…}}`, per family (`ip`, `ip6`).
    #[serde(default)]
    pub names: BTreeMap<String, BTreeMap<String, String>>,
    /// The nodes, set up in this order.
    #[serde(default)]
    pub node: Vec<NodeSpec>,
    /// Cables between nodes.
    #[serde(default)]
    pub veth: Vec<VethSpec>,
    /// Pods: namespaces on a node's bridge.
    #[serde(default)]
    pub pod: Vec<PodSpec>,
    /// Servers that run while the cluster is up.
    #[serde(default)]
    pub server: Vec<ServerSpec>,
}

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its logical name.
    pub name: String,
    /// Lines for `ip -batch`: devices, addresses, routes, neighbours.
    #[serde(default)]
    pub ip: String,
    /// Kernel parameters, `net.ipv4.ip_forward = "1"`, written after the `ip` lines.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// Lines for `bridge -batch`: forwarding entries.
    #[serde(default)]
    pub bridge: String,
    /// The same, for what a kernel may lack.
    #[serde(default)]
    pub optional_sysctl: BTreeMap<String, String>,
    /// A file in `tests/rules` that is restored, in the family of the run.
    pub rules: Option<String>,
    /// A file in `tests/rules` for `nft -f`, restored instead where the run's backend is `native`.
    pub native: Option<String>,
}

/// A veth pair.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VethSpec {
    /// Both ends, each `node:device`.
    pub ends: [String; 2],
}

/// A pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodSpec {
    /// Its logical name.
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// The node's bridge.
    pub bridge: String,
    /// Its address, `10.224.2.16/24`.
    pub address: String,
    /// Its default gateway.
    pub gateway: String,
}

/// A server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// Where it runs.
    pub node: String,
    /// What it does.
    pub kind: ServerKind,
    /// The port it binds, on every address of the node, both families.
    pub port: u16,
    /// How many connections may wait to be accepted (kind `mute`).
    #[serde(default)]
    pub backlog: u16,
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerKind {
    /// Answers every HTTP/1.1 request with 200 and the name of its node.
    Http,
    /// Sends every UDP datagram back.
    Echo,
    /// Listens for TCP connections and never accepts one.
    Mute,
    /// Binds a UDP port and never reads from it.
    Deaf,
}

impl Spec {
    /// Reads a cluster file.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_an_error() {
        let error = Spec::parse("about = \"x\"\n[[nodes]]\nname = \"a\"").expect_err("must fail");
        assert!(error.to_string().contains("nodes"), "{error}");
    }
}
