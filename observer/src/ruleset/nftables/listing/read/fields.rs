//! The members of an object.

use serde_json::{Map, Value};

use crate::ruleset::nftables::listing::name::Name;

/// An object of JSON.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// None if the value is no object.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Text, or the text of a number: names of tables and chains may be digits.
    pub(super) fn text(self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The same, as the parts of expressions have it.
    pub(super) fn name(self, name: &str) -> Option<Name> {
        self.text(name).map(Name::from)
    }

    pub(super) fn number(self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    pub(super) fn signed(self, name: &str) -> Option<i64> {
        self.get(name)?.as_i64()
    }

    pub(super) fn is_true(self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A list, or the only member of one.
    pub(super) fn list(self, name: &str) -> &'a [Value] {
        match self.get(name) {
            None => &[],
            Some(Value::Array(list)) => list,
            Some(one) => std::slice::from_ref(one),
        }
    }

    /// A list of words, or the only one.
    pub(super) fn words(self, name: &str) -> Vec<String> {
        let words = self.list(name).iter();
        words.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Whether there are no members but these: what has others may mean something else.
    pub(super) fn only(self, names: &[&str]) -> Option<Self> {
        self.0
            .keys()
            .all(|name| names.contains(&name.as_str()))
            .then_some(self)
    }
}
