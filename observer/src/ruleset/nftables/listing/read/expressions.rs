//! Expressions.

use super::fields::Fields;
use super::sets;
use crate::ruleset::nftables::listing::expression::{BinaryOperator, Expression, Payload, Verdict};
use crate::ruleset::nftables::listing::model::Value;

/// Reads an expression; what is not known stays JSON.
pub(super) fn expression(value: &Value) -> Expression {
    known(value).unwrap_or_else(|| Expression::Unknown(value.clone()))
}

fn known(value: &Value) -> Option<Expression> {
    match value {
        Value::Number(number) => number.as_u64().map(Expression::Number),
        Value::Bool(there) => Some(Expression::Exists(*there)),
        Value::String(text) if text == "*" => Some(Expression::Wildcard),
        Value::String(text) => Some(match text.strip_prefix('@') {
            Some(name) => Expression::Reference(name.to_owned()),
            None => Expression::Word(text.clone()),
        }),
        Value::Array(list) => Some(Expression::List(list.iter().map(expression).collect())),
        Value::Object(members) => {
            let mut members = members.iter();
            let (kind, body) = members.next()?;
            if members.next().is_some() {
                return None;
            }
            object(kind, body)
        }
        Value::Null => None,
    }
}

fn object(kind: &str, body: &Value) -> Option<Expression> {
    if let Some(operator) = BinaryOperator::ALL.iter().find(|one| one.sign() == kind) {
        let operands: Vec<_> = body.as_array()?.iter().map(expression).collect();
        return (operands.len() >= 2).then_some(Expression::Binary {
            operator: *operator,
            operands,
        });
    }
    match kind {
        "concat" => Some(Expression::Concatenation(
            body.as_array()?.iter().map(expression).collect(),
        )),
        "set" => Some(Expression::Set(sets::elements(body))),
        "range" => match body.as_array()?.as_slice() {
            [from, to] => Some(Expression::Range(Box::new([expression(from), expression(to)]))),
            _ => None,
        },
        "prefix" => {
            let fields = Fields::of(body)?.only(&["addr", "len"])?;
            Some(Expression::Prefix {
                address: Box::new(expression(fields.get("addr")?)),
                length: fields.number("len")?.try_into().ok()?,
            })
        }
        "map" => {
            let fields = Fields::of(body)?.only(&["key", "data"])?;
            Some(Expression::Map {
                key: Box::new(expression(fields.get("key")?)),
                data: Box::new(expression(fields.get("data")?)),
            })
        }
        _ => verdict(kind, body)
            .map(Expression::Verdict)
            .or_else(|| selector(kind, Fields::of(body)?)),
    }
}

/// `{"accept": null}`, `{"jump": {"target": "chain"}}`
pub(super) fn verdict(kind: &str, body: &Value) -> Option<Verdict> {
    let target = || body.get("target")?.as_str().map(str::to_owned);
    Some(match kind {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "continue" => Verdict::Continue,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(target()?),
        "goto" => Verdict::Goto(target()?),
        _ => return None,
    })
}

/// What a value comes from.
fn selector(kind: &str, fields: Fields<'_>) -> Option<Expression> {
    let offset = || fields.number("offset").unwrap_or_default();
    Some(match kind {
        "payload" => Expression::Payload(payload(fields)?),
        "exthdr" => Expression::Exthdr {
            name: fields.only(&["name", "field", "offset"])?.text("name")?,
            field: fields.text("field"),
        },
        "ip option" => option("ip option", fields)?,
        "sctp chunk" => option("sctp chunk", fields)?,
        "dccp option" => option("dccp option", fields)?,
        "tcp option" => match fields.number("base") {
            Some(number) => Expression::RawTcpOption {
                number,
                offset: offset(),
                length: fields.number("len")?,
            },
            None => option("tcp option", fields)?,
        },
        "meta" => Expression::Meta(fields.only(&["key"])?.text("key")?),
        "ct" => Expression::Ct {
            key: fields.only(&["key", "dir", "family"])?.text("key")?,
            direction: fields.text("dir"),
            family: fields.text("family"),
        },
        "rt" => Expression::Rt {
            key: fields.only(&["key", "family"])?.text("key")?,
            family: fields.text("family"),
        },
        "numgen" => Expression::Numgen {
            mode: fields.only(&["mode", "mod", "offset"])?.text("mode")?,
            modulus: fields.number("mod")?,
            offset: offset(),
        },
        "jhash" => Expression::Jhash {
            of: Box::new(expression(
                fields.only(&["mod", "offset", "expr", "seed"])?.get("expr")?,
            )),
            modulus: fields.number("mod")?,
            seed: fields.number("seed"),
            offset: offset(),
        },
        "symhash" => Expression::Symhash {
            modulus: fields.only(&["mod", "offset"])?.number("mod")?,
            offset: offset(),
        },
        "fib" => Expression::Fib {
            result: fields.only(&["result", "flags"])?.text("result")?,
            flags: fields.words("flags"),
        },
        "socket" => Expression::Socket {
            key: fields.only(&["key", "level"])?.text("key")?,
            level: fields.number("level"),
        },
        "osf" => Expression::Osf {
            key: fields.only(&["key", "ttl"])?.text("key")?,
            ttl: fields.text("ttl"),
        },
        "ipsec" => Expression::Ipsec {
            key: fields.only(&["key", "dir", "spnum", "family"])?.text("key")?,
            direction: fields.text("dir")?,
            number: fields.number("spnum").unwrap_or_default(),
            family: fields.text("family"),
        },
        _ => return None,
    })
}

fn payload(fields: Fields<'_>) -> Option<Payload> {
    Some(match fields.text("base") {
        Some(base) => Payload::Raw {
            base,
            offset: fields.only(&["base", "offset", "len"])?.number("offset")?,
            length: fields.number("len")?,
        },
        None => Payload::Field {
            protocol: fields.only(&["protocol", "field"])?.text("protocol")?,
            field: fields.text("field")?,
        },
    })
}

fn option(of: &'static str, fields: Fields<'_>) -> Option<Expression> {
    Some(Expression::Option {
        of,
        name: fields
            .only(&["name", "field"])?
            .text("name")
            .or_else(|| fields.text("type"))?,
        field: fields.text("field"),
    })
}
