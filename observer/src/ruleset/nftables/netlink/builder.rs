//! Messages of nf_tables, put together into a ruleset: tables, then chains and sets with their elements, then rules.

use std::collections::HashMap;

use super::objects;
use super::rule::Reader;
use super::sets::{self, Known, MOST_ELEMENTS};
use super::types::Devices;
use super::wire::{Attrs, text, user_text};
use super::{NotRead, Unread};
use crate::kernel::netlink::{Message, attributes};
use crate::ruleset::nftables::listing::{Family, Rule, Ruleset, Shared, Statement, Table, Value};

/// `NFNL_SUBSYS_NFTABLES`
pub(super) const SUBSYSTEM: u16 = 10 << 8;
// `NFT_MSG_NEW…`
pub(super) const TABLE: u16 = SUBSYSTEM;
pub(super) const CHAIN: u16 = SUBSYSTEM | 3;
pub(super) const RULE: u16 = SUBSYSTEM | 6;
const SET: u16 = SUBSYSTEM | 9;
const ELEMENTS: u16 = SUBSYSTEM | 12;
const OBJECT: u16 = SUBSYSTEM | 18;
const FLOWTABLE: u16 = SUBSYSTEM | 22;
/// `struct nfgenmsg`: family, version, resource id.
pub(super) const NFGENMSG_BYTES: usize = 4;

/// A ruleset while it is read.
#[derive(Default)]
pub(super) struct Builder {
    devices: Devices,
    ruleset: Ruleset,
    tables: HashMap<(Family, String), usize>,
    chains: HashMap<(usize, String), usize>,
    /// For each table its sets by name, and in which order they came.
    sets: Vec<HashMap<String, Known>>,
    order: Vec<Vec<String>>,
    is_settled: bool,
    shared: Shared,
    unread: Unread,
}

impl Builder {
    /// Nothing yet, in a namespace with these devices.
    pub(super) fn with(devices: Devices) -> Self {
        Self {
            devices,
            ..Self::default()
        }
    }

    /// Takes a message; whatever cannot be read is noted.
    pub(super) fn take(&mut self, message: &Message<'_>) {
        let Some(body) = message.payload.get(NFGENMSG_BYTES..) else {
            return self.unread.add(&NotRead::Message);
        };
        let Some(family) = objects::family(message.payload[0]) else {
            return self.unread.add(&NotRead::Message);
        };
        let attrs = Attrs::of(body);
        let done = match message.kind {
            TABLE => self.table(family, &attrs),
            CHAIN => self.chain(family, &attrs),
            SET => self.set(family, &attrs),
            ELEMENTS => self.elements(family, &attrs),
            OBJECT => self.object(family, &attrs),
            FLOWTABLE => self.flowtable(family, &attrs),
            RULE => self.rule(family, &attrs),
            _ => Ok(()),
        };
        if let Err(what) = done {
            self.unread.add(&what);
        }
    }

    fn table(&mut self, family: Family, attrs: &Attrs<'_>) -> Result<(), NotRead> {
        let table = objects::table(family, attrs).ok_or(NotRead::Message)?;
        let key = (family, table.name.clone());
        if self.tables.contains_key(&key) {
            return Err(NotRead::Message);
        }
        self.tables.insert(key, self.ruleset.tables.len());
        self.ruleset.tables.push(table);
        self.sets.push(HashMap::new());
        self.order.push(Vec::new());
        Ok(())
    }

    /// `None`: it is of a table that was not asked for.
    fn of_table(&self, family: Family, attrs: &Attrs<'_>) -> Result<Option<usize>, NotRead> {
        let bytes = attrs.get(1).ok_or(NotRead::Message)?;
        // A table whose name is no UTF-8 is not among them: that was noted where it was asked for.
        Ok(text(bytes).and_then(|name| self.tables.get(&(family, name)).copied()))
    }

    fn chain(&mut self, family: Family, attrs: &Attrs<'_>) -> Result<(), NotRead> {
        let Some(table) = self.of_table(family, attrs)? else {
            return Ok(());
        };
        let chain = objects::chain(family, attrs).ok_or(NotRead::Message)?;
        let chains = &mut self.ruleset.tables[table].chains;
        let key = (table, chain.name.clone());
        if self.chains.contains_key(&key) {
            return Err(NotRead::Message);
        }
        self.chains.insert(key, chains.len());
        chains.push(chain);
        Ok(())
    }

