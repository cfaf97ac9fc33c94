//! Statements.

use super::expressions::{expression, verdict};
use super::fields::Fields;
use super::sets;
use crate::ruleset::nftables::listing::expression::Expression;
use crate::ruleset::nftables::listing::model::{Value, ValueOrName};
use crate::ruleset::nftables::listing::statement::{
    Counter, Limit, LogStatement, Nat, NatKind, Operator, Quota, SetUpdate, Statement,
};

/// Reads a statement; what is not known stays JSON.
pub(super) fn statement(value: &Value) -> Statement {
    if let Value::String(text) = value {
        return Statement::Text(text.clone());
    }
    known(value).unwrap_or_else(|| Statement::Unknown(value.clone()))
}

fn known(value: &Value) -> Option<Statement> {
    let mut members = value.as_object()?.iter();
    let (kind, body) = members.next()?;
    if members.next().is_some() {
        return None;
    }
    if let Some(verdict) = verdict(kind, body) {
        return Some(Statement::Verdict(verdict));
    }
    let empty = serde_json::Map::new();
    let fields = body.as_object().map_or(Fields(&empty), Fields);
    Some(match kind.as_str() {
        "match" => comparison(fields)?,
        "vmap" => Statement::Vmap {
            key: expression(fields.only(&["key", "data"])?.get("key")?).into(),
            data: expression(fields.get("data")?),
        },
        "counter" => Statement::Counter(named(body, || counter(body))?),
        "limit" => Statement::Limit(named(body, || limit(fields).map(Box::new))?),
        "quota" => Statement::Quota(named(body, || quota(fields))?),
        "synproxy" => Statement::Synproxy(named(body, || Some(body.clone()))?),
        "ct count" => Statement::CtCount {
            count: fields.only(&["val", "inv"])?.number("val")?,
            over: fields.is_true("inv"),
        },
        "log" => Statement::Log(Box::new(log(fields)?)),
        "snat" => nat(NatKind::Snat, fields)?,
        "dnat" => nat(NatKind::Dnat, fields)?,
        "masquerade" => nat(NatKind::Masquerade, fields)?,
        "redirect" => nat(NatKind::Redirect, fields)?,
        "reject" => Statement::Reject {
            kind: fields.only(&["type", "expr"])?.name("type"),
            code: fields.get("expr").map(expression),
        },
        "queue" => Statement::Queue {
            number: fields
                .only(&["num", "flags"])?
                .get("num")
                .map(|number| Box::new(expression(number))),
            flags: fields.words("flags").into(),
        },
        "mangle" => Statement::Mangle {
            key: expression(fields.only(&["key", "value"])?.get("key")?),
            value: Box::new(expression(fields.get("value")?)),
        },
        "ct helper" => ct_object("helper", body),
        "ct timeout" => ct_object("timeout", body),
        "ct expectation" => ct_object("expectation", body),
        "set" | "map" => set_update(kind, fields)?,
        "meter" => Statement::Meter {
            name: fields.only(&["name", "key", "stmt", "size"])?.name("name")?,
            key: Box::new(sets::bare_element(fields.get("key")?)),
            statement: Box::new(statement(fields.get("stmt")?)),
            size: fields.number("size"),
        },
        "xt" => Statement::Xt {
            kind: fields.only(&["type", "name"])?.name("type")?,
            name: fields.name("name")?,
        },
        "reset" => Statement::Reset(expression(body)),
        "last" => Statement::Last(body.clone()),
        _ => elsewhere(kind, fields)?,
    })
}

/// What sends the packet on another way.
fn elsewhere(kind: &str, fields: Fields<'_>) -> Option<Statement> {
    Some(match kind {
        "notrack" => Statement::Notrack,
        "dup" => Statement::Dup {
            address: fields.only(&["addr", "dev"])?.get("addr").map(expression),
            device: fields.get("dev").map(|device| Box::new(expression(device))),
        },
        "fwd" => Statement::Fwd {
            device: Box::new(expression(fields.only(&["dev", "family", "addr"])?.get("dev")?)),
            family: fields.name("family"),
            address: fields.get("addr").map(|address| Box::new(expression(address))),
        },
        "tproxy" => Statement::Tproxy {
            family: fields.only(&["family", "addr", "port"])?.name("family"),
            address: fields.get("addr").map(|address| Box::new(expression(address))),
            port: fields.get("port").map(|port| Box::new(expression(port))),
        },
        "flow" => Statement::Flow {
            operation: fields.only(&["op", "flowtable"])?.name("op")?,
            flowtable: fields.name("flowtable")?,
        },
        _ => return None,
    })
}

