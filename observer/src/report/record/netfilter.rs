//! Netfilter's words: hooks, backends, tables' families, rules.

use serde::{Deserialize, Serialize};

/// A netfilter hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Hook {
    /// A packet has arrived and is not routed yet.
    Prerouting,
    /// It is for this host.
    Input,
    /// It is routed through this host.
    Forward,
    /// It comes from this host.
    Output,
    /// It is about to leave.
    Postrouting,
    /// It has arrived at a device (family netdev or inet).
    Ingress,
    /// It is about to be queued at a device (family netdev).
    Egress,
    /// The bridge's broute hook.
    Broute,
}

impl Hook {
    /// The name, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
            Self::Ingress => "INGRESS",
            Self::Egress => "EGRESS",
            Self::Broute => "BROUTE",
        }
    }
}

/// Which machinery holds the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// x_tables: legacy iptables, ip6tables, arptables, ebtables.
    Legacy,
    /// nf_tables.
    Nft,
}

/// Whose command shows and edits the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `iptables-legacy`, `ip6tables-legacy`.
    IptablesLegacy,
    /// `iptables-nft`, `ip6tables-nft`.
    IptablesNft,
    /// `nft`.
    Nft,
}

impl Tool {
    /// The command's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Nft => "nft",
        }
    }
}

/// The family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// nf_tables: IPv4 and IPv6.
    Inet,
    /// Frames on a bridge.
    Bridge,
    /// ARP.
    Arp,
    /// nf_tables: one device's ingress or egress.
    Netdev,
}

impl TableFamily {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
        }
    }
}

/// What kind of thing decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A rule.
    #[default]
    Rule,
    /// A base chain's default policy.
    Policy,
    /// A hook function that is no ruleset: conntrack, nat, synproxy, ipvs, a BPF program.
    Hook,
}

/// A rule of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its place in its chain, from 1, as `iptables -L --line-numbers` shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number: Option<u32>,
    /// nf_tables: its handle, as `nft -a list ruleset` shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handle: Option<u64>,
    /// As `iptables-save` or `nft list` prints it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// Its comment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
    /// The target or verdict: `DROP`, `REJECT`, `NFQUEUE`, `drop`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
}

/// A rule or policy that may have dropped the packet, where which one did is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The rule's place in its chain, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<u32>,
    /// The chain's policy, if that is the candidate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// The rule's text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
}

/// The rules in force, asked once more about the packet, come to something else than the kernel did. The kernel is right, and
/// this program, or what it was told of the rules, is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// What that means, in one sentence for people.
    pub text: String,
    /// The rules and policies that the replay comes to; none if the packet would have lived.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub replayed: Vec<Candidate>,
    /// The command that shows it again, where the packet and the rules were kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
}
