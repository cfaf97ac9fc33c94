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
    changed_in(samples::policy_drop(), pointer, value)
}

/// The second passage of its way, where kube-proxy translates, changed at one place.
fn on_the_way(pointer: &str, value: Option<Value>) -> Value {
    changed_in(samples::path_drop(), &format!("/path/1{pointer}"), value)
}

fn changed_in(drop: DropLine, pointer: &str, value: Option<Value>) -> Value {
    let mut line = serde_json::to_value(samples::drop_line(drop)).expect("serialises");
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
    assert!(is_valid(&changed("/kind", Some(json!("later")))));
    let change = json!({"kind": "later", "x": 1});
    assert!(is_valid(&on_the_way("/changes", Some(json!([change])))));
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
        (
            "/drop/disagreement",
            Some(json!({"replayed": [{"table": "t", "chain": "c"}]})),
        ),
        (
            "/drop/disagreement",
            Some(json!({"text": "odds", "replayed": []})),
        ),
        ("/drop/confidence", Some(json!("certain"))),
        ("/flow/packets", Some(json!(0))),
        ("/flow/nat", Some(json!([]))),
        ("/in", Some(json!(""))),
        ("/path", Some(json!([]))),
        ("/path", Some(json!([{"hook": "FORWARD"}]))),
        ("/drop/priority", Some(json!(0))),
        ("/kind", Some(json!("path"))),
        ("/kind", Some(json!("probes"))),
        ("/hints", Some(json!([{"kind": "fix", "text": "no command"}]))),
        (
            "/hints",
            Some(json!([{"kind": "owner", "text": "who", "command": "ls"}])),
        ),
        ("/hints", Some(json!([{"kind": "owner"}]))),
    ];
    for (pointer, value) in mistakes {
        assert!(!is_valid(&changed(pointer, value.clone())), "{pointer} {value:?}");
    }
}

#[test]
fn mistakes_about_counters_are_caught() {
    let of = |pointer: &str, value: Option<Value>| {
        let mut line = serde_json::to_value(samples::counter_line()).expect("serialises");
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = line.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.expect("an object");
        match value {
            Some(value) => parent.insert(field.to_owned(), value),
            None => parent.remove(field),
        };
        line
    };
    for (pointer, value) in [
        ("/counter", None),
        ("/packets", Some(json!(0))),
        ("/since", None),
        ("/rate", Some(json!(-1))),
        ("/filter", Some(json!("maybe"))),
        // Of no packet is anything known, let alone exactly.
        ("/packet", Some(json!({"family": "ip"}))),
        ("/counter/confidence", Some(json!("exact"))),
        ("/counter/effect", Some(json!("accept"))),
        ("/counter/policy", None),
        ("/counter/table", None),
        ("/counter/rule", Some(json!({"number": 1}))),
        ("/counter/function", Some(json!("conntrack"))),
        ("/counter/cause", Some(json!("hook"))),
    ] {
        assert!(!is_valid(&of(pointer, value.clone())), "{pointer} {value:?}");
    }
    assert!(is_valid(&of("/counter/later", Some(json!(1)))));
}

#[test]
fn mistakes_in_names_are_caught() {
    let mistakes = [
        ("/names", Some(json!({}))),
        ("/names/dst", Some(json!({"from": ["api"]}))),
        ("/names/dst/pod", Some(json!("nginx-0"))),
        ("/names/dst/pod", Some(json!("web/nginx_0"))),
        ("/names/dst/from", None),
        ("/names/dst/containers", Some(json!([]))),
        ("/names/original_dst/service", Some(json!("Web/nginx"))),
        ("/names/src/stale", Some(json!(false))),
    ];
    for (pointer, value) in mistakes {
        let line = changed_in(samples::named_drop(), pointer, value.clone());
        assert!(!is_valid(&line), "{pointer} {value:?}");
    }
    let later = changed_in(samples::named_drop(), "/names/dst/from", Some(json!(["later"])));
    assert!(is_valid(&later));
}

#[test]
fn mistakes_on_the_way_are_caught() {
    let mistakes = [
        ("/hook", None),
        ("/hook", Some(json!("prerouting"))),
        ("/evidence", None),
        ("/evidence", Some(json!("guessed"))),
        ("/at", Some(json!("14:03"))),
        ("/table", None),
        ("/backend", None),
        ("/priority", Some(json!("filter"))),
        ("/verdict", Some(json!("DENY"))),
        ("/outer", Some(json!({"src": "10.0.0.10"}))),
        ("/steps", Some(json!([]))),
        ("/steps/0/chain", None),
        ("/steps/0/rule", Some(json!(0))),
        ("/steps/0/goto", Some(json!("KUBE-SERVICES"))),
        ("/steps/0/policy", Some(json!("ACCEPT"))),
        ("/steps/0/times", Some(json!(1))),
        ("/changes/0/to", None),
        ("/changes/0/to", Some(json!("nginx:80"))),
        ("/changes/1/to", Some(json!("10.224.2.16:80"))),
        ("/note", Some(json!(""))),
    ];
    for (pointer, value) in mistakes {
        assert!(
            !is_valid(&on_the_way(pointer, value.clone())),
            "{pointer} {value:?}"
        );
    }
    for right in ["10.224.2.16", "fd00::1", "[fd00::1]:80"] {
        assert!(
            is_valid(&on_the_way("/changes/0/to", Some(json!(right)))),
            "{right}"
        );
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
