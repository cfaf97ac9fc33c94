//! Statements.

use std::fmt::Write as _;

use super::expressions::{write_element, write_map, write_verdict};
use super::nat::{write_nat, write_tproxy};
use super::values::{write_bytes, write_value};
use crate::ruleset::nftables::listing::datatype::Datatype;
use crate::ruleset::nftables::listing::expression::{BinaryOperator, Expression};
use crate::ruleset::nftables::listing::model::{Family, Value, ValueOrName};
use crate::ruleset::nftables::listing::statement::{
    Counter, Limit, LogStatement, Operator, Quota, SetUpdate, Statement,
};

/// Writes a statement of a rule in a table of this family.
pub(super) fn write_statement(out: &mut String, statement: &Statement, family: Family) {
    match statement {
        Statement::Match {
            left,
            operator,
            right,
        } => write_match(out, left, *operator, right),
        Statement::Verdict(verdict) => write_verdict(out, verdict),
        Statement::Vmap { key, data } => write_map(out, key, data, "vmap", &[Datatype::Verdict]),
        Statement::Counter(counter) => write_named(out, "counter", counter, write_counter),
        Statement::Limit(limit) => write_named(out, "limit", limit, |out, limit| {
            out.push_str("limit ");
            write_limit(out, limit);
        }),
        Statement::Quota(quota) => write_named(out, "quota", quota, |out, quota| {
            out.push_str("quota ");
            write_quota(out, quota);
        }),
        Statement::Synproxy(options) => write_named(out, "synproxy", options, |out, options| {
            out.push_str("synproxy");
            write_synproxy(out, options);
        }),
        Statement::Log(log) => write_log(out, log),
        Statement::Nat(nat) => write_nat(out, nat),
        Statement::Tproxy {
            family,
            address,
            port,
        } => write_tproxy(out, family.as_deref(), address.as_deref(), port.as_deref()),
        Statement::Reject { kind, code } => write_reject(out, kind.as_deref(), code.as_ref(), family),
        Statement::Set(update) => write_set_update(out, update),
        Statement::Mangle { key, value } => {
            let types = Datatype::of(key);
            write_value(out, key, &types);
            out.push_str(" set ");
            write_value(out, value, &types);
        }
        other => {
            // Writing to a string cannot fail.
            let _ = write_other(out, other, family);
        }
    }
}

fn write_other(out: &mut String, statement: &Statement, family: Family) -> std::fmt::Result {
    let over = |over: &bool| if *over { "over " } else { "" };
    match statement {
        Statement::CtCount { count, over: beyond } => write!(out, "ct count {}{count}", over(beyond)),
        Statement::Queue { number, flags } => {
            out.push_str("queue");
            if !flags.is_empty() {
                write!(out, " flags {}", flags.join(","))?;
            }
            if let Some(number) = number {
                out.push_str(" to ");
                write_value(out, number, &[Datatype::Integer]);
            }
            Ok(())
        }
        Statement::CtObject { kind, name } => {
            write!(out, "ct {kind} set ")?;
            write_value(out, name, &[Datatype::Text]);
            Ok(())
        }
        Statement::Notrack => write!(out, "notrack"),
        Statement::Dup { address, device } => {
            out.push_str("dup");
            if let Some(address) = address {
                out.push_str(" to ");
                // In family netdev the copy goes to a device.
                let is_device = family == Family::Netdev;
                write_value(
                    out,
                    address,
                    &[if is_device {
                        Datatype::Device
                    } else {
                        Datatype::Other
                    }],
                );
            }
            write_device(out, device.as_deref());
            Ok(())
        }
        Statement::Fwd {
            device,
            family,
            address,
        } => {
            match address {
                None => {
                    out.push_str("fwd to ");
                    write_value(out, device, &[Datatype::Device]);
                }
                Some(address) => {
                    write!(
                        out,
                        "fwd {}to ",
                        family.as_ref().map(|name| format!("{name} ")).unwrap_or_default()
                    )?;
                    write_value(out, address, &[Datatype::Other]);
                    write_device(out, Some(device));
                }
            }
            Ok(())
        }
        Statement::Flow { operation, flowtable } => write!(out, "flow {operation} {flowtable}"),
        Statement::Meter {
            name,
            key,
            statement,
            size,
        } => {
            write!(out, "meter {name}")?;
            if let Some(size) = size {
                write!(out, " size {size}")?;
            }
            out.push_str(" { ");
            write_element(out, key, &Datatype::of(&key.key), &[Datatype::Other]);
            out.push(' ');
            write_statement(out, statement, family);
            out.push_str(" }");
            Ok(())
        }
        Statement::Reset(option) => {
            out.push_str("reset ");
            write_value(out, option, &[Datatype::Other]);
            Ok(())
        }
        Statement::Last(_) => write!(out, "last"),
        Statement::Xt { kind, name } => write!(out, "xt {kind} {name}"),
        Statement::Text(text) => write!(out, "{text}"),
        Statement::Unknown(value) => write!(out, "{value}"),
        // The others are written above.
        _ => Ok(()),
    }
}

fn write_device(out: &mut String, device: Option<&Expression>) {
    if let Some(device) = device {
        out.push_str(" device ");
        write_value(out, device, &[Datatype::Device]);
    }
}

fn write_match(out: &mut String, left: &Expression, operator: Operator, right: &Expression) {
    let types = Datatype::of(left);
    if let Some(mask) = flags_mask(left, operator, right) {
        // `tcp flags syn / syn,ack`: these of those.
        out.push_str("tcp flags ");
        if operator == Operator::NotEqual {
            out.push_str("!= ");
        }
        write_value(out, right, &types);
        out.push_str(" / ");
        write_value(out, mask, &types);
        return;
    }
    write_value(out, left, &types);
    out.push(' ');
    let is_computed = matches!(left, Expression::Binary { .. });
    let is_single = !matches!(right, Expression::Set(_) | Expression::Reference(_));
    let is_bits = is_single && types.first().is_some_and(|one| one.is_bits());
    let sign = match operator {
        Operator::Equal if !is_computed && !is_bits => "",
        other => other.sign(),
    };
    if !sign.is_empty() {
        let _ = write!(out, "{sign} ");
    }
    write_value(out, right, &types);
}

