//! The way of a packet through the hooks, one element for each table (or hook function) that it passed.

use serde::{Deserialize, Serialize};

use super::{Backend, Flow, Hook, Mark, Matched, Names, Netns, Packet, TableFamily, Time, Tuple};

/// What a line of kind `path` holds beside its header: a packet that was not dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathLine {
    /// The network namespace it was first seen in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<Netns>,
    /// The packet as it was first seen.
    pub packet: Packet,
    /// Its connection, as it was last seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow: Option<Flow>,
    /// Which view of the packet the filter matched; absent without a filter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matched: Option<Matched>,
    /// Who has its addresses, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub names: Option<Box<Names>>,
    /// Its way, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub path: Vec<Passage>,
}

/// One table, or one hook without a table, that a packet passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// When the packet left the hook.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Time>,
    /// The hook.
    pub hook: Hook,
    /// The host, where the traces of several were joined.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// The network namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<Netns>,
    /// The device it came in by, as the hook was told.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none", default)]
    pub in_dev: Option<String>,
    /// The device it was to leave by, as the hook was told.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none", default)]
    pub out_dev: Option<String>,
    /// The addresses around it while it was carried in a tunnel: the hook saw these, not the packet's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outer: Option<Tuple>,
    /// The machinery that holds the table; absent where no table was passed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<Backend>,
    /// The table's family.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<TableFamily>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub table: Option<String>,
    /// The base chain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chain: Option<String>,
    /// The base chain's priority on the hook.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<i32>,
    /// How it left the table, or the hook.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<PassVerdict>,
    /// The rules that it matched, in order, and the policy if that decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<PathStep>,
    /// What was changed about the packet: addresses, mark.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changes: Vec<Change>,
    /// How this is known.
    pub evidence: PathEvidence,
    /// What to know about it: that no hook is registered here, that some rules could not be seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// How a packet left a table or a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PassVerdict {
    /// It goes on.
    Accept,
    /// It dies.
    Drop,
    /// It waits for a program (NFQUEUE).
    Queue,
    /// Someone else has it now: a defragmenter, a bridge, a tunnel, a flow table.
    Stolen,
}

impl PassVerdict {
    /// The name, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
            Self::Queue => "QUEUE",
            Self::Stolen => "STOLEN",
        }
    }
}

/// How an element of a path is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathEvidence {
    /// The kernel's own state said so while the packet was there.
    #[default]
    Observed,
    /// Replayed from the ruleset in force.
    Replayed,
}

/// A rule that matched, or the policy that decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStep {
    /// The chain.
    pub chain: String,
    /// The rule's place in it, from 1; absent for a policy, and where the rule is gone by now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<u32>,
    /// nf_tables: the rule's handle.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handle: Option<u64>,
    /// The target, where it is neither a verdict nor a chain: `LOG`, `MARK`, `DNAT`, `MASQUERADE`, `counter`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// The chain that it jumps to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jump: Option<String>,
    /// The chain that it goes to without return.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub goto: Option<String>,
    /// The verdict: `ACCEPT`, `DROP`, `RETURN`, `QUEUE`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<String>,
    /// The base chain's policy, if that decided: `ACCEPT`, `DROP`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// How often it matched in this traversal, if more than once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub times: Option<u32>,
}

/// Something that was changed about the packet between entering and leaving a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Change {
    /// The destination, by NAT.
    Dnat {
        /// `ADDRESS` or `ADDRESS:PORT` as it was.
        from: String,
        /// As it is now.
        to: String,
    },
    /// The source, by NAT.
    Snat {
        /// As it was.
        from: String,
        /// As it is now.
        to: String,
    },
    /// The mark.
    Mark {
        /// As it was.
        from: Mark,
        /// As it is now.
        to: Mark,
    },
}