    fn set(&mut self, family: Family, attrs: &Attrs<'_>) -> Result<(), NotRead> {
        let Some(table) = self.of_table(family, attrs)? else {
            return Ok(());
        };
        let known = sets::set(attrs, &self.devices)?;
        let name = known.set.name.clone();
        let sets = &mut self.sets[table];
        if sets.contains_key(&name) {
            return Err(NotRead::Message);
        }
        sets.insert(name.clone(), known);
        self.order[table].push(name);
        Ok(())
    }

    /// The sets whose elements are to be asked for, as table and name.
    pub(super) fn sets(&self) -> Vec<(Family, String, String)> {
        let tables = self.ruleset.tables.iter().zip(&self.order);
        let of_table = |(table, order): (&Table, &Vec<String>)| {
            let (family, name) = (table.family, table.name.clone());
            let of_set = move |set: &String| (family, name.clone(), set.clone());
            order.iter().map(of_set).collect::<Vec<_>>()
        };
        tables.flat_map(of_table).collect()
    }

    fn elements(&mut self, family: Family, attrs: &Attrs<'_>) -> Result<(), NotRead> {
        let Some(table) = self.of_table(family, attrs)? else {
            return Ok(());
        };
        let name = attrs.text(2).ok_or(NotRead::Message)?;
        let Some(known) = self.sets[table].get_mut(&name) else {
            // What kind of set it is was not read, and that was said.
            return Ok(());
        };
        for bytes in attrs.list(3) {
            let is_taken =
                known.len() < MOST_ELEMENTS && known.element(&Attrs::of(bytes), &self.devices).is_some();
            if !is_taken {
                return Err(NotRead::Set(name));
            }
        }
        Ok(())
    }

    fn object(&mut self, family: Family, attrs: &Attrs<'_>) -> Result<(), NotRead> {
        let Some(table) = self.of_table(family, attrs)? else {
            return Ok(());
        };
        let of = &mut self.ruleset.tables[table];
        let name = || NotRead::Object(attrs.text(2).unwrap_or_default());
        let object = objects::object(family, &of.name, attrs).ok_or_else(name)?;
        of.objects.push(object);
        Ok(())
    }

    fn flowtable(&mut self, family: Family, attrs: &Attrs<'_>) -> Result<(), NotRead> {
        let Some(table) = self.of_table(family, attrs)? else {
            return Ok(());
        };
        let name = || NotRead::Object(attrs.text(2).unwrap_or_default());
        let flowtable = objects::flowtable(attrs).ok_or_else(name)?;
        self.ruleset.tables[table].flowtables.push(flowtable);
        Ok(())
    }

    fn settle(&mut self) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        for sets in &mut self.sets {
            for known in sets.values_mut() {
                if known.settle(&self.devices).is_none() {
                    self.unread.add(&NotRead::Set(known.set.name.clone()));
                }
            }
        }
    }

    fn rule(&mut self, family: Family, attrs: &Attrs<'_>) -> Result<(), NotRead> {
        self.settle();
        let Some(table) = self.of_table(family, attrs)? else {
            return Ok(());
        };
        let name = attrs.text(2).ok_or(NotRead::Message)?;
        let chain = *self.chains.get(&(table, name)).ok_or(NotRead::Message)?;
        let handle = attrs.be64(3);
        let expressions = attributes(attrs.get(4).unwrap_or_default()).map(|(_, bytes)| bytes);
        let reader = Reader::new(family, &self.sets[table], &self.devices);
        let statements = reader.read(expressions);
        let is_read = statements.is_some();
        let mut statements = statements.unwrap_or_else(|| Box::new([not_read()]));
        self.shared.share(&mut statements);
        let chain = &mut self.ruleset.tables[table].chains[chain];
        chain.rules.push(Rule {
            handle,
            comment: user_text(attrs.get(7), 0).map(Into::into),
            statements,
        });
        if is_read {
            return Ok(());
        }
        Err(NotRead::Rule {
            chain: chain.name.clone(),
            handle,
        })
    }

    /// The ruleset, when all is there.
    pub(super) fn finish(mut self) -> (Ruleset, Unread) {
        self.settle();
        let chains = self.ruleset.tables.iter_mut().flat_map(|table| &mut table.chains);
        chains.for_each(|chain| chain.rules.shrink_to_fit());
        for (table, (mut sets, order)) in self.sets.into_iter().zip(self.order).enumerate() {
            let named = order.iter().filter_map(|name| sets.remove(name));
            let shown = named.filter(|known| !known.is_anonymous).map(|known| known.set);
            self.ruleset.tables[table].sets.extend(shown);
        }
        (self.ruleset, self.unread)
    }
}

/// In the place of what a rule asks and does: nobody knows what comes of a packet there.
fn not_read() -> Statement {
    Statement::Unknown(Value::String("not understood as the kernel has it".to_owned()))
}
