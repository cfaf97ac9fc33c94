//! Reads what `nft -j list ruleset` prints: one object after the other, so that no more than one is held as JSON.

mod budget;
mod expressions;
mod fields;
mod objects;
mod sets;
mod statements;

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::model::{Chain, Family, Object, Rule, Ruleset, Set, Table, Value};
use super::shared::Shared;
use super::statement::Statement;
use budget::Budgeted;
use fields::Fields;

/// More than any real ruleset prints.
const MOST_BYTES: usize = 256 << 20;

/// Why a text is no ruleset.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is no JSON, or not that of nft.
    #[error("not what `nft -j list ruleset` prints: {0}")]
    Json(#[from] serde_json::Error),
    /// It is too long.
    #[error("a ruleset of more than {} MiB", MOST_BYTES >> 20)]
    TooLong,
}

impl Ruleset {
    /// Reads what `nft -j list ruleset` printed. The order of its objects does not matter, but for that of rules within
    /// their chain.
    ///
    /// # Errors
    /// If the text is no JSON, nested too deep, or not an object with the list `nftables`.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        if text.len() > MOST_BYTES {
            return Err(ReadError::TooLong);
        }
        let mut builder = Builder::default();
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(Top(&mut builder))?;
        json.end()?;
        Ok(builder.finish())
    }
}

/// The outermost object.
struct Top<'a>(&'a mut Builder);

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the list `nftables`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "nftables" {
                map.next_value_seed(List(&mut *self.0))?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found {
            Ok(())
        } else {
            Err(A::Error::custom("there is no list `nftables`"))
        }
    }
}

/// The list of objects.
struct List<'a>(&'a mut Builder);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(object) = list.next_element_seed(Budgeted::new())? {
            self.0.add(object);
        }
        Ok(())
    }
}

/// Tables by family and name, and within them chains and sets by name, while the list is read.
#[derive(Default)]
struct Builder {
    ruleset: Ruleset,
    tables: HashMap<(Family, String), usize>,
    chains: HashMap<(usize, String), usize>,
    sets: HashMap<(usize, String), usize>,
    shared: Shared,
}

impl Builder {
    fn add(&mut self, object: Value) {
        if self.add_known(&object).is_none() {
            self.ruleset.unknown.push(object);
        }
    }

    /// None if the object is not known, or lacks what it cannot be placed without.
    fn add_known(&mut self, object: &Value) -> Option<()> {
        let mut members = object.as_object()?.iter();
        let (kind, body) = members.next()?;
        if members.next().is_some() {
            return None;
        }
        // A list of commands, as `nft -j -f` takes it.
        if kind == "add" || kind == "create" {
            return self.add_known(body);
        }
        let fields = Fields(body.as_object()?);
        match kind.as_str() {
            "metainfo" => self.ruleset.version = fields.text("version"),
            "table" => self.add_table(fields)?,
            "chain" => {
                let table = self.table_of(fields)?;
                let chain = objects::chain(fields)?;
                self.add_chain(table, chain);
            }
            "rule" => self.add_rule(fields)?,
            "set" | "map" => {
                let table = self.table_of(fields)?;
                let set = sets::set(fields, kind == "map")?;
                self.add_set(table, set);
            }
            "element" => {
                let table = self.table_of(fields)?;
                let index = *self.sets.get(&(table, fields.text("name")?))?;
                let elements = sets::elements(fields.0.get("elem")?);
                self.ruleset.tables[table].sets[index].elements.extend(elements);
            }
            "flowtable" => {
                let table = self.table_of(fields)?;
                let flowtable = objects::flowtable(fields)?;
                self.ruleset.tables[table].flowtables.push(flowtable);
            }
            _ => {
                let table = self.table_of(fields)?;
                let object: Object = objects::object(kind, fields, body)?;
                self.ruleset.tables[table].objects.push(object);
            }
        }
        Some(())
    }

