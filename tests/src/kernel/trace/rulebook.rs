//! What the kernel's traces leave out: numbers of rules, hooks of chains, which rules end a packet's run.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use super::{Event, Step, What};
use crate::cluster::rules::{self, Place};
use crate::cluster::{Backend, Family};
use crate::exec;
use crate::netns::Netns;

/// A chain: family, table, name.
type Chain = (String, String, String);

/// The rulesets of a namespace, as its tools list them.
#[derive(Debug, Default)]
pub struct Rulebook {
    /// nf_tables: the handles in each chain, in order.
    handles: BTreeMap<Chain, Vec<u64>>,
    hooks: BTreeMap<Chain, String>,
    /// x_tables: how many rules are in each chain, and what ends a packet's run.
    counts: BTreeMap<(String, String), u32>,
    ends: BTreeMap<Place, String>,
}

impl Rulebook {
    /// The rulesets of nf_tables.
    pub fn of_nftables(netns: &Netns) -> Result<Self> {
        let text = exec::run(Some(netns), "nft", &["-j", "list", "ruleset"], "")?;
        Ok(Self::read_nftables(&serde_json::from_str(&text)?))
    }

    pub(super) fn read_nftables(listed: &Value) -> Self {
        let mut book = Self::default();
        let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        for one in listed["nftables"].as_array().into_iter().flatten() {
            let (chain, rule) = (&one["chain"], &one["rule"]);
            if chain.is_object() {
                let key = (word(chain, "family"), word(chain, "table"), word(chain, "name"));
                if let Some(hook) = chain["hook"].as_str() {
                    book.hooks.insert(key, hook.to_uppercase());
                }
            }
            if let Some(handle) = rule["handle"].as_u64() {
                let key = (word(rule, "family"), word(rule, "table"), word(rule, "chain"));
                book.handles.entry(key).or_default().push(handle);
            }
        }
        book
    }

    /// The rulesets of x_tables, of one family.
    pub fn of_xtables(netns: &Netns, family: Family) -> Result<Self> {
        let counters = rules::counters(netns, Backend::Legacy, family)?;
        let text = counters.into_iter().map(|(place, counted)| (place, counted.text));
        Ok(Self::read_xtables(text))
    }

    pub(super) fn read_xtables(listed: impl Iterator<Item = (Place, String)>) -> Self {
        let mut book = Self::default();
        for (place, text) in listed {
            if let Some(number) = place.rule {
                let key = (place.table.clone(), place.chain.clone());
                let count = book.counts.entry(key).or_default();
                *count = (*count).max(number as u32);
            }
            let target = match place.rule {
                None => Some(text.as_str()),
                Some(_) => text.split_once(" -j ").map(|(_, target)| target),
            };
            if let Some(verdict) = target.and_then(|target| ending(target.split(' ').next()?)) {
                book.ends.insert(place, verdict.to_owned());
            }
        }
        book
    }

    /// The hook of a base chain of nf_tables.
    pub(super) fn hook(&self, family: &str, table: &str, chain: &str) -> Option<String> {
        self.hooks.get(&key(family, table, chain)).cloned()
    }

    /// The step that an event tells of; none for the end of a chain.
    pub(super) fn step(&self, event: &Event) -> Option<Step> {
        let step = Step {
            chain: event.chain.clone(),
            ..Step::default()
        };
        match event.what {
            What::End => None,
            What::Policy => Some(Step { policy: true, ..step }),
            What::Handle(handle) => {
                let handles = self.handles.get(&key(event.family, &event.table, &event.chain));
                let at = handles.and_then(|all| all.iter().position(|one| *one == handle));
                Some(Step {
                    rule: at.map(|at| at as u32 + 1),
                    handle: Some(handle),
                    ..step
                })
            }
            What::Number(number) => Some(Step {
                rule: Some(number),
                ..step
            }),
            What::Last(number) => {
                let count = self.counts.get(&(event.table.clone(), event.chain.clone()));
                if number <= count.copied().unwrap_or_default() {
                    return Some(Step {
                        rule: Some(number),
                        ..step
                    });
                }
                let place = Place {
                    table: event.table.clone(),
                    chain: event.chain.clone(),
                    rule: None,
                };
                // Only base chains have a policy; behind the last rule of another chain is its end.
                self.ends
                    .contains_key(&place)
                    .then_some(Step { policy: true, ..step })
            }
        }
    }

    /// How a packet leaves a table of x_tables by a step; none if it goes on.
    pub(super) fn verdict(&self, table: &str, step: &Step) -> Option<String> {
        let place = Place {
            table: table.to_owned(),
            chain: step.chain.clone(),
            rule: step.rule.map(|rule| rule as usize),
        };
        self.ends.get(&place).cloned()
    }
}

fn key(family: &str, table: &str, chain: &str) -> Chain {
    (family.to_owned(), table.to_owned(), chain.to_owned())
}

/// What a target that ends a packet's run makes of it.
fn ending(target: &str) -> Option<&'static str> {
    match target {
        "ACCEPT" | "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" => Some("ACCEPT"),
        "DROP" | "REJECT" => Some("DROP"),
        "NFQUEUE" | "QUEUE" => Some("QUEUE"),
        _ => None,
    }
}
