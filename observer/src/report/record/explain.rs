//! What `observer explain` answers: what would become of a packet.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    CtState, DropInfo, Hint, HintRule, Mark, Netns, PacketFamily, Passage, Proto, TableFamily, TcpFlags,
    Time, Tool,
};

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The packet that was asked about.
    pub packet: AskedPacket,
    /// The line of a trace that it is from, and what has become of its answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recorded: Option<Recorded>,
    /// Where the rules are from.
    pub rulesets: Vec<RulesetSource>,
    /// What becomes of it.
    pub verdict: Fate,
    /// The ways that it may go: one, if all is known that matters.
    pub ways: Vec<ExplainedWay>,
    /// What to know about the answer.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// A packet that is asked about; what is absent is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedPacket {
    /// The network protocol.
    pub family: PacketFamily,
    /// The transport protocol.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proto: Option<Proto>,
    /// The source address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub src: Option<IpAddr>,
    /// The source port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sport: Option<u16>,
    /// The destination address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dst: Option<IpAddr>,
    /// The destination port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dport: Option<u16>,
    /// The TCP flags that are set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcp_flags: Option<TcpFlags>,
    /// The ICMP or ICMPv6 type.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub icmp_type: Option<u8>,
    /// The packet mark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<Mark>,
    /// What conntrack says of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ct_state: Option<CtState>,
    /// The device it comes in by.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none", default)]
    pub in_dev: Option<String>,
    /// The device it leaves by.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none", default)]
    pub out_dev: Option<String>,
}

/// Where rules are from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetSource {
    /// A file, or the tool that printed them.
    pub from: String,
    /// Whose tables they are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<TableFamily>,
    /// The command that shows and edits them, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<Tool>,
    /// The tables.
    pub tables: Vec<String>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It passes all of netfilter's rules.
    Pass,
    /// It dies.
    Drop,
    /// That depends on something that is not known, or cannot be known.
    Depends,
    /// It cannot be told.
    #[default]
    Unknown,
}

/// A drop out of a trace, held against the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The line's number in its file, from 1.
    pub line: u64,
    /// When it died.
    pub time: Time,
    /// On which host.
    pub node: String,
    /// In which network namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<Netns>,
    /// What decided then.
    pub drop: DropInfo,
    /// What has become of that.
    pub now: Still,
    /// The same in words.
    pub text: String,
}

/// Whether a packet that died would do so again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Still {
    /// By the same rule or policy.
    Same,
    /// It dies, by something else.
    Other,
    /// It lives.
    Passes,
    /// That depends on something that is not known.
    Depends,
    /// It cannot be told.
    Unknown,
}

/// One way that a packet may go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedWay {
    /// What becomes of it on this way.
    pub verdict: Fate,
    /// Where it ends, in words.
    pub text: String,
    /// What must be so for it to go this way.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub depends_on: Vec<Dependence>,
    /// The tables that it passes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub path: Vec<Passage>,
    /// What drops it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drop: Option<DropInfo>,
    /// What to make of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hints: Vec<Hint>,
    /// What to know about it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// A rule of which it is not known whether it matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependence {
    /// The rule.
    pub rule: HintRule,
    /// Whether it must match.
    pub matches: bool,
    /// Why it is not known.
    pub because: String,
}
