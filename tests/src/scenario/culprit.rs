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
    let mut pattern = json!({
        "kind": "drop",
        "netns": {"inode": netns.0, "name": netns.1},
        "drop": {
            "layer": "netfilter", "hook": hook, "backend": backend(scene, culprit).machinery(), "family": scene.setup.family.word(),
            "table": culprit.table, "chain": culprit.chain,
        },
    });
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
    more["confidence"] = culprit.confidence.clone().unwrap_or_else(|| json!("exact"));
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
    merge(&mut pattern, &json!({"drop": more}));
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
