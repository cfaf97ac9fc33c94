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
use crate::ruleset::text::SavedTable;
use crate::ruleset::texts::Texts;
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

/// The same as the tool prints them.
#[derive(Debug, Default)]
pub struct TextsOfIptables {
    /// Those that are told, by their names.
    pub tables: Vec<(String, SavedTable)>,
    /// As of [`OfIptables`].
    pub not_told: Vec<(String, String)>,
}

/// As what rules are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// As they are taken apart, with what they have counted or without.
    Rules { has_counters: bool },
    /// As the tool prints them: of a large ruleset a tenth of the memory.
    Texts,
}

/// The tables of one family, while the kernel lists them.
pub(super) struct Collector {
    family: Family,
    kept_as: As,
    protocols: Protocols,
    sets: Box<dyn SetNames>,
    tables: HashMap<String, Collected>,
}

#[derive(Default)]
struct Collected {
    chains: Vec<Chain>,
    index: HashMap<Box<str>, usize>,
    /// What is not known.
    unknown: Option<String>,
}

struct Chain {
    name: String,
    /// Of base chains.
    policy: Option<Policy>,
    counters: Counters,
    rules: Kept,
}

/// Rules of a chain.
enum Kept {
    Rules(Vec<Draft>),
    Texts(Texts),
}

impl Collector {
    pub(super) fn of(family: Family, kept_as: As) -> Self {
        Self {
            family,
            kept_as,
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
                if table.chain(attrs, builtin, self.kept_as).is_none() {
                    table.unknown = Some(format!("chain {}", attrs.text(3).unwrap_or_default()));
                }
                None
            }
            RULE => {
                let mut context = rule::Context {
                    family: self.family,
                    has_counters: self.kept_as == As::Rules { has_counters: true },
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
    pub(super) fn finish(self) -> OfIptables {
        let (family, mut tables) = (self.family, Vec::new());
        let not_told = self.each(|name, collected| tables.push(collected.table(name, family)));
        OfIptables { tables, not_told }
    }

    /// The same as the tool prints them.
    pub(super) fn finish_texts(self) -> TextsOfIptables {
        let mut tables = Vec::new();
        let not_told = self.each(|name, collected| tables.push((name.to_owned(), collected.texts())));
        TextsOfIptables { tables, not_told }
    }

    /// Gives away tables with all their chains; those that are not told are returned.
    fn each(mut self, mut told: impl FnMut(&str, Collected)) -> Vec<(String, String)> {
        let mut not_told = Vec::new();
        for (name, builtin) in TABLES {
            match self.tables.remove(name) {
                None => {}
                Some(Collected {
                    unknown: Some(what), ..
                }) => not_told.push((name.to_owned(), what)),
                Some(mut collected) => {
                    collected.arrange(builtin);
                    told(name, collected);
                }
            }
        }
        not_told
    }
}

impl Kept {
    fn none(kept_as: As) -> Self {
        match kept_as {
            As::Rules { .. } => Self::Rules(Vec::new()),
            As::Texts => Self::Texts(Texts::default()),
        }
    }
}

impl Collected {
    fn chain(&mut self, attrs: &Attrs<'_>, builtin: &[Builtin], kept_as: As) -> Option<()> {
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
            rules: Kept::none(kept_as),
        };
        let is_new = self.index.insert(name.into(), self.chains.len()).is_none();
        self.chains.push(chain);
        is_new.then_some(())
    }

    fn rule(&mut self, attrs: &Attrs<'_>, context: &mut rule::Context<'_>) -> Option<()> {
        let index = *self.index.get(&*attrs.text(2)?)?;
        let draft = rule::read(attrs, context)?;
        let mut text = None;
        let draft = match &self.chains.get(index)?.rules {
            Kept::Rules(_) => Some(draft),
            Kept::Texts(_) => {
                let named = |chain: usize| self.chains.get(chain).map(|chain| chain.name.as_str());
                text = Some(draft.text(index, &self.index, &named));
                None
            }
        };
        match &mut self.chains.get_mut(index)?.rules {
            Kept::Rules(rules) => rules.extend(draft),
            Kept::Texts(texts) => text.iter().for_each(|text| texts.push(text)),
        }
        Some(())
    }

    /// The tool shows all the chains that iptables would make, also those that are not there, then the others by their names.
    fn arrange(&mut self, builtin: &[Builtin]) {
        let place = |chain: &Chain| builtin.iter().position(|known| known.0 == chain.name);
        for known in builtin {
            if !self.index.contains_key(known.0) {
                self.chains.push(Chain {
                    name: known.0.to_owned(),
                    policy: Some(Policy::Accept),
                    counters: Counters::default(),
                    rules: Kept::Rules(Vec::new()),
                });
            }
        }
        self.chains.sort_by(|one, other| {
            let key = |chain: &Chain| place(chain).unwrap_or(usize::MAX);
            key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
        });
    }

    fn table(self, name: &str, family: Family) -> save::Table {
        let mut table = DraftTable::new(name, family);
        for chain in self.chains {
            let index = table.chain(chain.declared());
            let Kept::Rules(rules) = chain.rules else { continue };
            for draft in rules {
                if let Some(index) = index {
                    table.rule(index, draft);
                }
            }
        }
        table.finish()
    }

    fn texts(self) -> SavedTable {
        let headings = self.chains.iter().map(|chain| save::heading(&chain.declared()));
        let mut table = SavedTable::declared(headings.collect());
        for chain in self.chains {
            let mut texts = match chain.rules {
                Kept::Texts(texts) => texts,
                Kept::Rules(_) => Texts::default(),
            };
            texts.shrink();
            table.chains.insert(chain.name, texts);
        }
        table
    }
}

impl Chain {
    /// Without its rules.
    fn declared(&self) -> save::Chain {
        save::Chain {
            name: self.name.as_str().into(),
            policy: self.policy,
            counters: Some(self.counters),
            rules: Vec::new(),
        }
    }
}
