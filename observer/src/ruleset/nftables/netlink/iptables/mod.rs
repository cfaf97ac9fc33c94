//! The tables that iptables-nft keeps in nf_tables, as iptables-nft-save would print them, from the kernel's list.
//!
//! A table in which there is anything that iptables does not write, or that is not known here, is not told: who asks runs the tool.

mod conditions;
mod protocols;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::ask::Wanted;
use super::builder::{CHAIN, NFGENMSG_BYTES, RULE, TABLE};
use super::wire::Attrs;
use crate::kernel::netlink::Message;
use crate::ruleset::xtables::extensions::{KernelSets, SetNames};
use crate::ruleset::xtables::save::{self, Counters, Draft, DraftTable, Family, Policy};
use protocols::Protocols;

/// A chain that iptables makes: its name, hook, priority and type.
type Builtin = (&'static str, u32, i32, &'static str);

/// Tables in the order in which the tool prints them, and their chains in that of their hooks.
const TABLES: [(&str, &[Builtin]); 5] = [
    (
        "mangle",
        &[
            ("PREROUTING", 0, -150, "filter"),
            ("INPUT", 1, -150, "filter"),
            ("FORWARD", 2, -150, "filter"),
            ("OUTPUT", 3, -150, "route"),
            ("POSTROUTING", 4, -150, "filter"),
        ],
    ),
    (
        "security",
        &[
            ("INPUT", 1, 150, "filter"),
            ("FORWARD", 2, 150, "filter"),
            ("OUTPUT", 3, 150, "filter"),
        ],
    ),
    (
        "raw",
        &[("PREROUTING", 0, -300, "filter"), ("OUTPUT", 3, -300, "filter")],
    ),
    (
        "filter",
        &[
            ("INPUT", 1, 0, "filter"),
            ("FORWARD", 2, 0, "filter"),
            ("OUTPUT", 3, 0, "filter"),
        ],
    ),
    (
        "nat",
        &[
            ("PREROUTING", 0, -100, "nat"),
            ("INPUT", 1, 100, "nat"),
            ("OUTPUT", 3, -100, "nat"),
            ("POSTROUTING", 4, 100, "nat"),
        ],
    ),
];

/// Tables of iptables-nft.
#[derive(Debug, Default)]
pub struct OfIptables {
    /// Those that are told.
    pub tables: Vec<save::Table>,
    /// Names of those that are there and not told, with what in them is not known.
    pub not_told: Vec<(String, String)>,
}

/// The tables of one family, while the kernel lists them.
pub(super) struct Collector {
    family: Family,
    has_counters: bool,
    protocols: Protocols,
    sets: Box<dyn SetNames>,
    tables: HashMap<String, Collected>,
}

#[derive(Default)]
struct Collected {
    chains: Vec<Chain>,
    index: HashMap<String, usize>,
    /// What is not known.
    unknown: Option<String>,
}

struct Chain {
    name: String,
    /// Of base chains.
    policy: Option<Policy>,
    counters: Counters,
    rules: Vec<Draft>,
}

impl Collector {
    pub(super) fn of(family: Family, has_counters: bool) -> Self {
        Self {
            family,
            has_counters,
            protocols: Protocols::of_machine(),
            sets: Box::new(KernelSets::default()),
            tables: HashMap::new(),
        }
    }

