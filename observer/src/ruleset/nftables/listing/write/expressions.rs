//! Expressions.

use std::fmt::Write as _;

use super::statements::write_statement;
use super::values::{write_binary, write_joined, write_seconds, write_value};
use crate::ruleset::nftables::listing::datatype::Datatype;
use crate::ruleset::nftables::listing::expression::{Element, Expression, Own, Payload, Verdict};
use crate::ruleset::nftables::listing::model::Family;
use crate::ruleset::nftables::listing::name::Name;

/// Writes whatever is no plain value. `types` are those of what it is compared with or assigned to.
pub(super) fn write_expression(out: &mut String, expression: &Expression, types: &[Datatype]) {
    let _ = match expression {
        Expression::Reference(name) => write!(out, "@{name}"),
        Expression::Wildcard => write!(out, "*"),
        Expression::Set(elements) => {
            write_set(out, elements, types, &[Datatype::Other]);
            Ok(())
        }
        Expression::Binary { operator, operands } => {
            write_binary(out, *operator, operands, types);
            Ok(())
        }
        Expression::Payload(payload) => {
            write_payload(out, payload);
            Ok(())
        }
        Expression::Map { key, data } => {
            write_map(out, key, data, "map", types);
            Ok(())
        }
        Expression::Verdict(verdict) => {
            write_verdict(out, verdict);
            Ok(())
        }
        Expression::Unknown(value) => write!(out, "{value}"),
        Expression::Exthdr { .. } | Expression::Option { .. } | Expression::RawTcpOption { .. } => {
            write_extension(out, expression)
        }
        Expression::Meta(_) | Expression::Ct { .. } | Expression::Rt { .. } | Expression::Ipsec { .. } => {
            write_known(out, expression)
        }
        Expression::Numgen { .. }
        | Expression::Jhash(_)
        | Expression::Symhash { .. }
        | Expression::Fib { .. }
        | Expression::Socket { .. }
        | Expression::Osf { .. } => write_computed(out, expression),
        value => {
            write_value(out, value, types);
            Ok(())
        }
    };
}

/// `key map data`, `key vmap data`; `types` are those of the data.
pub(super) fn write_map(
    out: &mut String,
    key: &Expression,
    data: &Expression,
    word: &str,
    types: &[Datatype],
) {
    let keys = Datatype::of(key);
    write_value(out, key, &keys);
    let _ = write!(out, " {word} ");
    match data {
        Expression::Set(elements) => write_set(out, elements, &keys, types),
        other => write_value(out, other, types),
    }
}

fn write_set(out: &mut String, elements: &[Element], keys: &[Datatype], data: &[Datatype]) {
    out.push_str("{ ");
    write_joined(out, elements, ", ", |out, element| {
        write_element(out, element, keys, data);
    });
    out.push_str(" }");
}

/// An element of a set or map.
pub(super) fn write_element(out: &mut String, element: &Element, keys: &[Datatype], data: &[Datatype]) {
    write_value(out, &element.key, keys);
    if let Some(own) = &element.own {
        write_own(out, own);
    }
    if let Some(value) = &element.data {
        out.push_str(" : ");
        write_value(out, value, data);
    }
}

fn write_own(out: &mut String, own: &Own) {
    for statement in &own.statements {
        out.push(' ');
        // No family: elements have no statements that depend on it.
        write_statement(out, statement, Family::Inet);
    }
    if let Some(timeout) = own.timeout {
        out.push_str(" timeout ");
        write_seconds(out, timeout);
    }
    if let Some(expires) = own.expires {
        out.push_str(" expires ");
        write_seconds(out, expires);
    }
    if let Some(comment) = &own.comment {
        let _ = write!(out, " comment \"{comment}\"");
    }
}

