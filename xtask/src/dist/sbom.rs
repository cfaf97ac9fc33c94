//! The bill of materials: CycloneDX 1.5 (ECMA-424), as JSON.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::VERSION;
use super::linked::{Crate, Foreign, Id, Linked};
use super::moment::Moment;

/// What is linked in, and by what. The same tree gives the same text: it has no serial number.
pub fn text(linked: &Linked, moment: &Moment) -> Result<String> {
    let root = Id {
        name: "observer".to_owned(),
        version: VERSION.to_owned(),
    };
    let own = linked.crates.get(&root).context("observer is not linked in")?;
    let others = linked.crates.iter().filter(|(id, _)| **id != root);
    let components: Vec<Value> = others
        .map(|(id, one)| component("library", id, one))
        .chain(linked.foreign.iter().map(foreign))
        .collect();
    let mut document = serde_json::to_string_pretty(&json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": moment.as_json()?,
            "component": component("application", &root, own),
        },
        "components": components,
        "dependencies": dependencies(linked, &root),
    }))?;
    document.push('\n');
    Ok(document)
}

/// By which a component is named in the rest of the document.
fn reference(id: &Id) -> String {
    format!("pkg:cargo/{}@{}", id.name, id.version)
}

fn foreign_reference(one: &Foreign) -> String {
    format!("pkg:generic/{}@{}", one.name, one.version)
}

fn component(kind: &str, id: &Id, one: &Crate) -> Value {
    let mut value = json!({
        "type": kind,
        "bom-ref": reference(id),
        "name": id.name,
        "version": id.version,
        "purl": reference(id),
        // Some crates still write the old form for OR, which is no expression of SPDX.
        "licenses": [{"expression": one.licence.replace('/', " OR ")}],
    });
    if let Some(sum) = &one.checksum {
        value["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    value
}

fn foreign(one: &Foreign) -> Value {
    json!({
        "type": "library",
        "bom-ref": foreign_reference(one),
        "name": one.name,
        "version": one.version,
        "purl": foreign_reference(one),
        "licenses": [{"expression": one.licence}],
        "description": one.note,
    })
}

/// observer is linked with its kernel programs too, although no `use` of it says so, and with what comes with the compiler.
fn dependencies(linked: &Linked, root: &Id) -> Vec<Value> {
    let mut all = Vec::new();
    for (id, one) in &linked.crates {
        let mut needs: Vec<String> = one.needs.iter().map(reference).collect();
        if id == root {
            let programs = linked.crates.keys().find(|id| id.name == "observer-ebpf");
            needs.extend(programs.map(reference));
            needs.extend(linked.foreign.iter().map(foreign_reference));
        }
        all.push(json!({"ref": reference(id), "dependsOn": needs}));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reference_is_a_component_and_everything_is_reached_from_the_program() {
        let linked = Linked::find(crate::processor::Processor::here()).unwrap();
        let moment = Moment::of_the_tree().unwrap();
        let text = text(&linked, &moment).unwrap();
        assert_eq!(text, super::text(&linked, &moment).unwrap());
        let document: Value = serde_json::from_str(&text).unwrap();
        let root = document["metadata"]["component"]["bom-ref"].as_str().unwrap();
        let mut known: BTreeSet<&str> = BTreeSet::from([root]);
        for component in document["components"].as_array().unwrap() {
            assert!(
                known.insert(component["bom-ref"].as_str().unwrap()),
                "{component}"
            );
        }
        let mut reached = BTreeSet::from([root]);
        loop {
            let before = reached.len();
            for one in document["dependencies"].as_array().unwrap() {
                if reached.contains(one["ref"].as_str().unwrap()) {
                    let needs = one["dependsOn"].as_array().unwrap().iter();
                    reached.extend(needs.map(|one| one.as_str().unwrap()));
                }
            }
            if reached.len() == before {
                break;
            }
        }
        assert_eq!(reached, known);
    }
}
