//! Sets and maps, with their elements in columns.

use std::fmt::Write as _;

use super::Block;
use super::expressions::write_element;
use super::statements::write_statement;
use super::values::{write_joined, write_seconds};
use crate::ruleset::nftables::listing::datatype::Datatype;
use crate::ruleset::nftables::listing::expression::{Element, Expression};
use crate::ruleset::nftables::listing::model::{Family, Set};

/// Between two lines of elements.
const NEXT_LINE: &str = ",\n\t\t\t     ";

/// Writes a set or map of a table.
pub(super) fn write_set(block: &mut Block<'_>, set: &Set) {
    let kind = if set.data_types.is_some() { "map" } else { "set" };
    block.begin(kind, &set.name, set.handle);
    let out = &mut *block.out;
    write_types(out, set);
    // Whether the elements or the verdicts need more memory is the kernel's own choice.
    if let Some(policy) = set.policy.as_deref().filter(|policy| *policy != "performance") {
        let _ = writeln!(out, "\t\tpolicy {policy}");
    }
    if let Some(size) = set.size {
        let _ = writeln!(out, "\t\tsize {size}");
    }
    // A timeout of all elements says the same as the flag.
    let is_said = set.timeout.is_some() && set.flags.len() == 1 && set.flags[0] == "timeout";
    if !set.flags.is_empty() && !is_said {
        let _ = writeln!(out, "\t\tflags {}", set.flags.join(","));
    }
    if !set.statements.is_empty() {
        out.push_str("\t\t");
        write_joined(out, &set.statements, " ", |out, statement| {
            write_statement(out, statement, Family::Inet);
        });
        out.push('\n');
    }
    for (name, seconds) in [("timeout", set.timeout), ("gc-interval", set.gc_interval)] {
        if let Some(seconds) = seconds {
            let _ = write!(out, "\t\t{name} ");
            write_seconds(out, seconds);
            out.push('\n');
        }
    }
    if set.auto_merge {
        out.push_str("\t\tauto-merge\n");
    }
    if let Some(comment) = &set.comment {
        let _ = writeln!(out, "\t\tcomment \"{comment}\"");
    }
    write_elements(out, set);
    block.end();
}

fn write_types(out: &mut String, set: &Set) {
    let _ = write!(out, "\t\ttype {}", set.key_types.join(" . "));
    if let Some(data) = &set.data_types {
        let is_interval = |element: &Element| element.data.as_ref().is_some_and(has_interval);
        let interval = if set.elements.iter().any(is_interval) {
            "interval "
        } else {
            ""
        };
        let _ = write!(out, " : {interval}{}", data.join(" . "));
    }
    out.push('\n');
}

fn has_interval(data: &Expression) -> bool {
    match data {
        Expression::Range(_) | Expression::Prefix { .. } => true,
        Expression::Concatenation(parts) => parts.iter().any(has_interval),
        _ => false,
    }
}

fn write_elements(out: &mut String, set: &Set) {
    if set.elements.is_empty() {
        return;
    }
    let types =
        |names: &[String]| -> Vec<Datatype> { names.iter().map(|name| Datatype::named(name)).collect() };
    let keys = types(&set.key_types);
    let data = types(set.data_types.as_deref().unwrap_or_default());
    let on_a_line = match keys.as_slice() {
        [one] => one.elements_on_a_line(),
        _ => 1,
    };
    out.push_str("\t\telements = { ");
    for (index, element) in set.elements.iter().enumerate() {
        if index > 0 {
            out.push_str(if index % on_a_line == 0 { NEXT_LINE } else { ", " });
        }
        write_element(out, element, &keys, &data);
    }
    out.push_str(" }\n");
}
