//! Random rulesets: what a backend's tool takes, line by line, so that lines can be left out again.

use anyhow::Result;

use super::random::Random;
use super::world::World;
use crate::cluster::{Backend, Family};
use crate::nftables;
use crate::replay;

/// A ruleset of one backend.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) text: String,
}

impl Rules {
    /// Makes one. The case's number chooses it.
    pub(super) fn make(random: &mut Random, backend: Backend, family: Family) -> Self {
        let text = match backend {
            Backend::Native => nftables::make_ruleset(random.below(usize::MAX) as u64),
            Backend::Legacy | Backend::Nft => {
                let made = replay::make_ruleset(random, family);
                with_rejections(random, &made, family)
            }
        };
        Self { text }
    }

    /// Loads it in the router, in the place of the last one; what nft refuses of a native one is left out.
    pub(super) fn load(&mut self, world: &World) -> Result<()> {
        self.text = world.load(&self.text)?;
        Ok(())
    }

    /// The numbers of the lines that are rules.
    pub(super) fn rules(&self) -> Vec<usize> {
        let is_rule = |line: &str| {
            line.starts_with("-A ") || (line.starts_with("\t\t") && !line.trim_start().starts_with("type "))
        };
        let lines = self.text.lines().enumerate();
        lines
            .filter(|(_, line)| is_rule(line))
            .map(|(at, _)| at)
            .collect()
    }

    /// The same without some of its lines.
    pub(super) fn without(&self, lines: &[usize]) -> Self {
        let kept = self
            .text
            .lines()
            .enumerate()
            .filter(|(at, _)| !lines.contains(at));
        Self {
            text: kept.map(|(_, line)| format!("{line}\n")).collect(),
        }
    }
}

const NOT_FROM_HERE: &str = "-m addrtype ! --src-type LOCAL";

/// Some that drop in table filter reject instead: not what comes from the router itself, to which the answer would go, and
/// would be counted by its rules.
fn with_rejections(random: &mut Random, text: &str, family: Family) -> String {
    let kind = match family {
        Family::Ip => "icmp-port-unreachable",
        Family::Ip6 => "icmp6-port-unreachable",
    };
    let mut is_filter = false;
    let mut made = String::new();
    for line in text.lines() {
        if let Some(table) = line.strip_prefix('*') {
            is_filter = table == "filter";
        }
        match line.strip_suffix(" -j DROP") {
            Some(rule) if is_filter && random.one_in(3) => {
                made.push_str(&format!(
                    "{rule} {NOT_FROM_HERE} -j REJECT --reject-with {kind}\n"
                ));
            }
            _ => made.push_str(&format!("{line}\n")),
        }
    }
    made
}
