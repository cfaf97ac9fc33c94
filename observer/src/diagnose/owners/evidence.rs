//! Whether a case's evidence holds for a drop, and in which words that can be told.

use super::devices;
use super::entry::{self, When};
use super::pattern::{Kept, first_match, is_match};
use super::scene::Scene;

/// What holds: what the patterns have kept, and the grounds to be told, as nouns.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// What the patterns have kept.
    pub kept: Kept,
    /// Such as `FORWARD's jump to DOCKER-USER`.
    pub grounds: Vec<String>,
}

impl When {
    /// Adds to what holds already; `None` if anything of this does not.
    pub fn holds(&self, scene: &Scene<'_>, before: &Held) -> Option<Held> {
        let mut held = before.clone();
        let all = self.is_place(scene, &mut held)
            && self.is_rule(scene, &mut held)
            && self.is_packet(scene, &mut held)
            && self.is_around(scene, &mut held);
        all.then_some(held)
    }

    fn is_place(&self, scene: &Scene<'_>, held: &mut Held) -> bool {
        let drop = scene.drop();
        (self.reason.is_empty() || self.reason.contains(&drop.reason))
            && self.cause.is_none_or(|cause| drop.cause == Some(cause))
            && self.backend.is_none_or(|backend| drop.backend == Some(backend))
            && self.hook.is_none_or(|hook| drop.hook == Some(hook))
            && named(
                &self.table,
                drop.table.as_deref(),
                held,
                is_telling_table,
                |table| format!("table {table}"),
            )
            && named(
                &self.chain,
                drop.chain.as_deref(),
                held,
                is_telling_chain,
                |chain| format!("the name of chain {chain}"),
            )
    }

    fn is_rule(&self, scene: &Scene<'_>, held: &mut Held) -> bool {
        let rule = scene.drop().rule.as_ref();
        let target = rule
            .and_then(|rule| rule.target.as_deref())
            .map(str::to_ascii_uppercase);
        let is_target = self.target.is_empty() || target.is_some_and(|target| self.target.contains(&target));
        is_target
            && named(
                &self.comment,
                rule.and_then(|rule| rule.comment.as_deref()),
                held,
                |_| true,
                |_| "the rule's comment".to_owned(),
            )
            && named(
                &self.text,
                rule.and_then(|rule| rule.text.as_deref()),
                held,
                |_| true,
                |_| "what the rule matches".to_owned(),
            )
    }

    fn is_packet(&self, scene: &Scene<'_>, held: &mut Held) -> bool {
        let line = scene.line;
        let ct = line.flow.as_ref().and_then(|flow| flow.ct_state);
        let proto = line.packet.proto.map(|proto| proto.to_string());
        let set: Vec<&str> = line
            .packet
            .tcp_flags
            .iter()
            .flat_map(|flags| flags.names())
            .collect();
        let is_ct = self.ct.is_empty() || ct.is_some_and(|ct| self.ct.contains(&ct));
        if let Some(ct) = ct.filter(|_| is_ct && !self.ct.is_empty()) {
            held.grounds.push(format!("conntrack's {}", ct.name()));
        }
        let device = |name: &str| format!("device {name}");
        is_ct
            && (self.proto.is_empty() || proto.is_some_and(|proto| self.proto.contains(&proto)))
            && self.flags.iter().all(|flag| set.contains(&flag.as_str()))
            && named(&self.in_dev, line.in_dev.as_deref(), held, |_| true, device)
            && named(&self.out_dev, line.out_dev.as_deref(), held, |_| true, device)
            && (!self.inside || devices::are_inside(line))
    }

    /// What else is in the ruleset.
    fn is_around(&self, scene: &Scene<'_>, held: &mut Held) -> bool {
        for chain in &self.jumps {
            let Some((from, to)) = scene.jump_to(chain) else {
                return false;
            };
            held.grounds.push(format!("{from}'s jump to {to}"));
        }
        for place in &self.beside {
            if !scene.has_chain(place) {
                return false;
            }
            let (table, chain) = place.split_once('/').unwrap_or(("", place));
            held.grounds.push(format!("chain {chain} in {table}"));
        }
        self.without.iter().all(|chain| scene.jump_to(chain).is_none())
            && (!self.unclaimed || is_unclaimed(scene))
    }
}

/// Whether one of the patterns matches, if there are any; a match that tells something is a ground.
fn named(
    patterns: &[String],
    name: Option<&str>,
    held: &mut Held,
    is_telling: impl Fn(&str) -> bool,
    ground: impl Fn(&str) -> String,
) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let Some(name) = name else { return false };
    let Some(pattern) = first_match(patterns, name, &mut held.kept) else {
        return false;
    };
    if is_telling(pattern) {
        held.grounds.push(ground(name));
    }
    true
}

/// Everybody has these.
fn is_telling_table(name: &str) -> bool {
    !matches!(name, "filter" | "nat" | "mangle" | "raw" | "security")
}

/// The base chains of iptables are everybody's.
fn is_telling_chain(name: &str) -> bool {
    !matches!(
        name,
        "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING"
    )
}

/// Whether neither the table nor a chain on the way is anybody's whose names are known.
fn is_unclaimed(scene: &Scene<'_>) -> bool {
    let drop = scene.drop();
    let fits = |patterns: &[String], name: &str| patterns.iter().any(|pattern| is_match(pattern, name));
    let mut chains = drop.chain_path.iter().chain(&drop.chain);
    !chains.any(|chain| entry::all().iter().any(|owner| fits(&owner.chains, chain)))
        && !drop
            .table
            .iter()
            .any(|table| entry::all().iter().any(|owner| fits(&owner.tables, table)))
}
