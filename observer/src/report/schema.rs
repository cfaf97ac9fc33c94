//! What record.rs writes is what docs/trace-v1.schema.json allows, and what docs/trace-format.md describes.

use std::collections::BTreeSet;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use super::record::samples;
use super::record::{Confidence, DropLine, Evidence, PacketFamily};

const SCHEMA: &str = include_str!("../../../docs/trace-v1.schema.json");
const FORMAT: &str = include_str!("../../../docs/trace-format.md");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

fn compiled() -> (Schemas, SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler
        .add_resource("trace-v1.schema.json", schema())
        .expect("the schema is taken");
    let index = compiler
        .compile("trace-v1.schema.json", &mut schemas)
        .expect("the schema compiles");
    (schemas, index)
}

fn is_valid(line: &Value) -> bool {
    let (schemas, index) = compiled();
    schemas.validate(line, index).is_ok()
}

fn values() -> Vec<Value> {
    samples::all()
        .iter()
        .map(|line| serde_json::to_value(line).expect("serialises"))
        .collect()
}

/// The sample of the two-node cluster, changed at one place.
fn changed(pointer: &str, value: Option<Value>) -> Value {
    let mut line = serde_json::to_value(samples::drop_line(samples::policy_drop())).expect("serialises");
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = line
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("an object");
    match value {
        Some(value) => parent.insert(field.to_owned(), value),
        None => parent.remove(field),
    };
    line
}

#[test]
fn every_sample_is_valid() {
    let (schemas, index) = compiled();
    for line in values() {
        if let Err(error) = schemas.validate(&line, index) {
            panic!("{error:#}\n{line:#}");
        }
    }
}

#[test]
fn the_least_drop_is_valid() {
    let mut least = DropLine::default();
    least.drop.text = Some("not known".into());
    least.packet.family = PacketFamily::Other;
    assert!(is_valid(
        &serde_json::to_value(samples::drop_line(least)).expect("serialises")
    ));
}

#[test]
fn evidence_without_a_name_here_is_valid() {
    let mut drop = samples::policy_drop();
    drop.drop.evidence.push(Evidence::Other("later".into()));
    drop.drop.confidence = Confidence::Inferred;
    assert!(is_valid(
        &serde_json::to_value(samples::drop_line(drop)).expect("serialises")
    ));
}

#[test]
fn unknown_fields_and_kinds_are_allowed() {
    assert!(is_valid(&changed("/drop/later", Some(json!({"x": 1})))));
    assert!(is_valid(&changed("/kind", Some(json!("path")))));
}

#[test]
fn mistakes_are_caught() {
    let mistakes = [
        ("/time", Some(json!("2024-05-01T14:03:07Z"))),
        ("/node", None),
        ("/schema", Some(json!("observer.trace/v2"))),
        ("/packet", None),
        ("/packet/src", None),
        ("/packet/dst", Some(json!("example.com"))),
        ("/packet/dport", Some(json!("80"))),
        ("/packet/mark", Some(json!(0))),
        ("/packet/ttl", Some(Value::Null)),
        ("/drop/layer", Some(json!("firewall"))),
        ("/drop/policy", None),
        ("/drop/table", None),
        ("/drop/rule", Some(json!({"number": 1}))),
        ("/drop/evidence", Some(json!([]))),
        ("/drop/confidence", Some(json!("certain"))),
        ("/flow/packets", Some(json!(0))),
        ("/flow/nat", Some(json!([]))),
        ("/in", Some(json!(""))),
    ];
    for (pointer, value) in mistakes {
        assert!(!is_valid(&changed(pointer, value.clone())), "{pointer} {value:?}");
    }
}

/// Every field that stands in a sample or in the schema is described.
#[test]
fn every_field_is_documented() {
    let mut fields = BTreeSet::new();
    values().iter().for_each(|line| collect_keys(line, &mut fields));
    collect_properties(&schema(), &mut fields);
    for field in fields {
        let is_backend = matches!(field.as_str(), "legacy" | "iptables-nft" | "nft");
        assert!(
            is_backend || FORMAT.contains(&format!("`{field}`")),
            "{field} is not in docs/trace-format.md"
        );
    }
}

fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            keys.insert(key.clone());
            collect_keys(value, keys);
        }),
        Value::Array(array) => array.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

fn collect_properties(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| collect_properties(value, keys));
        }
        Value::Array(array) => array.iter().for_each(|value| collect_properties(value, keys)),
        _ => {}
    }
}
