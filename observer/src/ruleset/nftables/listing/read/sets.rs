//! Sets, maps and their elements.

use super::expressions::expression;
use super::fields::Fields;
use super::statements;
use crate::ruleset::nftables::listing::expression::{Element, Own};
use crate::ruleset::nftables::listing::model::{Set, Value};

pub(super) fn set(fields: Fields<'_>, is_map: bool) -> Option<Set> {
    let data_types = match is_map {
        true => Some(types(fields.get("map")?)),
        false => None,
    };
    Some(Set {
        name: fields.text("name")?,
        handle: fields.number("handle"),
        key_types: fields.get("type").map(types).unwrap_or_default(),
        data_types,
        policy: fields.text("policy"),
        flags: fields.words("flags"),
        size: fields.number("size"),
        timeout: fields.number("timeout"),
        gc_interval: fields.number("gc-interval"),
        auto_merge: fields.is_true("auto-merge"),
        comment: fields.text("comment"),
        statements: fields.list("stmt").iter().map(statements::statement).collect(),
        elements: fields.get("elem").map(elements).unwrap_or_default(),
    })
}

/// A type, a list of types, or types with ` . ` between them. A `typeof` expression is shown as JSON.
fn types(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split(" . ").map(str::to_owned).collect(),
        Value::Array(list) => list.iter().flat_map(types).collect(),
        other => vec![other.to_string()],
    }
}

/// Elements of a set, which are values, or of a map, which are pairs.
pub(super) fn elements(value: &Value) -> Vec<Element> {
    match value {
        Value::Array(list) => list.iter().map(element).collect(),
        one => vec![element(one)],
    }
}

fn element(value: &Value) -> Element {
    match value.as_array().map(Vec::as_slice) {
        Some([key, data]) => Element {
            data: Some(expression(data)),
            ..bare_element(key)
        },
        _ => bare_element(value),
    }
}

/// `{"elem": {"val": …}}`, or the value alone.
pub(super) fn bare_element(value: &Value) -> Element {
    full_element(value).unwrap_or_else(|| Element::of(expression(value)))
}

fn full_element(value: &Value) -> Option<Element> {
    const KNOWN: [&str; 8] = [
        "val", "timeout", "expires", "comment", "counter", "limit", "quota", "ct count",
    ];
    let fields = Fields::of(value.get("elem")?)?;
    // Newer versions of nft may add to it: then it is shown as it is.
    fields.only(&[&KNOWN[..], &["stmt", "last"]].concat())?;
    let own = KNOWN[4..].iter().filter_map(|name| {
        let body = fields.0.get(*name)?;
        let member = std::iter::once(((*name).to_owned(), body.clone()));
        Some(statements::statement(&Value::Object(member.collect())))
    });
    Some(Element {
        key: expression(fields.get("val")?),
        data: None,
        own: Own {
            statements: own
                .chain(fields.list("stmt").iter().map(statements::statement))
                .collect(),
            timeout: fields.number("timeout"),
            expires: fields.number("expires"),
            comment: fields.name("comment"),
        }
        .of_element(),
    })
}
