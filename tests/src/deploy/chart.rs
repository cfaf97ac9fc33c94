//! The chart, rendered as helm would. This is no helm: the language of its templates is read by a library that knows Go's
//! (`text/template`), and of helm's own words the chart uses `.Values` and `.Release.Namespace` alone.

use std::fs;

use anyhow::{Context, Result, anyhow};
use gtmpl::Value as Filling;
use serde_json::{Map, Value, json};

use super::{documents, folder, read};

/// The documents that the chart comes to, for a release in this namespace, with these values beside its own.
pub fn render(namespace: &str, values: &Value) -> Result<Vec<Value>> {
    let own = documents(&read("helm/observer/values.yaml")?)?;
    let mut all = own.into_iter().next().context("the chart has no values")?;
    merge(&mut all, values);
    let context = filling(&json!({"Values": all, "Release": {"Namespace": namespace}}));
    let dir = folder().join("helm/observer/templates");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut rendered = Vec::new();
    for file in files {
        let template =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = gtmpl::template(&template, context.clone())
            .map_err(|error| anyhow!("{} is no template: {error}", file.display()))?;
        rendered.extend(documents(&text).with_context(|| format!("{} renders to\n{text}", file.display()))?);
    }
    Ok(rendered)
}

/// What is said replaces what is there, key by key.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn filling(value: &Value) -> Filling {
    match value {
        Value::Null => Filling::Nil,
        Value::Bool(is) => Filling::Bool(*is),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Filling::String(number.to_string()), Filling::from),
        Value::String(text) => Filling::String(text.clone()),
        Value::Array(all) => Filling::Array(all.iter().map(filling).collect()),
        Value::Object(all) => Filling::Object(pairs(all)),
    }
}

fn pairs(all: &Map<String, Value>) -> std::collections::HashMap<String, Filling> {
    all.iter()
        .map(|(key, value)| (key.clone(), filling(value)))
        .collect()
}
