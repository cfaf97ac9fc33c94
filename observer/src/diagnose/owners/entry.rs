//! What is known of those who write rules: one file of data each, read when a drop first asks.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::report::record::{Backend, Cause, CtState, Hook};

/// Somebody who writes rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// What people call it.
    pub name: String,
    /// Where its names were read; for docs/owners.md.
    #[cfg_attr(not(test), allow(dead_code))]
    pub read_in: String,
    /// Chains that are nobody else's, by their names.
    #[serde(default)]
    pub chains: Vec<String>,
    /// Tables that are nobody else's, by their names.
    #[serde(default)]
    pub tables: Vec<String>,
    /// What it does to packets; of those that hold, the first counts.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// One thing that a rule, a policy or a device of an owner does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What must hold.
    pub when: When,
    /// Who it was and what it means: a sentence without its full stop.
    pub says: String,
    /// What to do, in this order of preference.
    #[serde(default, rename = "fix")]
    pub fixes: Vec<Fix>,
}

/// One safe next step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// What must hold beside the case.
    #[serde(default)]
    pub when: When,
    /// What the command does, and what to know about it.
    pub text: String,
    /// Arguments of `iptables`, for a table that iptables made.
    pub iptables: Option<String>,
    /// Words of `nft`, for a table of nft's own.
    pub nft: Option<String>,
    /// A whole command.
    pub command: Option<String>,
    /// Whether the command does the same in every network namespace.
    #[serde(default)]
    pub anywhere: bool,
}

/// The evidence: whatever is given must hold; of a list of patterns one, of a list of names all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// A rule or a policy.
    pub cause: Option<Cause>,
    /// The machinery that holds the table.
    pub backend: Option<Backend>,
    /// The hook.
    pub hook: Option<Hook>,
    /// Patterns of the table's name.
    pub table: Vec<String>,
    /// Patterns of the chain's name.
    pub chain: Vec<String>,
    /// The rule's target or verdict, in capitals.
    pub target: Vec<String>,
    /// Patterns of the rule's text.
    pub text: Vec<String>,
    /// Patterns of the rule's comment.
    pub comment: Vec<String>,
    /// Patterns of chains that the base chain on the packet's way jumps to, to each of them.
    pub jumps: Vec<String>,
    /// Chains that are in the namespace's ruleset: `TABLE/CHAIN`.
    pub beside: Vec<String>,
    /// Patterns of chains that the base chain must not jump to.
    pub without: Vec<String>,
    /// What conntrack says of the packet.
    pub ct: Vec<CtState>,
    /// Names of the transport protocol.
    pub proto: Vec<String>,
    /// TCP flags that are all set.
    pub flags: Vec<String>,
    /// Patterns of the device it came in by.
    pub in_dev: Vec<String>,
    /// Patterns of the device it was to leave by.
    pub out_dev: Vec<String>,
    /// Whether both devices are of a kind that only containers and pods are behind.
    pub inside: bool,
    /// The kernel's reason, for what is not netfilter's.
    pub reason: Vec<String>,
    /// Whether no owner's chain or table is on the packet's way.
    pub unclaimed: bool,
}

/// In the order in which they are asked.
pub const FILES: [(&str, &str); 15] = [
    ("kube-proxy", include_str!("kube-proxy.toml")),
    ("docker", include_str!("docker.toml")),
    ("calico", include_str!("calico.toml")),
    ("cilium", include_str!("cilium.toml")),
    ("flannel", include_str!("flannel.toml")),
    ("kube-router", include_str!("kube-router.toml")),
    ("weave", include_str!("weave.toml")),
    ("antrea", include_str!("antrea.toml")),
    ("ufw", include_str!("ufw.toml")),
    ("firewalld", include_str!("firewalld.toml")),
    ("libvirt", include_str!("libvirt.toml")),
    ("podman", include_str!("podman.toml")),
    ("cni", include_str!("cni.toml")),
    ("fail2ban", include_str!("fail2ban.toml")),
    ("user", include_str!("user.toml")),
];

/// Advice for whatever has none of its own.
pub const ADVICE: &str = include_str!("advice.toml");

/// Everybody who is known, read once. That each file can be read is a test's business.
pub fn all() -> &'static [Owner] {
    static OWNERS: OnceLock<Vec<Owner>> = OnceLock::new();
    OWNERS.get_or_init(|| {
        let read = |(_, text): &(&str, &str)| toml::from_str(text).ok();
        FILES.iter().filter_map(read).collect()
    })
}

/// What may be advised whoever wrote the rule.
pub fn advice() -> &'static [Fix] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        fix: Vec<Fix>,
    }
    static ADVICE_READ: OnceLock<Vec<Fix>> = OnceLock::new();
    ADVICE_READ.get_or_init(|| {
        let read: Option<File> = toml::from_str(ADVICE).ok();
        read.map(|file| file.fix).unwrap_or_default()
    })
}
