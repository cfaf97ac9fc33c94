//! The lines about the run itself: how it began, what it lost, what it adds up to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Layer, Time};

/// What a line of kind `start` holds beside its header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// This program's version.
    pub version: String,
    /// The kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// What is watched.
    pub filter: FilterInfo,
    /// The probes that are attached, by name (`tp_btf/kfree_skb`).
    pub probes: Vec<String>,
    /// For each kind of ruleset (`legacy`, `iptables-nft`, `nft`): the confidence to expect, and why where it is not
    /// `exact`.
    pub attribution: BTreeMap<String, String>,
    /// What else to know: features this kernel lacks, and what that costs.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// A filter, as text and taken apart. An empty filter is every packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterInfo {
    /// As the command line would say it; empty for every packet.
    pub text: String,
    /// Destination networks.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dst: Vec<String>,
    /// Source networks.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub src: Vec<String>,
    /// Networks of which one holds the source or the destination.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hosts: Vec<String>,
    /// Ports, of either side.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<u16>,
    /// Protocols.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub protos: Vec<super::Proto>,
    /// Devices, in or out.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ifaces: Vec<String>,
    /// Network namespaces, as given: a name, an inode number or `pid:N`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub netns: Vec<String>,
    /// Pods of which one has the source or the destination, `namespace/name`; `hosts` or the text has their addresses.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pods: Vec<String>,
    /// Services, as `pods`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub services: Vec<String>,
    /// The expression, as given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expression: Option<String>,
}

/// What a line of kind `filter` holds: a pod or a service that is watched by its name has other addresses from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterLine {
    /// Which one, in one sentence for people.
    pub text: String,
    /// What is watched now.
    pub filter: FilterInfo,
}

/// What a line of kind `lost` holds beside its header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many drops have no line of their own in the trace.
    pub count: u64,
    /// They were lost after this moment, and before the line's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Time>,
    /// Where they were lost: `ring-buffer`, `user-queue`, `flood`.
    #[serde(rename = "where")]
    pub place: String,
    /// Of a flood: how many flows were told apart. There may have been more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow_count: Option<u64>,
    /// Of a flood: the flows of which the most were counted, the most first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub flows: Vec<LostFlow>,
}

/// Drops of one flow that were only counted, whatever their ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostFlow {
    /// Where they died.
    pub netns: super::Netns,
    /// The transport protocol.
    pub proto: super::Proto,
    /// The source address.
    pub src: IpAddr,
    /// The destination address.
    pub dst: IpAddr,
    /// Why, in the kernel's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The function that freed them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub symbol: Option<String>,
    /// How many.
    pub count: u64,
}

/// Probes were put on or taken off while watching.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbesLine {
    /// Why, in one sentence for people.
    pub text: String,
    /// What is attached now.
    pub probes: Vec<String>,
}

/// What a line of kind `summary` holds beside its header.
/// `kernel_drops = exact + inferred + unknown + filtered + lost`, always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Packets that the kernel dropped while the probe was attached.
    pub kernel_drops: u64,
    /// Reported with confidence exact.
    pub exact: u64,
    /// Reported with confidence inferred.
    pub inferred: u64,
    /// Reported with confidence unknown.
    pub unknown: u64,
    /// Not reported: outside the filter, or no loss.
    pub filtered: u64,
    /// Not reported one by one: the events were lost, or only counted.
    pub lost: u64,
    /// Of `lost`: those of floods, that lines of kind `lost` with `where: flood` tell of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub folded: Option<u64>,
    /// Of `filtered`: inside the filter, and no loss (a tap's copy, a frame for another host, …).
    pub not_loss: u64,
    /// Where no packet can be seen (`--probes none`): packets that the lines of kind `counter` tell of. The totals above
    /// are then 0: they are of packets that were seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counted: Option<u64>,
    /// Of the reported ones: those of which a replay came to something else than the kernel did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disagreements: Option<u64>,
    /// How long the probe was attached, in nanoseconds.
    pub duration_ns: u64,
    /// What dropped the most of what was reported, the most first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub by_cause: Vec<CauseCount>,
}

impl Summary {
    /// Drops that were reported one by one.
    pub fn reported(&self) -> u64 {
        self.exact
            .saturating_add(self.inferred)
            .saturating_add(self.unknown)
    }

    /// Whether the totals reconcile.
    pub fn reconciles(&self) -> bool {
        let parts = self
            .reported()
            .saturating_add(self.filtered)
            .saturating_add(self.lost);
        parts == self.kernel_drops && self.not_loss <= self.filtered
    }
}

/// How many packets one cause dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseCount {
    /// The part of the kernel.
    pub layer: Layer,
    /// The cause, in the words of the text report.
    pub text: String,
    /// Packets.
    pub count: u64,
}
