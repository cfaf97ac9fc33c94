//! Sets of ipset, which the match `set` of iptables asks: read from the kernel, and from what `ipset save` prints.

mod kind;
mod members;
mod netlink;
mod save;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub use kind::Part;
pub use members::{DeviceMember, Held, Key};
pub use netlink::{in_force, named};
pub use save::{ParseError, parse};

use super::xtables::save::{Action, Extension, Family, Match, Table};
use kind::parts;
use members::Members;

/// All members of all sets that are kept: more than any node has.
const MOST_MEMBERS: usize = 1_000_000;

/// A set.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: Box<str>,
    /// What its members consist of; the name of its type says so.
    pub parts: Box<[Part]>,
    /// Packets of another family never match; `None`: of any.
    pub family: Option<Family>,
    /// The bits of a mark that count.
    pub mark_mask: u32,
    /// Whether members count packets.
    pub has_counters: bool,
    /// Whether members go by themselves.
    pub has_timeout: bool,
    /// Length of the network that a whole address stands for, if it is not the address alone.
    netmask: Option<u8>,
    members: Members,
}

impl Set {
    /// A set without members, of a type such as `hash:ip,port`.
    fn new(name: &str, type_name: &str, family: Option<Family>) -> Self {
        let known = parts(type_name);
        let members = if known.is_none() {
            Members::Unread("sets of this type are not known")
        } else if type_name == "list:set" {
            Members::Sets(Vec::new())
        } else {
            Members::default()
        };
        // Of these the family is not asked (`ip_set_test`, net/netfilter/ipset/ip_set_core.c).
        let has_family = !matches!(type_name, "list:set" | "bitmap:port" | "hash:mac");
        Self {
            name: name.into(),
            parts: known.unwrap_or_default(),
            family: family.filter(|_| has_family),
            mark_mask: u32::MAX,
            members,
            ..Self::default()
        }
    }

    /// Why its members are not known, if they are not.
    pub fn unread(&self) -> Option<&'static str> {
        match self.members {
            Members::Unread(why) => Some(why),
            _ => None,
        }
    }

    /// How many members it has; of a list: how many sets.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Has whole addresses stand for networks of this length.
    fn mask_addresses(&mut self, bits: u8) {
        if *self.parts != [Part::Address] || bits > members::whole(self.family) {
            return self.give_up("the set masks addresses in a way that is not known");
        }
        self.netmask = Some(bits);
    }

    fn give_up(&mut self, why: &'static str) {
        self.members = Members::Unread(why);
    }
}

/// The sets of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    known: HashMap<Box<str>, Arc<Set>>,
    changing: HashSet<Box<str>>,
}

impl Sets {
    /// Adds sets; one that has the name of another takes its place.
    pub fn add(&mut self, sets: Vec<Set>) {
        let named = sets.into_iter().map(|set| (set.name.clone(), Arc::new(set)));
        self.known.extend(named);
    }

    /// The sets that a packet is looked for in where this one is asked: itself, or those of a list.
    ///
    /// # Errors
    /// Why that is not known, and whether the same packet would be told the same twice.
    pub fn asked(&self, name: &str) -> Result<Vec<Arc<Set>>, (&'static str, bool)> {
        if self.changing.contains(name) {
            return Err(("rules change the set (-j SET)", false));
        }
        let set = self.known.get(name).ok_or(NOT_KNOWN)?;
        let names = match &set.members {
            Members::Unread(why) => return Err((*why, true)),
            Members::Known { .. } => return Ok(vec![Arc::clone(set)]),
            Members::Sets(names) => names,
        };
        let mut found = Vec::new();
        for name in names {
            if self.changing.contains(name) {
                return Err(("rules change a set of the list (-j SET)", false));
            }
            let member = self.known.get(name).ok_or(NOT_KNOWN)?;
            match &member.members {
                Members::Unread(why) => return Err((*why, true)),
                // The kernel allows no list in a list.
                Members::Sets(_) => return Err(NOT_KNOWN),
                Members::Known { .. } => found.push(Arc::clone(member)),
            }
        }
        Ok(found)
    }

    /// Takes for unknown what is in sets whose members go by themselves.
    pub fn forget_those_with_timeouts(&mut self) {
        for set in self.known.values_mut().filter(|set| set.has_timeout) {
            *set = Arc::new(Set {
                members: Members::Unread("its members go by themselves"),
                name: set.name.clone(),
                ..Set::default()
            });
        }
    }

    /// The names of the sets that lists here have and that are not here.
    fn missing_of_lists(&self) -> Vec<String> {
        let lists = self.known.values().filter_map(|set| match &set.members {
            Members::Sets(names) => Some(names),
            _ => None,
        });
        let names = lists.flatten().filter(|name| !self.known.contains_key(*name));
        let mut names: Vec<String> = names.map(ToString::to_string).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The names of sets that the matches of these tables ask and that are not here.
    pub fn missing<'t>(&self, tables: &'t [Table]) -> Vec<&'t str> {
        let mut names: Vec<&str> = asked_by(tables).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| !self.known.contains_key(*name));
        names
    }

    /// Marks the sets that targets of these tables add to or delete from: a packet may meet them changed by itself.
    pub fn changed_by(&mut self, tables: &[Table]) {
        let actions = rules_of(tables).map(|rule| &rule.action);
        let targets = actions.filter_map(|action| match action {
            Action::Other(extension) if &*extension.name == "SET" => Some(extension),
            _ => None,
        });
        for option in targets.flat_map(|target| &target.options) {
            let name = option.values.first().map(|value| &value.text);
            let Some(name) = name.filter(|_| matches!(&*option.name, "--add-set" | "--del-set")) else {
                continue;
            };
            // What is added to a list is added to the sets in it.
            if let Some(Members::Sets(names)) = self.known.get(name).map(|set| &set.members) {
                self.changing.extend(names.iter().cloned());
            }
            self.changing.insert(name.clone());
        }
    }
}

const NOT_KNOWN: (&str, bool) = ("the set's elements are not known", true);

/// The sets that the matches of these tables name.
pub fn asked_by(tables: &[Table]) -> impl Iterator<Item = &str> {
    rules_of(tables).flat_map(asked)
}

/// The sets that the matches of a rule name.
pub fn asked(rule: &super::xtables::save::Rule) -> impl Iterator<Item = &str> {
    rule.matches.iter().filter_map(|found| match found {
        Match::Other(extension) if &*extension.name == "set" => set_name(extension),
        _ => None,
    })
}

/// The set that a match names.
pub fn set_name(extension: &Extension) -> Option<&str> {
    let mut options = extension.options.iter();
    let option = options.find(|option| &*option.name == "--match-set")?;
    option.values.first().map(|value| &*value.text)
}

fn rules_of(tables: &[Table]) -> impl Iterator<Item = &super::xtables::save::Rule> {
    let chains = tables.iter().flat_map(|table| &table.chains);
    chains.flat_map(|chain| &chain.rules)
}
