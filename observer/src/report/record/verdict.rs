//! A drop: which packet, where, what decided, how sure that is, and what to do.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    Backend, Candidate, Cause, Disagreement, Flow, Hook, Names, Netns, Packet, PacketBytes, Passage, Rule,
    TableFamily, Tool,
};

/// What a line of kind `drop` holds beside its header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DropLine {
    /// The network namespace it died in; absent where the packet has no device to tell it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<Netns>,
    /// The packet.
    pub packet: Packet,
    /// The device it came in by.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none", default)]
    pub in_dev: Option<String>,
    /// The device it was to leave by.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none", default)]
    pub out_dev: Option<String>,
    /// Its connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow: Option<Flow>,
    /// Which view of the packet the filter matched; absent without a filter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matched: Option<Matched>,
    /// Who has its addresses, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub names: Option<Box<Names>>,
    /// Its way through the hooks up to its death, as far as it was seen.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub path: Vec<Passage>,
    /// What decided.
    pub drop: DropInfo,
    /// What to make of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hints: Vec<Hint>,
    /// The packet's bytes, with a capture only; no part of the trace.
    #[serde(skip)]
    pub bytes: Option<PacketBytes>,
}

/// Which view of a packet matched the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matched {
    /// Its own headers, as they stood.
    Headers,
    /// The tuple of its connection's first packet, before NAT.
    Original,
    /// The tuple of its connection's answers.
    Reply,
}

/// The part of the kernel that dropped the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// A netfilter hook.
    Netfilter,
    /// Routing, forwarding, IP itself.
    Routing,
    /// Neighbour resolution (ARP, NDP).
    Neighbour,
    /// A socket, or the lack of one.
    Socket,
    /// A device, its queue or its driver; bridges and tunnels.
    Device,
    /// A traffic-control queue, filter or action.
    Tc,
    /// An XDP program.
    Xdp,
    /// Anything else, or not known.
    #[default]
    Other,
}

impl Layer {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Netfilter => "netfilter",
            Self::Routing => "routing",
            Self::Neighbour => "neighbour",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::Other => "other",
        }
    }
}

/// How sure the answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// The kernel's own state at that moment says so.
    Exact,
    /// Replayed from the ruleset in force, or concluded from the place in the kernel.
    Inferred,
    /// Not known; the candidates are listed where there are any.
    #[default]
    Unknown,
}

impl Confidence {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Inferred => "inferred",
            Self::Unknown => "unknown",
        }
    }
}

/// What the answer rests on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The per-CPU counter of the legacy rule or policy moved.
    XtCounter,
    /// The legacy table's own stack of jumps.
    XtJumpstack,
    /// The counter of the nf_tables rule or base chain moved.
    NftCounter,
    /// nf_tables' trace hook named the rule.
    NftTrace,
    /// The function that wrote the nf_tables verdict was seen.
    NftVerdict,
    /// The entry of the hook in force is the only one that can have dropped it.
    HookEntry,
    /// The packet was replayed through the ruleset in force.
    Replay,
    /// The kernel's own drop reason.
    Reason,
    /// The kernel function that freed the packet.
    Symbol,
    /// Evidence this version has no name for.
    #[serde(untagged)]
    Other(Cow<'static, str>),
}

/// What decided that a packet dies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInfo {
    /// The part of the kernel.
    pub layer: Layer,
    /// The kernel's drop reason without its prefix `SKB_DROP_REASON_`; `NOT_SPECIFIED` where it gives none.
    pub reason: String,
    /// The kernel function that freed the packet; absent where symbols cannot be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub symbol: Option<String>,
    /// What that means and what to check, in plain words. Every layer but netfilter has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// The netfilter hook.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hook: Option<Hook>,
    /// The machinery that holds the rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<Backend>,
    /// The table's family.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<TableFamily>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub table: Option<String>,
    /// The chain that holds the rule, or the base chain whose policy it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chain: Option<String>,
    /// Rule, policy or hook function.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<Cause>,
    /// The policy, with cause `policy`, as the tool writes it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// The rule, with cause `rule`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<Rule>,
    /// The hook function, with cause `hook`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function: Option<String>,
    /// Its priority on the hook, with cause `hook`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<i32>,
    /// The chains from the base chain down to the rule's.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub chain_path: Vec<String>,
    /// The command that shows and edits the rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<Tool>,
    /// How sure this is.
    pub confidence: Confidence,
    /// What it rests on.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// What may have decided, where that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub candidates: Vec<Candidate>,
    /// A generation or hash of the ruleset this was resolved against.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ruleset: Option<String>,
    /// What to know about the answer, such as that the ruleset changed in between.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// A replay of the packet does not come to what the kernel did: a bug worth reporting.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disagreement: Option<Disagreement>,
}

/// What to make of a drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Its kind.
    pub kind: HintKind,
    /// One sentence.
    pub text: String,
    /// The rule it speaks of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<HintRule>,
    /// One command a person could run; this program never does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// With kind `owner`: the owner's name, one of a short list; for metrics, and no part of the trace.
    #[serde(skip)]
    pub owner: Option<&'static str>,
}

/// The kind of a [`Hint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HintKind {
    /// A rule that would have let the packet live failed by little.
    NearMiss,
    /// Who put the rule there (kube-proxy, Docker, ufw, …).
    Owner,
    /// What to do about it.
    Fix,
}

/// A rule, with the table and chain it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintRule {
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The rule itself.
    #[serde(flatten)]
    pub rule: Rule,
}
