//! The sets of ipset that the rules of a table ask, read when a drop by that table is looked into: only for near misses. What is
//! read after a drop may differ from what was there then, so that sets prove nothing: a near miss is told only if the rules, asked
//! with them, come to what the kernel did, and the model without them is what is held against the kernel.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::budget::PerSecond;
use super::model::Model;
use super::ruletext::Ruletext;
use crate::evaluate::Table;
use crate::kernel::{NetnsNames, enter};
use crate::ruleset::ipset::{self, Sets};

/// So much time is taken for reading them in a second of drops.
const TIME_A_SECOND: Duration = Duration::from_millis(100);
/// A table that asks more sets is asked without.
const MOST_SETS: usize = 256;
/// So many members are read of all of them.
const MOST_MEMBERS: usize = 1 << 18;
/// So many tables are remembered by what they ask.
const MOST_KEPT: usize = 64;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// The tables that iptables may have: a rule of each may change a set.
const TABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// A table made ready with the sets that it asks, as they were in one second.
pub struct WithSets {
    /// The second.
    pub second: u64,
    /// The table.
    pub table: Table,
}

/// What was read last.
pub struct AskedSets {
    /// By text and table the names of the sets that are asked; empty if none are to be read.
    names: HashMap<(u64, String), Rc<[String]>>,
    last: Option<((u64, String), Rc<WithSets>)>,
    time: PerSecond<Duration>,
}

impl Default for AskedSets {
    fn default() -> Self {
        Self {
            names: HashMap::new(),
            last: None,
            time: PerSecond::new(TIME_A_SECOND),
        }
    }
}

impl AskedSets {
    /// The table with its sets, for a drop at `time_ns`: read once a second at most. `None` if it asks none, or there is no time.
    /// `read` lists the sets with these names.
    pub fn table(
        &mut self,
        text: &Ruletext,
        model: &Model,
        time_ns: u64,
        read: impl FnOnce(&[String]) -> Option<Sets>,
    ) -> Option<Rc<WithSets>> {
        let key = (text.serial, model.name().to_owned());
        let names = self.names(&key, text, model);
        if names.is_empty() {
            return None;
        }
        let second = time_ns / NANOS_PER_SECOND;
        if let Some((known, with)) = &self.last
            && (known, with.second) == (&key, second)
        {
            return Some(Rc::clone(with));
        }
        if !self.time.has_left(time_ns) {
            return None;
        }
        let begun = Instant::now();
        let with = read(&names).and_then(|mut sets| {
            // A member that goes by itself may have been there when the packet died.
            sets.forget_those_with_timeouts();
            let table = model.with(&sets)?;
            Some(Rc::new(WithSets { second, table }))
        });
        self.time.spend(begun.elapsed());
        let with = with?;
        self.last = Some((key, Rc::clone(&with)));
        Some(with)
    }

    fn names(&mut self, key: &(u64, String), text: &Ruletext, model: &Model) -> Rc<[String]> {
        if let Some(known) = self.names.get(key) {
            return Rc::clone(known);
        }
        let changes = |table: &&str| {
            let mut rules = text.saved.rules(table);
            rules.any(|rule| rule.text.contains(" -j SET "))
        };
        let mut names = model.sets.to_vec();
        // Packets that change sets may have changed them since.
        if names.len() > MOST_SETS || (!names.is_empty() && TABLES.iter().any(changes)) {
            names.clear();
        }
        if self.names.len() >= MOST_KEPT {
            self.names.clear();
        }
        let names: Rc<[String]> = names.into();
        self.names.insert(key.clone(), Rc::clone(&names));
        names
    }
}

/// Reads sets in the network namespace with this inode. `None` if it cannot be entered, or the kernel does not list one of them.
pub fn read_in(inode: u32, names: &[String]) -> Option<Sets> {
    let path = NetnsNames::path(inode)?;
    // A thread that has entered does not come back: it ends.
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            enter(&path).ok()?;
            ipset::named(names, MOST_MEMBERS)
                .inspect_err(|error| log::debug!("sets of ipset: {error}"))
                .ok()
        });
        entered.join().ok().flatten()
    })
}