fn comparison(fields: Fields<'_>) -> Option<Statement> {
    let fields = fields.only(&["op", "left", "right"])?;
    Some(Statement::Match {
        left: expression(fields.get("left")?).into(),
        operator: Operator::named(&fields.text("op")?)?,
        right: expression(fields.get("right")?),
    })
}

/// The rule's own object, or a name, or where a name is looked up.
fn named<T>(body: &Value, own: impl FnOnce() -> Option<T>) -> Option<ValueOrName<T>> {
    let is_name = body.is_string() || body.get("map").is_some();
    Some(if is_name {
        ValueOrName::Name(expression(body))
    } else {
        ValueOrName::Value(own()?)
    })
}

fn counter(body: &Value) -> Option<Counter> {
    if body.is_null() {
        return Some(Counter { counted: None });
    }
    let fields = Fields::of(body)?.only(&["packets", "bytes"])?;
    Some(Counter {
        counted: Some((fields.number("packets")?, fields.number("bytes")?)),
    })
}

/// A limit, of a rule or named.
pub(super) fn limit(fields: Fields<'_>) -> Option<Limit> {
    let unit = fields.name("rate_unit").unwrap_or_else(|| "packets".into());
    let in_packets = unit == "packets";
    Some(Limit {
        rate: fields.number("rate")?,
        unit,
        per: fields.name("per").unwrap_or_else(|| "second".into()),
        burst: fields.number("burst"),
        burst_unit: match in_packets {
            true => "packets".into(),
            false => fields.name("burst_unit").unwrap_or_else(|| "bytes".into()),
        },
        over: fields.is_true("inv"),
    })
}

fn quota(fields: Fields<'_>) -> Option<Quota> {
    let fields = fields.only(&["val", "val_unit", "used", "used_unit", "inv"])?;
    let bytes = |value: &str, unit: &str| {
        let factor = match fields.text(unit).as_deref() {
            None | Some("bytes") => 1,
            Some("kbytes") => 1 << 10,
            Some("mbytes") => 1 << 20,
            Some("gbytes") => 1 << 30,
            Some(_) => return None,
        };
        fields.number(value)?.checked_mul(factor)
    };
    Some(Quota {
        bytes: bytes("val", "val_unit")?,
        used_bytes: match fields.get("used") {
            Some(_) => bytes("used", "used_unit")?,
            None => 0,
        },
        over: fields.is_true("inv"),
    })
}

fn log(fields: Fields<'_>) -> Option<LogStatement> {
    let known = ["prefix", "group", "snaplen", "queue-threshold", "level", "flags"];
    fields.only(&known)?;
    Some(LogStatement {
        prefix: fields.text("prefix"),
        group: fields.number("group"),
        snaplen: fields.number("snaplen"),
        queue_threshold: fields.number("queue-threshold"),
        level: fields.text("level"),
        flags: fields.words("flags"),
    })
}

fn nat(kind: NatKind, fields: Fields<'_>) -> Option<Statement> {
    fields.only(&["family", "addr", "port", "flags", "type_flags"])?;
    Some(Statement::Nat(Box::new(Nat {
        kind,
        family: fields.text("family"),
        address: fields.get("addr").map(expression),
        port: fields.get("port").map(expression),
        flags: fields.words("flags"),
        type_flags: fields.words("type_flags"),
    })))
}

fn ct_object(kind: &'static str, body: &Value) -> Statement {
    Statement::CtObject {
        kind,
        name: Box::new(expression(body)),
    }
}

/// `{"set": {"op": "add", …}}`; newer versions of nft have `map` with `data` too.
fn set_update(kind: &str, fields: Fields<'_>) -> Option<Statement> {
    fields.only(&["op", "elem", "data", kind, "stmt"])?;
    let mut element = sets::bare_element(fields.get("elem")?);
    element.data = fields.get("data").map(expression);
    let Expression::Reference(set) = expression(fields.get(kind)?) else {
        return None;
    };
    Some(Statement::Set(Box::new(SetUpdate {
        operation: fields.text("op")?,
        element,
        set,
        statements: fields.list("stmt").iter().map(statement).collect(),
    })))
}
