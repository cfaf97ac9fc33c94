//! One look at the counters of a table: those of rules and policies that can end a packet.

use std::sync::{Arc, OnceLock};

use super::effect::Effect;
use super::scene;
use crate::evaluate::{self, xtables};
use crate::report::record::{Backend, TableFamily, Tool};
use crate::ruleset::Table;
use crate::ruleset::ipset::Sets;
use crate::ruleset::nftables::listing;
use crate::ruleset::xtables::save;

/// A table at one moment.
#[derive(Clone, Debug)]
pub(super) struct TableReading {
    /// Which machinery holds it.
    pub(super) backend: Backend,
    /// Whose command shows it.
    pub(super) tool: Tool,
    /// Its family.
    pub(super) family: TableFamily,
    /// Its name.
    pub(super) name: String,
    /// nf_tables: its handle, which no other table of the namespace ever had.
    pub(super) handle: Option<u64>,
    /// What it looks like without its counters: the same as long as nobody rewrites it.
    pub(super) shape: Arc<Shape>,
    /// As many as the shape has places, in their order.
    pub(super) counts: Vec<Count>,
}

/// A table without its counters.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// A hash of all of its text but the counters.
    pub(super) hash: u64,
    /// The rules and policies that can end a packet and that count.
    pub(super) places: Vec<Place>,
    /// Rules and policies that can drop a packet, and do not count.
    pub(super) uncounted: usize,
    /// Its rules.
    pub(super) model: Model,
    /// The same as owners are known by, once it has been asked for.
    scene: OnceLock<Table>,
    /// The same as packets are put to it.
    evaluated: OnceLock<evaluate::Table>,
}

impl Shape {
    /// A shape.
    pub(super) fn new(hash: u64, places: Vec<Place>, uncounted: usize, model: Model) -> Self {
        Self {
            hash,
            places,
            uncounted,
            model,
            ..Self::default()
        }
    }
}

impl TableReading {
    /// The table as owners are known by.
    pub(super) fn scene(&self) -> &Table {
        self.shape.scene.get_or_init(|| scene::table(self))
    }

    /// The table as packets are put to it, if it is iptables'.
    pub(super) fn evaluated(&self) -> Option<(&save::Table, &evaluate::Table)> {
        let Model::Saved(saved) = &self.shape.model else {
            return None;
        };
        let ready = self
            .shape
            .evaluated
            .get_or_init(|| xtables::table(saved, &Sets::default()));
        Some((saved, ready))
    }
}

/// A table's rules, to be asked.
#[derive(Debug, Default)]
pub(super) enum Model {
    /// Of iptables.
    Saved(save::Table),
    /// Of nft: the only table of this ruleset.
    Listed(listing::Ruleset),
    /// Nobody's.
    #[default]
    None,
}

/// A rule or policy that can end a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its chain.
    pub(super) chain: String,
    /// The rule's index from 0; `None` for the policy.
    pub(super) rule: Option<usize>,
    /// nf_tables: the rule's handle.
    pub(super) handle: Option<u64>,
    /// As the tool prints it, without counters; of a policy its name.
    pub(super) text: String,
    /// What it does to the packets that it counts.
    pub(super) effect: Effect,
}

/// What a counter shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Packets.
    pub(super) packets: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// The shapes of the tables as they were last read, so that a table that nobody has rewritten is not taken apart again.
#[derive(Debug, Default)]
pub(super) struct Shapes(Vec<(Backend, TableFamily, String, Arc<Shape>)>);

impl Shapes {
    /// The shape with this hash, if the table still has it.
    pub(super) fn get(
        &self,
        backend: Backend,
        family: TableFamily,
        name: &str,
        hash: u64,
    ) -> Option<Arc<Shape>> {
        let found = self.0.iter().find(|(of, family_of, name_of, shape)| {
            (*of, *family_of, name_of.as_str(), shape.hash) == (backend, family, name, hash)
        })?;
        Some(Arc::clone(&found.3))
    }

    /// How many places count, and how many do not.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let places = self.0.iter().map(|(.., shape)| shape.places.len()).sum();
        let uncounted = self.0.iter().map(|(.., shape)| shape.uncounted).sum();
        (places, uncounted)
    }

    /// Keeps the shapes of this reading, and no others.
    pub(super) fn keep(&mut self, tables: &[TableReading]) {
        let kept = tables.iter().map(|table| {
            let shape = Arc::clone(&table.shape);
            (table.backend, table.family, table.name.clone(), shape)
        });
        self.0 = kept.collect();
    }
}
