//! Named objects and flowtables.

use std::fmt::Write as _;

use super::Block;
use super::priority::priority;
use super::statements::{write_limit, write_quota};
use super::values::write_seconds;
use crate::ruleset::nftables::listing::model::{Family, Flowtable, Object, ObjectKind, Value};

/// Writes an object of a table.
pub(super) fn write_object(block: &mut Block<'_>, object: &Object) {
    block.begin(kind_name(&object.kind), &object.name, object.handle);
    let out = &mut *block.out;
    if let Some(comment) = &object.comment {
        let _ = writeln!(out, "\t\tcomment \"{comment}\"");
    }
    // Writing to a string cannot fail.
    let _ = write_body(out, &object.kind);
    block.end();
}

fn kind_name(kind: &ObjectKind) -> &str {
    match kind {
        ObjectKind::Counter { .. } => "counter",
        ObjectKind::Quota(_) => "quota",
        ObjectKind::Limit(_) => "limit",
        ObjectKind::CtHelper { .. } => "ct helper",
        ObjectKind::CtTimeout { .. } => "ct timeout",
        ObjectKind::CtExpectation { .. } => "ct expectation",
        ObjectKind::Synproxy(_) => "synproxy",
        ObjectKind::Secmark(_) => "secmark",
        ObjectKind::Unknown(kind, _) => kind,
    }
}

fn write_body(out: &mut String, kind: &ObjectKind) -> std::fmt::Result {
    match kind {
        ObjectKind::Counter { packets, bytes } => writeln!(out, "\t\tpackets {packets} bytes {bytes}"),
        ObjectKind::Quota(quota) => {
            out.push_str("\t\t");
            write_quota(out, quota);
            writeln!(out)
        }
        ObjectKind::Limit(limit) => {
            out.push_str("\t\t");
            write_limit(out, limit);
            writeln!(out)
        }
        ObjectKind::CtHelper {
            helper,
            protocol,
            l3proto,
        } => {
            writeln!(out, "\t\ttype \"{helper}\" protocol {protocol}")?;
            write_l3proto(out, l3proto.as_deref())
        }
        ObjectKind::CtTimeout {
            protocol,
            l3proto,
            policy,
        } => {
            writeln!(out, "\t\tprotocol {protocol}")?;
            write_l3proto(out, l3proto.as_deref())?;
            let states: Vec<_> = policy
                .iter()
                .map(|(state, seconds)| format!("{state} : {seconds}"))
                .collect();
            writeln!(out, "\t\tpolicy = {{ {} }}", states.join(", "))
        }
        ObjectKind::CtExpectation {
            protocol,
            dport,
            timeout_ms,
            size,
            l3proto,
        } => {
            writeln!(out, "\t\tprotocol {protocol}")?;
            if let Some(dport) = dport {
                writeln!(out, "\t\tdport {dport}")?;
            }
            out.push_str("\t\ttimeout ");
            write_seconds(out, timeout_ms / 1000);
            writeln!(out, "\n\t\tsize {size}")?;
            write_l3proto(out, l3proto.as_deref())
        }
        ObjectKind::Synproxy(options) => write_synproxy(out, options),
        ObjectKind::Secmark(context) => writeln!(out, "\t\t\"{context}\""),
        ObjectKind::Unknown(_, value) => writeln!(out, "\t\t{value}"),
    }
}

fn write_l3proto(out: &mut String, l3proto: Option<&str>) -> std::fmt::Result {
    match l3proto {
        Some(l3proto) => writeln!(out, "\t\tl3proto {l3proto}"),
        None => Ok(()),
    }
}

fn write_synproxy(out: &mut String, options: &Value) -> std::fmt::Result {
    for name in ["mss", "wscale"] {
        if let Some(value) = options.get(name) {
            writeln!(out, "\t\t{name} {value}")?;
        }
    }
    let flags: Vec<_> = match options.get("flags") {
        Some(Value::Array(flags)) => flags.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(flag)) => vec![flag],
        _ => Vec::new(),
    };
    if flags.is_empty() {
        return Ok(());
    }
    writeln!(out, "\t\t{}", flags.join(" "))
}

/// Writes a flowtable of a table.
pub(super) fn write_flowtable(block: &mut Block<'_>, flowtable: &Flowtable, family: Family) {
    block.begin("flowtable", &flowtable.name, flowtable.handle);
    let out = &mut *block.out;
    let priority = priority(family, &flowtable.hook, flowtable.priority);
    let _ = writeln!(out, "\t\thook {} priority {priority}", flowtable.hook);
    if !flowtable.devices.is_empty() {
        let _ = writeln!(out, "\t\tdevices = {{ {} }}", flowtable.devices.join(", "));
    }
    if flowtable.counter {
        out.push_str("\t\tcounter\n");
    }
    if !flowtable.flags.is_empty() {
        let _ = writeln!(out, "\t\tflags {}", flowtable.flags.join(","));
    }
    block.end();
}