/// The mask of a comparison of TCP's flags that nft writes with a slash.
fn flags_mask<'a>(left: &'a Expression, operator: Operator, right: &Expression) -> Option<&'a Expression> {
    let Expression::Binary {
        operator: BinaryOperator::And,
        operands,
    } = left
    else {
        return None;
    };
    let [flags, mask] = operands.as_slice() else {
        return None;
    };
    let is_flags = Datatype::of(flags) == [Datatype::TcpFlag];
    let is_comparison = matches!(operator, Operator::Equal | Operator::NotEqual);
    let is_constant = matches!(
        right,
        Expression::Word(_) | Expression::List(_) | Expression::Number(_)
    );
    // The same single flag on both sides stays a comparison.
    let is_one = matches!(mask, Expression::Word(_)) && mask == right;
    (is_flags && is_comparison && is_constant && !is_one).then_some(mask)
}

/// The rule's own object, or `KIND name "NAME"`.
fn write_named<T>(out: &mut String, kind: &str, object: &ValueOrName<T>, own: impl FnOnce(&mut String, &T)) {
    match object {
        ValueOrName::Value(value) => own(out, value),
        ValueOrName::Name(name) => {
            let _ = write!(out, "{kind} name ");
            write_value(out, name, &[Datatype::Text]);
        }
    }
}

fn write_counter(out: &mut String, counter: &Counter) {
    out.push_str("counter");
    if let Some((packets, bytes)) = counter.counted {
        let _ = write!(out, " packets {packets} bytes {bytes}");
    }
}

/// `rate over 1 mbytes/second burst 512 kbytes`
pub(super) fn write_limit(out: &mut String, limit: &Limit) {
    /// What the kernel takes if nothing is said.
    const USUAL_PACKETS: u64 = 5;
    let over = if limit.over { "over " } else { "" };
    let in_packets = limit.unit == "packets";
    let _ = match in_packets {
        true => write!(out, "rate {over}{}/{}", limit.rate, limit.per),
        false => write!(out, "rate {over}{} {}/{}", limit.rate, limit.unit, limit.per),
    };
    let usual = if in_packets { USUAL_PACKETS } else { 0 };
    if let Some(burst) = limit.burst.filter(|burst| *burst != usual && *burst > 0) {
        let _ = write!(out, " burst {burst} {}", limit.burst_unit);
    }
}

/// `over 25 mbytes used 1 kbytes`
pub(super) fn write_quota(out: &mut String, quota: &Quota) {
    if quota.over {
        out.push_str("over ");
    }
    write_bytes(out, quota.bytes);
    if quota.used_bytes > 0 {
        out.push_str(" used ");
        write_bytes(out, quota.used_bytes);
    }
}

fn write_synproxy(out: &mut String, options: &Value) {
    for name in ["mss", "wscale"] {
        if let Some(value) = options.get(name) {
            let _ = write!(out, " {name} {value}");
        }
    }
    let flags = match options.get("flags") {
        Some(Value::Array(flags)) => flags.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(flag)) => vec![flag.as_str()],
        _ => Vec::new(),
    };
    for flag in flags {
        let _ = write!(out, " {flag}");
    }
}

fn write_log(out: &mut String, log: &LogStatement) {
    out.push_str("log");
    if let Some(prefix) = &log.prefix {
        let _ = write!(out, " prefix \"{prefix}\"");
    }
    let numbers = [
        ("group", log.group),
        ("snaplen", log.snaplen),
        ("queue-threshold", log.queue_threshold),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            let _ = write!(out, " {name} {number}");
        }
    }
    if let Some(level) = &log.level {
        let _ = write!(out, " level {level}");
    }
    let of_tcp: Vec<_> = log
        .flags
        .iter()
        .filter_map(|flag| flag.strip_prefix("tcp "))
        .collect();
    if !of_tcp.is_empty() {
        let _ = write!(out, " flags tcp {}", of_tcp.join(","));
    }
    for flag in log.flags.iter().filter(|flag| !flag.starts_with("tcp ")) {
        let _ = write!(out, " flags {flag}");
    }
}

fn write_reject(out: &mut String, kind: Option<&str>, code: Option<&Expression>, family: Family) {
    let usual = match family {
        Family::Ip => "icmp",
        Family::Ip6 => "icmpv6",
        _ => "icmpx",
    };
    out.push_str("reject");
    let is_usual = matches!(code, Some(Expression::Word(code)) if code == "port-unreachable");
    match kind {
        None => {}
        Some(kind) if kind == usual && is_usual => {}
        Some(kind) => {
            let _ = write!(out, " with {kind}");
            if let Some(code) = code {
                out.push(' ');
                write_value(out, code, &[Datatype::Other]);
            }
        }
    }
}

fn write_set_update(out: &mut String, update: &SetUpdate) {
    let types = Datatype::of(&update.element.key);
    let _ = write!(out, "{} @{} {{ ", update.operation, update.set);
    let mut element = update.element.clone();
    let data = element.data.take();
    write_element(out, &element, &types, &[Datatype::Other]);
    for statement in &update.statements {
        out.push(' ');
        write_statement(out, statement, Family::Inet);
    }
    if let Some(data) = data {
        out.push_str(" : ");
        write_value(out, &data, &Datatype::of(&data));
    }
    out.push_str(" }");
}
