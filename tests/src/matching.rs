//! Partial matching of a trace line against a pattern: every field of the pattern must be in the line, the line
//! may have more.
//!
//! Instead of a value, a pattern may hold a table with one of these keys:
//! `any = [a, b]` one of them; `not = a` another value, or absent; `present = true|false` there or not;
//! `contains = "x"` a string with this part, or an array with a matching element; `absent_or = a` absent, or
//! matching; `at_least = n` a number.

use serde_json::Value;

/// What in `line` differs from `pattern`, one entry a field; empty if it matches.
pub fn mismatches(pattern: &Value, line: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", pattern, Some(line), &mut found);
    found
}

/// Whether `line` matches `pattern`.
pub fn matches(pattern: &Value, line: &Value) -> bool {
    mismatches(pattern, line).is_empty()
}

fn compare(path: &str, pattern: &Value, line: Option<&Value>, found: &mut Vec<String>) {
    if let Some((operator, operand)) = operator(pattern) {
        if !holds(operator, operand, line) {
            found.push(format!(
                "{path}: expected {operator} {operand}, got {}",
                shown(line)
            ));
        }
        return;
    }
    match (pattern, line) {
        (Value::Object(fields), Some(line @ Value::Object(_))) => {
            for (name, wanted) in fields {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                compare(&inner, wanted, line.get(name), found);
            }
        }
        _ if Some(pattern) == line => {}
        _ => found.push(format!("{path}: expected {pattern}, got {}", shown(line))),
    }
}

fn shown(line: Option<&Value>) -> String {
    line.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

fn operator(pattern: &Value) -> Option<(&str, &Value)> {
    let fields = pattern.as_object().filter(|fields| fields.len() == 1)?;
    let (name, operand) = fields.iter().next()?;
    let known = ["any", "not", "present", "contains", "absent_or", "at_least"];
    known.contains(&name.as_str()).then_some((name.as_str(), operand))
}

fn holds(operator: &str, operand: &Value, line: Option<&Value>) -> bool {
    match operator {
        "any" => match (operand.as_array(), line) {
            (Some(allowed), Some(line)) => allowed.iter().any(|one| matches(one, line)),
            _ => false,
        },
        "not" => line.is_none_or(|line| !matches(operand, line)),
        "present" => operand.as_bool() == Some(line.is_some()),
        "contains" => match (line, operand) {
            (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
            (Some(Value::Array(elements)), _) => elements.iter().any(|element| matches(operand, element)),
            _ => false,
        },
        "absent_or" => line.is_none_or(|line| matches(operand, line)),
        "at_least" => match (line.and_then(Value::as_f64), operand.as_f64()) {
            (Some(number), Some(least)) => number >= least,
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line() -> Value {
        json!({"kind": "drop", "drop": {"chain": "FORWARD", "rule": {"number": 3, "text": "-A FORWARD -j DROP"}},
               "hints": [{"kind": "fix"}, {"kind": "near-miss", "text": "10.244.0.0/16"}], "path": ["a", "b"]})
    }

    #[test]
    fn a_subset_matches() {
        assert!(matches(&json!({"drop": {"rule": {"number": 3}}}), &line()));
        assert!(matches(&json!({}), &line()));
        assert!(matches(&json!({"path": ["a", "b"]}), &line()));
    }

    #[test]
    fn a_wrong_value_fails_and_names_its_path() {
        let found = mismatches(
            &json!({"drop": {"rule": {"number": 4}, "chain": "FORWARD"}}),
            &line(),
        );
        assert_eq!(found, ["drop.rule.number: expected 4, got 3"]);
    }

    #[test]
    fn a_missing_field_fails() {
        let found = mismatches(&json!({"drop": {"policy": "DROP"}}), &line());
        assert_eq!(found, ["drop.policy: expected \"DROP\", got nothing"]);
    }

    #[test]
    fn an_array_must_be_the_same() {
        assert!(!matches(&json!({"path": ["a"]}), &line()));
        assert!(!matches(&json!({"path": ["b", "a"]}), &line()));
    }

    #[test]
    fn operators_hold_and_fail() {
        for (pattern, expected) in [
            (json!({"kind": {"any": ["drop", "path"]}}), true),
            (json!({"kind": {"any": ["path"]}}), false),
            (json!({"nothing": {"any": ["path"]}}), false),
            (json!({"kind": {"not": "lost"}}), true),
            (json!({"kind": {"not": "drop"}}), false),
            (json!({"hints": {"present": true}}), true),
            (json!({"hints": {"present": false}}), false),
            (json!({"flow": {"present": false}}), true),
            (
                json!({"hints": {"contains": {"kind": "near-miss", "text": {"contains": "10.244"}}}}),
                true,
            ),
            (
                json!({"hints": {"contains": {"kind": "near-miss", "text": {"contains": "10.245"}}}}),
                false,
            ),
            (json!({"path": {"absent_or": ["a", "b"]}}), true),
            (json!({"path": {"absent_or": ["a"]}}), false),
            (json!({"flow": {"absent_or": ["a"]}}), true),
            (json!({"drop": {"rule": {"number": {"at_least": 3}}}}), true),
            (json!({"drop": {"rule": {"number": {"at_least": 4}}}}), false),
        ] {
            assert_eq!(matches(&pattern, &line()), expected, "{pattern}");
        }
    }
}
