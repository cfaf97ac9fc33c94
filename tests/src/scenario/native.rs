//! Rules and policies of native nftables that drop packets, as lines that observer must write.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::culprit::{Scene, merge};
use super::spec::{Count, Expect};
use crate::exec;
use crate::netns::Netns;

/// A rule or policy of native nftables that drops packets. Where paths can be observed it must be named exactly, and
/// by drops alone exactly if it counts; otherwise it must be among the candidates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Native {
    /// The node whose rules it is in.
    pub node: String,
    /// The table with its family, `inet lab`.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's number in it; absent: the chain's policy.
    pub rule: Option<usize>,
    /// The hook, `FORWARD`.
    pub hook: String,
    /// How many packets.
    pub packets: Count,
    /// Whether counters alone name it: it counts, or all that could have dropped the packet but it does.
    #[serde(default)]
    pub counted: bool,
    /// The chains from the base chain down, where paths can be observed.
    pub chain_path: Option<Vec<String>>,
    /// Fields of `drop` that the lines have instead of the usual where paths cannot be observed.
    #[serde(default)]
    pub drops: Map<String, Value>,
    /// More that the lines must match.
    #[serde(default)]
    pub line: Value,
}

impl Native {
    /// The lines that must be there.
    pub(super) fn expect(&self, scene: &Scene, netns: &Netns) -> Result<Expect> {
        let (family, table, listed) = self.listed(netns)?;
        let node = scene
            .nodes
            .get(&self.node)
            .with_context(|| format!("no node is called {}", self.node))?;
        let mut line = json!({
            "kind": "drop",
            "netns": {"inode": node.0, "name": node.1},
            "drop": {"layer": "netfilter", "hook": self.hook},
        });
        let found = Rules::parse(&listed);
        let drop = if scene.path || self.counted {
            self.named(family, table, &found, scene.path)?
        } else {
            self.among_candidates(table)
        };
        merge(&mut line, &json!({"drop": drop}));
        merge(&mut line, &self.line);
        if !scene.path {
            // Not merged: what is usual may be an operator, and two of them in one place are none.
            for (name, value) in &self.drops {
                line["drop"][name] = value.clone();
            }
        }
        Ok(Expect {
            count: self.packets,
            line,
            when: None,
        })
    }

    /// The rule or policy as a `drop` has it.
    pub(super) fn place(&self, netns: &Netns) -> Result<Value> {
        let (family, table, listed) = self.listed(netns)?;
        let mut drop = self.named(family, table, &Rules::parse(&listed), true)?;
        drop["hook"] = json!(self.hook);
        Ok(drop)
    }

    /// Family and name of its table, and what nft lists of it.
    fn listed(&self, netns: &Netns) -> Result<(&str, &str, String)> {
        let (family, table) = self
            .table
            .split_once(' ')
            .with_context(|| format!("`{}` is no table: write its family too", self.table))?;
        let listed = exec::run(Some(netns), "nft", &["-a", "list", "table", family, table], "")?;
        Ok((family, table, listed))
    }

    fn named(&self, family: &str, table: &str, found: &Rules, path: bool) -> Result<Value> {
        let mut drop = json!({
            "backend": "nft", "tool": "nft", "family": family, "table": table, "chain": self.chain,
            "confidence": "exact",
        });
        let more = match self.rule {
            None => json!({"cause": "policy", "policy": "drop", "rule": {"present": false}}),
            Some(number) => {
                let (handle, text) = found.rule(&self.chain, number).with_context(|| {
                    format!(
                        "{} has no rule {number} in {} of {}",
                        self.node, self.chain, self.table
                    )
                })?;
                // A counter's numbers change; what is printed without them stays.
                let text = match text.split_once("counter packets ") {
                    Some((before, _)) => json!({"contains": before.trim_end()}),
                    None => json!(text),
                };
                json!({"cause": "rule", "rule": {"number": number, "handle": handle, "text": text}})
            }
        };
        merge(&mut drop, &more);
        if let Some(chains) = self.chain_path.as_ref().filter(|_| path) {
            drop["chain_path"] = json!(chains);
        }
        Ok(drop)
    }

    /// What observer may say where neither a probe nor a counter tells: never another rule's name.
    fn among_candidates(&self, table: &str) -> Value {
        let mut candidate = json!({"table": table, "chain": self.chain});
        let named = match self.rule {
            Some(number) => {
                candidate["rule"] = json!(number);
                json!({"rule": {"absent_or": {"number": number}}, "policy": {"present": false}})
            }
            None => {
                candidate["policy"] = json!({"present": true});
                json!({"rule": {"present": false}})
            }
        };
        let mut drop = json!({
            "backend": {"absent_or": "nft"}, "table": {"absent_or": table}, "chain": {"absent_or": self.chain},
            "confidence": {"any": ["unknown", "inferred"]},
            "candidates": {"absent_or": {"contains": candidate}},
        });
        merge(&mut drop, &named);
        drop
    }
}

/// The rules of a table as `nft -a list table` prints them.
#[derive(Debug, Default)]
struct Rules(BTreeMap<String, Vec<(u64, String)>>);

impl Rules {
    fn parse(listed: &str) -> Self {
        let mut rules = Self::default();
        let mut chain = None;
        for line in listed.lines() {
            let words = line.trim();
            if let Some(rest) = words.strip_prefix("chain ") {
                let name = rest.split(" {").next().unwrap_or_default().trim_matches('"');
                chain = Some(name.to_owned());
            } else if words == "}" {
                chain = None;
            } else if let (Some(chain), Some((text, handle))) = (&chain, words.rsplit_once(" # handle "))
                && let Ok(handle) = handle.parse()
            {
                let all = rules.0.entry(chain.clone()).or_default();
                all.push((handle, text.to_owned()));
            }
        }
        rules
    }

    /// Handle and text of a rule by its number, from 1.
    fn rule(&self, chain: &str, number: usize) -> Option<(u64, &str)> {
        let (handle, text) = self.0.get(chain)?.get(number.checked_sub(1)?)?;
        Some((*handle, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "table inet lab { # handle 7\n\tset s { # handle 3\n\t\ttype ipv4_addr\n\t}\n\n\
        \tchain inner { # handle 1\n\t\tip saddr 10.0.0.1 drop comment \"a # handle 9\" # handle 4\n\t}\n\n\
        \tchain forward { # handle 2\n\t\ttype filter hook forward priority filter; policy drop;\n\
        \t\tudp dport 9 counter packets 3 bytes 90 drop # handle 5\n\t\tjump inner # handle 6\n\t}\n}\n";

    #[test]
    fn rules_are_found_by_their_number_in_their_chain() {
        let rules = Rules::parse(LISTED);
        assert_eq!(rules.rule("forward", 2), Some((6, "jump inner")));
        assert_eq!(
            rules.rule("inner", 1),
            Some((4, "ip saddr 10.0.0.1 drop comment \"a # handle 9\""))
        );
        assert_eq!(rules.rule("inner", 2), None);
        assert_eq!(rules.rule("s", 1), None);
    }
}