    fn table_of(&mut self, fields: Fields<'_>) -> Option<usize> {
        let family = Family::named(&fields.text("family")?)?;
        Some(self.table(family, fields.text("table")?))
    }

    fn table(&mut self, family: Family, name: String) -> usize {
        let tables = &mut self.ruleset.tables;
        *self
            .tables
            .entry((family, name))
            .or_insert_with_key(|(family, name)| {
                tables.push(Table {
                    family: *family,
                    name: name.clone(),
                    handle: None,
                    flags: Vec::new(),
                    may_be_dormant: false,
                    comment: None,
                    objects: Vec::new(),
                    sets: Vec::new(),
                    flowtables: Vec::new(),
                    chains: Vec::new(),
                });
                tables.len() - 1
            })
    }

    fn add_table(&mut self, fields: Fields<'_>) -> Option<()> {
        let family = Family::named(&fields.text("family")?)?;
        let index = self.table(family, fields.text("name")?);
        let table = &mut self.ruleset.tables[index];
        table.handle = fields.number("handle");
        table.comment = fields.text("comment");
        table.flags = fields.words("flags");
        let listed = table.flags.len();
        table
            .flags
            .retain(|flag| matches!(flag.as_str(), "dormant" | "owner" | "persist"));
        table.may_be_dormant = table.flags.len() < listed;
        Some(())
    }

    /// A chain may come after its rules, or twice.
    fn add_chain(&mut self, table: usize, chain: Chain) -> usize {
        let chains = &mut self.ruleset.tables[table].chains;
        let index = *self
            .chains
            .entry((table, chain.name.clone()))
            .or_insert(chains.len());
        match chains.get_mut(index) {
            Some(there) => {
                let rules = std::mem::take(&mut there.rules);
                *there = Chain { rules, ..chain };
            }
            None => chains.push(chain),
        }
        index
    }

    fn add_rule(&mut self, fields: Fields<'_>) -> Option<()> {
        let table = self.table_of(fields)?;
        let name = fields.text("chain")?;
        let known = self.chains.get(&(table, name.clone())).copied();
        let chain = known.unwrap_or_else(|| self.add_chain(table, objects::unlisted_chain(name)));
        let mut statements: Vec<_> = fields.list("expr").iter().map(statements::statement).collect();
        self.shared.share(&mut statements);
        let rule = Rule {
            handle: fields.number("handle"),
            comment: fields.text("comment").map(Into::into),
            statements: statements.into(),
        };
        self.ruleset.tables[table].chains[chain].rules.push(rule);
        Some(())
    }

    fn add_set(&mut self, table: usize, set: Set) {
        let sets = &mut self.ruleset.tables[table].sets;
        let index = *self.sets.entry((table, set.name.clone())).or_insert(sets.len());
        match sets.get_mut(index) {
            Some(there) => *there = set,
            None => sets.push(set),
        }
    }

    fn finish(mut self) -> Ruleset {
        self.ruleset.tables.iter_mut().for_each(mark_dynamic);
        self.ruleset
    }
}

/// A set that rules change has the flag `dynamic` (nft sets it where it is not written), which its JSON leaves out.
fn mark_dynamic(table: &mut Table) {
    let statements = table
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .flat_map(|rule| &rule.statements);
    let changed: HashSet<String> = statements.filter_map(changed_set).collect();
    for set in &mut table.sets {
        if changed.contains(&set.name) && !set.flags.iter().any(|flag| flag == "dynamic") {
            let at = set.flags.iter().position(|flag| flag == "timeout");
            set.flags
                .insert(at.unwrap_or(set.flags.len()), "dynamic".to_owned());
        }
    }
}

fn changed_set(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Set(update) => Some(update.set.clone()),
        // `add @set { … }`, which nft could not put into JSON.
        Statement::Text(text) => {
            let (_, rest) = text.split_once('@')?;
            let name = rest.split(' ').next()?;
            let operation = text.split(' ').next()?;
            matches!(operation, "add" | "update" | "delete").then(|| name.to_owned())
        }
        _ => None,
    }
}
