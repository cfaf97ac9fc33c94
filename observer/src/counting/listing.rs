//! What `nft -j list ruleset` prints, as readings. A handle is given to one rule of a table and never again, so that
//! rules are known by it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::effect::{CountedBy, of_rule, uses};
use super::reading::{Count, Model, Place, Shape, Shapes, TableReading};
use crate::report::record::{Backend, TableFamily, Tool};
use crate::ruleset::nftables::listing::{Chain, ObjectKind, Rule, Ruleset, Statement, Table, ValueOrName};

/// The tables of a ruleset but those that `is_known` already, from iptables-nft.
pub(super) fn tables(
    ruleset: &Ruleset,
    shapes: &Shapes,
    is_known: impl Fn(TableFamily, &str) -> bool,
) -> Vec<TableReading> {
    let tables = ruleset.tables.iter();
    tables
        .filter_map(|table| {
            let family = TableFamily::from(table.family);
            if is_known(family, &table.name) {
                return None;
            }
            Some(reading(table, family, shapes))
        })
        .collect()
}

fn reading(table: &Table, family: TableFamily, shapes: &Shapes) -> TableReading {
    let hash = hash(table);
    let known = shapes.get(Backend::Nft, family, &table.name, hash);
    let shape = known.unwrap_or_else(|| Arc::new(shape(table, hash)));
    let chains: HashMap<&str, &Chain> = table
        .chains
        .iter()
        .map(|chain| (chain.name.as_str(), chain))
        .collect();
    let count = |place: &Place| {
        let rule = chains.get(place.chain.as_str())?.rules.get(place.rule?)?;
        let (packets, bytes) = match of_rule(&rule.statements)?.1 {
            CountedBy::Own(packets, bytes) => (packets, bytes),
            CountedBy::Named(name) => named(table, &name)?,
            CountedBy::Nothing => return None,
        };
        Some(Count { packets, bytes })
    };
    let counts = shape.places.iter().map(|place| count(place).unwrap_or_default());
    TableReading {
        backend: Backend::Nft,
        tool: Tool::Nft,
        family,
        name: table.name.clone(),
        handle: table.handle,
        counts: counts.collect(),
        shape,
    }
}

/// Of chains, policies and handles: a rule that is changed gets another one, and so does a table that is made anew.
fn hash(table: &Table) -> u64 {
    let mut hasher = DefaultHasher::new();
    table.handle.hash(&mut hasher);
    for chain in &table.chains {
        chain.name.hash(&mut hasher);
        let base = chain.base.as_ref();
        base.map(|base| (&base.hook, &base.policy)).hash(&mut hasher);
        for rule in &chain.rules {
            rule.handle.hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn shape(table: &Table, hash: u64) -> Shape {
    let (mut places, mut uncounted) = (Vec::new(), 0);
    for chain in &table.chains {
        let policy = chain.base.as_ref().and_then(|base| base.policy.as_deref());
        // nft shows no counter of a policy.
        uncounted += usize::from(policy == Some("drop"));
        for (index, rule) in chain.rules.iter().enumerate() {
            let Some((effect, counted)) = of_rule(&rule.statements) else {
                continue;
            };
            let counts = match counted {
                CountedBy::Own(..) => true,
                // What two rules share names neither.
                CountedBy::Named(name) => uses(table, &name) == 1 && named(table, &name).is_some(),
                CountedBy::Nothing => false,
            };
            if !counts || rule.handle.is_none() {
                uncounted += 1;
                continue;
            }
            places.push(Place {
                chain: chain.name.clone(),
                rule: Some(index),
                handle: rule.handle,
                text: stateless(rule).text(table.family),
                effect,
            });
        }
    }
    let alone = Ruleset {
        tables: vec![table.clone()],
        ..Ruleset::default()
    };
    Shape::new(hash, places, uncounted, Model::Listed(alone))
}

/// As `nft -s` prints it: what a counter shows is not a part of the rule.
fn stateless(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    for statement in &mut rule.statements {
        if let Statement::Counter(ValueOrName::Value(counter)) = statement {
            counter.counted = None;
        }
    }
    rule
}

fn named(table: &Table, name: &str) -> Option<(u64, u64)> {
    table.objects.iter().find_map(|object| match object.kind {
        ObjectKind::Counter { packets, bytes } if object.name == name => Some((packets, bytes)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::effect::Effect;
    use super::*;

    const LISTED: &str = r#"{"nftables":[
{"table":{"family":"inet","name":"lab","handle":1}},
{"counter":{"family":"inet","name":"one","table":"lab","handle":9,"packets":7,"bytes":70}},
{"counter":{"family":"inet","name":"two","table":"lab","handle":10,"packets":5,"bytes":50}},
{"chain":{"family":"inet","table":"lab","name":"forward","handle":2,"type":"filter","hook":"forward","prio":0,"policy":"drop"}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":3,"expr":[{"counter":{"packets":1,"bytes":9}},{"accept":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":4,"expr":[{"counter":{"packets":4,"bytes":40}},{"drop":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":5,"expr":[{"drop":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":6,"expr":[{"counter":"one"},{"reject":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":7,"expr":[{"counter":"two"},{"drop":null}]}},
{"rule":{"family":"inet","table":"lab","chain":"forward","handle":8,"expr":[{"counter":"two"},{"drop":null}]}}
]}"#;

    fn read(text: &str, shapes: &Shapes) -> TableReading {
        let ruleset = Ruleset::read(text).expect("reads");
        let mut found = tables(&ruleset, shapes, |_, _| false);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn rules_that_count_what_they_drop_are_read_and_the_others_counted() {
        let table = read(LISTED, &Shapes::default());
        let pairs = table.shape.places.iter().zip(&table.counts);
        let found: Vec<_> = pairs
            .map(|(place, count)| (place.handle, place.rule, place.effect, count.packets))
            .collect();
        assert_eq!(
            found,
            [
                (Some(4), Some(1), Effect::Drop, 4),
                (Some(6), Some(3), Effect::Reject, 7)
            ]
        );
        assert_eq!(table.shape.places[0].text, "counter drop");
        // The policy, the rule without a counter, and the two that share one.
        assert_eq!(table.shape.uncounted, 4);
    }

    #[test]
    fn a_tables_shape_is_its_handles() {
        let table = read(LISTED, &Shapes::default());
        let mut shapes = Shapes::default();
        shapes.keep(std::slice::from_ref(&table));
        let later = read(&LISTED.replace("\"packets\":4", "\"packets\":6"), &shapes);
        assert!(Arc::ptr_eq(&later.shape, &table.shape));
        assert_eq!(later.counts[0].packets, 6);
        let rewritten = read(&LISTED.replace("\"handle\":4", "\"handle\":44"), &shapes);
        assert!(!Arc::ptr_eq(&rewritten.shape, &table.shape));
        // Deleted and made anew, its rules begin with the same handles.
        let text = LISTED.replace("\"name\":\"lab\",\"handle\":1", "\"name\":\"lab\",\"handle\":2");
        assert!(!Arc::ptr_eq(&read(&text, &shapes).shape, &table.shape));
    }

    #[test]
    fn tables_that_iptables_showed_are_not_read_twice() {
        let ruleset = Ruleset::read(LISTED).expect("reads");
        assert!(
            tables(&ruleset, &Shapes::default(), |family, name| (family, name)
                == (TableFamily::Inet, "lab"))
            .is_empty()
        );
    }
}
