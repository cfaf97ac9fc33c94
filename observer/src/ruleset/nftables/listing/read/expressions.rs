//! Expressions.

use super::fields::Fields;
use super::sets;
use crate::ruleset::nftables::listing::expression::{BinaryOperator, Expression, Jhash, Payload, Verdict};
use crate::ruleset::nftables::listing::model::Value;
use crate::ruleset::nftables::listing::name::Name;

/// Reads an expression; what is not known stays JSON.
pub(super) fn expression(value: &Value) -> Expression {
    known(value).unwrap_or_else(|| Expression::Unknown(Box::new(value.clone())))
}

fn known(value: &Value) -> Option<Expression> {
    match value {
        Value::Number(number) => number.as_u64().map(Expression::Number),
        Value::Bool(there) => Some(Expression::Exists(*there)),
        Value::String(text) if text == "*" => Some(Expression::Wildcard),
        Value::String(text) => Some(match text.strip_prefix('@') {
            Some(name) => Expression::Reference(name.to_owned()),
            None => Expression::Word(text.into()),
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
    let target = || body.get("target")?.as_str().map(Name::from);
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
            name: fields.only(&["name", "field", "offset"])?.name("name")?,
            field: fields.name("field"),
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
            key: fields.only(&["key", "dir", "family"])?.name("key")?,
            direction: fields.name("dir"),
            family: fields.name("family"),
        },
        "rt" => Expression::Rt {
            key: fields.only(&["key", "family"])?.name("key")?,
            family: fields.name("family"),
        },
        "numgen" => Expression::Numgen {
            mode: fields.only(&["mode", "mod", "offset"])?.name("mode")?,
            modulus: fields.number("mod")?,
            offset: offset(),
        },
        "jhash" => Expression::Jhash(Box::new(Jhash {
            of: expression(fields.only(&["mod", "offset", "expr", "seed"])?.get("expr")?),
            modulus: fields.number("mod")?,
            seed: fields.number("seed"),
            offset: offset(),
        })),
        "symhash" => Expression::Symhash {
            modulus: fields.only(&["mod", "offset"])?.number("mod")?,
            offset: offset(),
        },
        "fib" => Expression::Fib {
            result: fields.only(&["result", "flags"])?.name("result")?,
            flags: fields.words("flags").into(),
        },
        "socket" => Expression::Socket {
            key: fields.only(&["key", "level"])?.name("key")?,
            level: fields.number("level"),
        },
        "osf" => Expression::Osf {
            key: fields.only(&["key", "ttl"])?.name("key")?,
            ttl: fields.name("ttl"),
        },
        "ipsec" => Expression::Ipsec {
            key: fields.only(&["key", "dir", "spnum", "family"])?.name("key")?,
            direction: fields.name("dir")?,
            number: fields.number("spnum").unwrap_or_default().try_into().ok()?,
            family: fields.name("family"),
        },
        _ => return None,
    })
}

fn payload(fields: Fields<'_>) -> Option<Payload> {
    Some(match fields.name("base") {
        Some(base) => Payload::Raw {
            base,
            offset: fields.only(&["base", "offset", "len"])?.number("offset")?,
            length: fields.number("len")?,
        },
        None => Payload::Field {
            protocol: fields.only(&["protocol", "field"])?.name("protocol")?,
            field: fields.name("field")?,
        },
    })
}

fn option(of: &'static str, fields: Fields<'_>) -> Option<Expression> {
    Some(Expression::Option {
        of: of.into(),
        name: fields
            .only(&["name", "field"])?
            .name("name")
            .or_else(|| fields.name("type"))?,
        field: fields.name("field"),
    })
}