/// A verdict.
pub(super) fn write_verdict(out: &mut String, verdict: &Verdict) {
    let _ = match verdict {
        Verdict::Accept => write!(out, "accept"),
        Verdict::Drop => write!(out, "drop"),
        Verdict::Continue => write!(out, "continue"),
        Verdict::Return => write!(out, "return"),
        Verdict::Jump(chain) => write!(out, "jump {chain}"),
        Verdict::Goto(chain) => write!(out, "goto {chain}"),
    };
}

fn write_payload(out: &mut String, payload: &Payload) {
    let _ = match payload {
        Payload::Field { protocol, field } => write!(out, "{protocol} {field}"),
        Payload::Raw { base, offset, length } => write!(out, "@{base},{offset},{length}"),
    };
}

fn write_extension(out: &mut String, expression: &Expression) -> std::fmt::Result {
    match expression {
        Expression::Exthdr { name, field: None } => write!(out, "exthdr {name}"),
        Expression::Exthdr {
            name,
            field: Some(field),
        } => write!(out, "{name} {field}"),
        Expression::Option {
            of,
            name,
            field: None,
        } => write!(out, "{of} {name}"),
        Expression::Option {
            of,
            name,
            field: Some(field),
        } => write!(out, "{of} {name} {field}"),
        // The byte that says which option it is stands for the whole of it.
        Expression::RawTcpOption {
            number,
            offset: 0,
            length: 8,
        } => write!(out, "tcp option {number}"),
        Expression::RawTcpOption {
            number,
            offset,
            length,
        } => {
            write!(out, "tcp option @{number},{offset},{length}")
        }
        _ => Ok(()),
    }
}

fn write_known(out: &mut String, expression: &Expression) -> std::fmt::Result {
    /// Keys that nft writes without `meta`.
    const BARE: [&str; 6] = ["iif", "iifname", "iifgroup", "oif", "oifname", "oifgroup"];
    let with_space = |word: &Option<Name>| word.as_ref().map(|word| format!("{word} ")).unwrap_or_default();
    match expression {
        Expression::Meta(key) if BARE.contains(&key.as_str()) => write!(out, "{key}"),
        Expression::Meta(key) => write!(out, "meta {key}"),
        Expression::Ct {
            key,
            direction,
            family,
        } => write!(out, "ct {}{}{key}", with_space(direction), with_space(family)),
        Expression::Rt { key, family } => write!(out, "rt {}{key}", with_space(family)),
        Expression::Ipsec {
            key,
            direction,
            number,
            family,
        } => {
            write!(out, "ipsec {direction} ")?;
            if *number > 0 {
                write!(out, "spnum {number} ")?;
            }
            write!(out, "{}{key}", with_space(family))
        }
        _ => Ok(()),
    }
}

fn write_computed(out: &mut String, expression: &Expression) -> std::fmt::Result {
    let mut offset = 0;
    match expression {
        Expression::Numgen {
            mode,
            modulus,
            offset: added,
        } => {
            write!(out, "numgen {mode} mod {modulus}")?;
            offset = *added;
        }
        Expression::Symhash {
            modulus,
            offset: added,
        } => {
            write!(out, "symhash mod {modulus}")?;
            offset = *added;
        }
        Expression::Jhash(hash) => {
            out.push_str("jhash ");
            write_value(out, &hash.of, &Datatype::of(&hash.of));
            write!(out, " mod {}", hash.modulus)?;
            if let Some(seed) = hash.seed {
                write!(out, " seed 0x{seed:x}")?;
            }
            offset = hash.offset;
        }
        Expression::Fib { result, flags } => write!(out, "fib {} {result}", flags.join(" . "))?,
        Expression::Socket { key, level } => match level {
            Some(level) => write!(out, "socket {key} level {level}")?,
            None => write!(out, "socket {key}")?,
        },
        Expression::Osf { key, ttl } => match ttl {
            Some(ttl) => write!(out, "osf ttl {ttl} {key}")?,
            None => write!(out, "osf {key}")?,
        },
        _ => {}
    }
    if offset > 0 {
        write!(out, " offset {offset}")?;
    }
    Ok(())
}
