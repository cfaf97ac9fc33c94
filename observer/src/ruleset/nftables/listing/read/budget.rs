//! JSON with a bound on how many values one object of the list may have: a byte of text can cost much more memory.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A set of a million elements has some five million values.
const MOST_VALUES: usize = 8 << 20;

/// Reads one value of JSON.
pub(super) struct Budgeted {
    left: usize,
}

impl Budgeted {
    pub(super) fn new() -> Self {
        Self { left: MOST_VALUES }
    }
}

impl<'de> DeserializeSeed<'de> for Budgeted {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(One(&mut self.left))
    }
}

struct One<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| D::Error::custom("an object with too many parts"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(One(self.0))? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key()? {
            map.insert(key, members.next_value_seed(One(self.0))?);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_with_too_many_parts_is_refused() {
        let text = format!("[{}0]", "0,".repeat(9));
        let mut left = 9;
        let mut json = serde_json::Deserializer::from_str(&text);
        let error = json.deserialize_any(One(&mut left)).expect_err("too many");
        assert!(error.to_string().contains("too many parts"));
        let mut left = 10;
        let mut json = serde_json::Deserializer::from_str(&text);
        assert!(json.deserialize_any(One(&mut left)).is_ok());
    }
}