    /// The number of the family, for the kernel.
    pub(super) fn number(&self) -> u8 {
        match self.family {
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }

    /// Takes a message. Tables come before chains, and those before rules. Rules that are told need not be read otherwise.
    pub(super) fn take(&mut self, message: &Message<'_>) -> Wanted {
        if message.payload.first() != Some(&self.number()) {
            return Wanted::AsNft;
        }
        let attrs = Attrs::of(message.payload.get(NFGENMSG_BYTES..).unwrap_or_default());
        self.take_of_family(message.kind, &attrs).unwrap_or(Wanted::AsNft)
    }

    fn take_of_family(&mut self, kind: u16, attrs: &Attrs<'_>) -> Option<Wanted> {
        let name = attrs.text(1)?;
        let (_, builtin) = TABLES.iter().find(|(known, _)| *known == name)?;
        if kind == TABLE {
            self.tables.insert(name, Collected::default());
            return None;
        }
        let table = self
            .tables
            .get_mut(&name)
            .filter(|table| table.unknown.is_none())?;
        match kind {
            CHAIN => {
                if table.chain(attrs, builtin).is_none() {
                    table.unknown = Some(format!("chain {}", attrs.text(3).unwrap_or_default()));
                }
                None
            }
            RULE => {
                let mut context = rule::Context {
                    family: self.family,
                    has_counters: self.has_counters,
                    protocols: &self.protocols,
                    sets: &mut *self.sets,
                };
                if table.rule(attrs, &mut context).is_some() {
                    return Some(Wanted::NoMore);
                }
                table.unknown = Some(format!(
                    "a rule of chain {} (handle {})",
                    attrs.text(2).unwrap_or_default(),
                    attrs.be64(3).unwrap_or_default()
                ));
                table.chains.clear();
                None
            }
            _ => None,
        }
    }

    /// The tables, when all is there.
    pub(super) fn finish(mut self) -> OfIptables {
        let mut of = OfIptables::default();
        for (name, builtin) in TABLES {
            match self.tables.remove(name) {
                None => {}
                Some(Collected {
                    unknown: Some(what), ..
                }) => of.not_told.push((name.to_owned(), what)),
                Some(collected) => of.tables.push(collected.table(name, builtin, self.family)),
            }
        }
        of
    }
}

impl Collected {
    fn chain(&mut self, attrs: &Attrs<'_>, builtin: &[Builtin]) -> Option<()> {
        let name = attrs.text(3).filter(|name| !name.is_empty())?;
        let known = builtin.iter().find(|known| known.0 == name);
        let policy = match (attrs.nest(4), known) {
            (None, None) => None,
            (Some(hook), Some((_, number, priority, kind))) => {
                let is_its = hook.be32(1)? == *number
                    && hook.be32(2)?.cast_signed() == *priority
                    && attrs.text(7)? == *kind;
                is_its.then_some(())?;
                Some(match attrs.be32(5)? {
                    0 => Policy::Drop,
                    1 => Policy::Accept,
                    _ => return None,
                })
            }
            _ => return None,
        };
        let counted = attrs.nest(8);
        let number = |kind| {
            let counted = counted.as_ref();
            counted.and_then(|counted| counted.be64(kind)).unwrap_or_default()
        };
        let chain = Chain {
            name: name.clone(),
            policy,
            counters: Counters {
                packets: number(2),
                bytes: number(1),
            },
            rules: Vec::new(),
        };
        let is_new = self.index.insert(name, self.chains.len()).is_none();
        self.chains.push(chain);
        is_new.then_some(())
    }

    fn rule(&mut self, attrs: &Attrs<'_>, context: &mut rule::Context<'_>) -> Option<()> {
        let chain = *self.index.get(&attrs.text(2)?)?;
        let draft = rule::read(attrs, context)?;
        self.chains.get_mut(chain)?.rules.push(draft);
        Some(())
    }

    /// The tool shows all the chains that iptables would make, also those that are not there, then the others by their names.
    fn table(mut self, name: &str, builtin: &[Builtin], family: Family) -> save::Table {
        let mut table = DraftTable::new(name, family);
        let place = |chain: &Chain| builtin.iter().position(|known| known.0 == chain.name);
        for known in builtin {
            if !self.index.contains_key(known.0) {
                self.chains.push(Chain {
                    name: known.0.to_owned(),
                    policy: Some(Policy::Accept),
                    counters: Counters::default(),
                    rules: Vec::new(),
                });
            }
        }
        self.chains.sort_by(|one, other| {
            let key = |chain: &Chain| place(chain).unwrap_or(usize::MAX);
            key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
        });
        for chain in self.chains {
            let index = table.chain(save::Chain {
                name: chain.name.into(),
                policy: chain.policy,
                counters: Some(chain.counters),
                rules: Vec::new(),
            });
            for draft in chain.rules {
                if let Some(index) = index {
                    table.rule(index, draft);
                }
            }
        }
        table.finish()
    }
}
