//! A rule or policy that can drop and that counts up: what is known where no packet can be seen.

use serde::{Deserialize, Serialize};

use super::{
    Backend, Cause, Confidence, DropInfo, Evidence, Hint, Hook, Layer, Netns, Rule, TableFamily, Time, Tool,
};

/// What a line of kind `counter` holds beside its header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterLine {
    /// The network namespace of the rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<Netns>,
    /// Whose counter it is.
    pub counter: CounterInfo,
    /// So many packets it has counted, at least, from `since` to the line's time.
    pub packets: u64,
    /// Their bytes, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// When it was read before.
    pub since: Time,
    /// Packets a second.
    pub rate: f64,
    /// Packets since watching began, these included.
    pub total: u64,
    /// Whether they can be of what the filter asks for; absent without a filter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filter: Option<CounterMatch>,
    /// What to make of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hints: Vec<Hint>,
}

/// Whose counter it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterInfo {
    /// What becomes of the packets that it counts.
    pub effect: CounterEffect,
    /// The netfilter hook, if only one leads to its chain.
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
    /// The chain that holds the rule, or the base chain whose policy it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chain: Option<String>,
    /// Rule, policy or hook function.
    pub cause: Cause,
    /// The policy, with cause `policy`, as the tool writes it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// The rule, with cause `rule`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<Rule>,
    /// With cause `hook`: `conntrack`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function: Option<String>,
    /// With cause `hook`: the column of its statistics.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub statistic: Option<String>,
    /// What that means and what to check, with cause `hook`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// The chains from the base chain down to the rule's, if only one way leads there.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub chain_path: Vec<String>,
    /// The command that shows and edits the rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<Tool>,
}

/// What becomes of the packets that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CounterEffect {
    /// They died.
    #[default]
    Drop,
    /// They died, and their senders were told.
    Reject,
    /// They were handed to a program: whether it let them live is not known.
    Queue,
}

/// Whether counted packets can be of what the filter asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CounterMatch {
    /// They can: which packets they were is not known.
    Possible,
    /// The rule's own conditions exclude the filter's addresses, both ways: only packets whose addresses are translated elsewhere
    /// can be of them.
    Excluded,
}

impl CounterInfo {
    /// As a drop by this rule or policy is told: for the words that both have in common. Of no packet is it more than
    /// inferred that it died here.
    pub fn as_drop(&self) -> DropInfo {
        DropInfo {
            layer: Layer::Netfilter,
            reason: "NETFILTER_DROP".to_owned(),
            hook: self.hook,
            backend: self.backend,
            family: self.family,
            table: self.table.clone(),
            chain: self.chain.clone(),
            cause: Some(self.cause),
            policy: self.policy.clone(),
            rule: self.rule.clone(),
            function: self.function.clone(),
            chain_path: self.chain_path.clone(),
            tool: self.tool,
            confidence: Confidence::Inferred,
            evidence: vec![Evidence::Other("counters".into())],
            ..DropInfo::default()
        }
    }
}

impl CounterLine {
    /// Whether packets certainly died that may be of what was asked for.
    pub fn is_drop(&self) -> bool {
        self.counter.effect != CounterEffect::Queue && self.filter != Some(CounterMatch::Excluded)
    }
}
