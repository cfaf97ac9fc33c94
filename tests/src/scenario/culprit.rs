//! A culprit, and the pattern that a line about it must match.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::spec::Culprit;
use crate::cluster::rules::{Counters, Place};
use crate::cluster::{Backend, Cluster, Setup};
use crate::kernel::probes;

/// What a culprit's names mean in the cluster that is up.
pub(super) struct Scene {
    pub(super) setup: Setup,
    pub(super) nodes: BTreeMap<String, (u64, String)>,
    /// Whether paths can be observed on this kernel.
    pub(super) path: bool,
}

impl Scene {
    /// The names of a cluster.
    pub(super) fn of(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            setup: cluster.setup().clone(),
            nodes: cluster.identities()?,
            path: probes::path(),
        })
    }
}

/// The part of a culprit's pattern that needs no ruleset.
pub(super) fn whereabouts(scene: &Scene, culprit: &Culprit) -> Result<Value> {
    let hook = culprit.hook.clone().unwrap_or_else(|| culprit.chain.clone());
    if !["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"].contains(&hook.as_str()) {
        bail!(
            "{} is a chain of its user's: say which `hook` the packet is in",
            culprit.chain
        );
    }
    let netns = scene
        .nodes
        .get(&culprit.node)
        .with_context(|| format!("no node is called {}", culprit.node))?;
    let place = json!({
        "hook": hook, "backend": backend(scene, culprit).machinery(), "family": scene.setup.family.word(),
        "table": culprit.table, "chain": culprit.chain,
    });
    let netns = json!({"inode": netns.0, "name": netns.1});
    let mut pattern = if culprit.counted {
        json!({"kind": "counter", "netns": netns, "counter": place})
    } else {
        let mut drop = json!({"layer": "netfilter"});
        merge(&mut drop, &place);
        json!({"kind": "drop", "netns": netns, "drop": drop})
    };
    merge(&mut pattern, &culprit.line);
    Ok(pattern)
}

/// The whole pattern: also the rule's number and text, as the kernel's ruleset has them.
pub(super) fn pattern(scene: &Scene, culprit: &Culprit, rules: &Counters) -> Result<Value> {
    let place = place(culprit);
    let text = &rules
        .get(&place)
        .with_context(|| format!("{} has no {place}", culprit.node))?
        .text;
    let legacy = backend(scene, culprit) == Backend::Legacy;
    let mut more = match culprit.rule {
        Some(number) => json!({"cause": "rule", "rule": {"number": number, "text": text}}),
        None => json!({"cause": "policy", "policy": text, "rule": {"present": false}}),
    };
    if !culprit.counted {
        more["confidence"] = culprit.confidence.clone().unwrap_or_else(|| json!("exact"));
    }
    let tool = if legacy { "iptables-legacy" } else { "iptables-nft" };
    more["tool"] = json!({"absent_or": tool});
    if let Some(path) = &culprit.chain_path {
        more["chain_path"] = if legacy {
            json!(path)
        } else {
            json!({"absent_or": path})
        };
    }
    let mut pattern = whereabouts(scene, culprit)?;
    let of = if culprit.counted { "counter" } else { "drop" };
    merge(&mut pattern, &json!({of: more}));
    merge(&mut pattern, &culprit.line);
    Ok(pattern)
}

/// Which iptables wrote a culprit's rule.
fn backend(scene: &Scene, culprit: &Culprit) -> Backend {
    culprit.backend.unwrap_or(scene.setup.backend)
}

/// Whose counters a culprit is among.
pub(super) fn book(culprit: &Culprit) -> Book {
    (culprit.node.clone(), culprit.backend)
}

/// A node, and which of its rulesets: that of the run where none is named.
pub(super) type Book = (String, Option<Backend>);

/// How many packets a line tells of.
pub(super) fn packets(line: &Value) -> u64 {
    match line["kind"].as_str() {
        Some("counter") => line["packets"].as_u64().unwrap_or(0),
        _ => 1,
    }
}

/// Where a culprit is.
pub(super) fn place(culprit: &Culprit) -> Place {
    Place {
        table: culprit.table.clone(),
        chain: culprit.chain.clone(),
        rule: culprit.rule,
    }
}

/// Lays `over` on `base`, field by field.
pub(super) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over.clone(),
    }
}
