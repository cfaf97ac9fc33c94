//! Expressions that need no register: what counts, limits, logs and rejects.

use super::types::{self, Devices, Type};
use super::wire::Attrs;
use crate::ruleset::nftables::listing::{
    Counter, Expression, Limit, LogStatement, Quota, Statement, Value, ValueOrName,
};

/// A counter that elements get has counted nothing itself.
pub(super) fn uncounted(statement: Statement) -> Statement {
    match statement {
        Statement::Counter(ValueOrName::Value(_)) => {
            Statement::Counter(ValueOrName::Value(Counter { counted: None }))
        }
        other => other,
    }
}

/// The flags of `log flags all` (`NF_LOG_MASK`).
const LOG_ALL: u32 = 0x2f;

/// The name of an expression, and its attributes.
pub(super) fn named<'a>(bytes: &'a [u8]) -> Option<(&'a str, Attrs<'a>)> {
    let attrs = Attrs::of(bytes);
    let name = attrs.get(1)?;
    let name = std::str::from_utf8(name.strip_suffix(&[0]).unwrap_or(name)).ok()?;
    Some((name, attrs.nest(2).unwrap_or(Attrs::of(&[]))))
}

/// What an element or a set has of its own.
pub(super) fn of_element(bytes: &[u8], devices: &Devices) -> Option<Statement> {
    let (name, attrs) = named(bytes)?;
    plain(name, &attrs, devices)
}

/// A statement that needs no register; `None` if it is another one, or not understood.
pub(super) fn plain(name: &str, attrs: &Attrs<'_>, devices: &Devices) -> Option<Statement> {
    Some(match name {
        "counter" => Statement::Counter(ValueOrName::Value(Counter {
            counted: Some((attrs.be64(2)?, attrs.be64(1)?)),
        })),
        "limit" => Statement::Limit(ValueOrName::Value(Box::new(limit(attrs)?))),
        "quota" => Statement::Quota(ValueOrName::Value(quota(attrs)?)),
        "connlimit" => Statement::CtCount {
            count: u64::from(attrs.be32(1)?),
            over: attrs.be32(2).unwrap_or_default() & 1 != 0,
        },
        "log" => Statement::Log(Box::new(log(attrs)?)),
        "reject" => reject(attrs, devices)?,
        "notrack" => Statement::Notrack,
        "synproxy" => Statement::Synproxy(ValueOrName::Value(synproxy(attrs)?)),
        "flow_offload" => Statement::Flow {
            operation: "add".into(),
            flowtable: format!("@{}", attrs.text(1)?).into(),
        },
        _ => return None,
    })
}

/// A limit, of a rule or named.
pub(super) fn limit(attrs: &Attrs<'_>) -> Option<Limit> {
    let per = match attrs.be64(2)? {
        1 => "second",
        60 => "minute",
        3600 => "hour",
        86_400 => "day",
        604_800 => "week",
        _ => return None,
    };
    let burst = attrs.be32(3).map(u64::from);
    let over = attrs.be32(5).unwrap_or_default() & 1 != 0;
    let is_bytes = attrs.be32(4).unwrap_or_default() == 1;
    let (rate, unit) = match is_bytes {
        true => in_units(attrs.be64(1)?),
        false => (attrs.be64(1)?, "packets"),
    };
    let (burst, burst_unit) = match burst {
        Some(burst) if is_bytes => {
            let (burst, unit) = in_units(burst);
            (Some(burst), unit)
        }
        other => (other, unit_of_none(is_bytes)),
    };
    Some(Limit {
        rate,
        unit: unit.into(),
        per: per.into(),
        burst,
        burst_unit: burst_unit.into(),
        over,
    })
}

fn unit_of_none(is_bytes: bool) -> &'static str {
    if is_bytes { "bytes" } else { "packets" }
}

/// In the greatest unit that leaves no rest.
fn in_units(bytes: u64) -> (u64, &'static str) {
    for (size, unit) in [(1_u64 << 20, "mbytes"), (1 << 10, "kbytes")] {
        if bytes > 0 && bytes.is_multiple_of(size) {
            return (bytes / size, unit);
        }
    }
    (bytes, "bytes")
}

/// A quota, of a rule or named.
pub(super) fn quota(attrs: &Attrs<'_>) -> Option<Quota> {
    Some(Quota {
        bytes: attrs.be64(1)?,
        used_bytes: attrs.be64(4).unwrap_or_default(),
        over: attrs.be32(2).unwrap_or_default() & 1 != 0,
    })
}

fn log(attrs: &Attrs<'_>) -> Option<LogStatement> {
    const LEVELS: [&str; 9] = [
        "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit",
    ];
    const FLAGS: [(u32, &str); 5] = [
        (1, "tcp sequence"),
        (2, "tcp options"),
        (4, "ip options"),
        (8, "skuid"),
        (32, "ether"),
    ];
    const WARN: u32 = 4;
    let level = match attrs.be32(5) {
        None | Some(WARN) => None,
        Some(level) => Some((*LEVELS.get(level as usize)?).to_owned()),
    };
    let flags = attrs.be32(6).unwrap_or_default();
    let flags = match flags {
        LOG_ALL => vec!["all".to_owned()],
        _ if flags & !LOG_ALL != 0 => return None,
        _ => {
            let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
            set.map(|(_, name)| (*name).to_owned()).collect()
        }
    };
    Some(LogStatement {
        prefix: match attrs.has(2) {
            true => Some(attrs.text(2)?),
            false => None,
        },
        group: attrs.be16(1).map(u64::from),
        snaplen: attrs.be32(3).map(u64::from),
        queue_threshold: attrs.be16(4).map(u64::from),
        level,
        flags,
    })
}

fn reject(attrs: &Attrs<'_>, devices: &Devices) -> Option<Statement> {
    let (kind, of) = match attrs.be32(1)? {
        1 => {
            return Some(Statement::Reject {
                kind: Some("tcp reset".into()),
                code: None,
            });
        }
        0 => ("icmp", types::ICMP_CODE),
        2 => ("icmpx", types::ICMPX_CODE),
        _ => return None,
    };
    Some(Statement::Reject {
        kind: Some(kind.into()),
        code: Some(types::number_value(
            u128::from(attrs.u8(2)?),
            Type::of(of)?,
            devices,
        )?),
    })
}

/// Makes an answer of ICMP one of ICMPv6: the kernel calls both the same.
pub(super) fn for_ipv6(statement: Statement, attrs: &Attrs<'_>, devices: &Devices) -> Option<Statement> {
    match statement {
        Statement::Reject { kind: Some(kind), .. } if kind == "icmp" => Some(Statement::Reject {
            kind: Some("icmpv6".into()),
            code: Some(types::number_value(
                u128::from(attrs.u8(2)?),
                Type::of(types::ICMPV6_CODE)?,
                devices,
            )?),
        }),
        other => Some(other),
    }
}

/// `NF_SYNPROXY_OPT_*`
pub(super) fn synproxy(attrs: &Attrs<'_>) -> Option<Value> {
    const MSS: u32 = 1;
    const WSCALE: u32 = 2;
    const SACK_PERM: u32 = 4;
    const TIMESTAMP: u32 = 8;
    let flags = attrs.be32(3).unwrap_or_default();
    let mut members = serde_json::Map::new();
    if flags & MSS != 0 {
        members.insert("mss".to_owned(), attrs.be16(1)?.into());
    }
    if flags & WSCALE != 0 {
        members.insert("wscale".to_owned(), attrs.u8(2)?.into());
    }
    let words: Vec<Value> = [(TIMESTAMP, "timestamp"), (SACK_PERM, "sack-perm")]
        .into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, word)| word.into())
        .collect();
    match words.len() {
        0 => {}
        1 => _ = members.insert("flags".to_owned(), words.into_iter().next()?),
        _ => _ = members.insert("flags".to_owned(), words.into()),
    }
    if members.is_empty() {
        return Some(Value::Null);
    }
    Some(Value::Object(members))
}

/// What an object is (`NFT_OBJECT_*`), as nft calls it.
pub(super) fn object_kind(number: u32) -> Option<&'static str> {
    Some(match number {
        1 => "counter",
        2 => "quota",
        3 => "ct helper",
        4 => "limit",
        7 => "ct timeout",
        8 => "secmark",
        9 => "ct expectation",
        10 => "synproxy",
        _ => return None,
    })
}

fn ct_object(kind: &'static str, name: Expression) -> Statement {
    Statement::CtObject {
        kind,
        name: Box::new(name),
    }
}

/// A statement that refers to an object.
pub(super) fn reference(kind: u32, name: Expression) -> Option<Statement> {
    Some(match object_kind(kind)? {
        "counter" => Statement::Counter(ValueOrName::Name(name)),
        "quota" => Statement::Quota(ValueOrName::Name(name)),
        "limit" => Statement::Limit(ValueOrName::Name(name)),
        "synproxy" => Statement::Synproxy(ValueOrName::Name(name)),
        "ct helper" => ct_object("helper", name),
        "ct timeout" => ct_object("timeout", name),
        "ct expectation" => ct_object("expectation", name),
        "secmark" => Statement::Mangle {
            key: Expression::Meta("secmark".to_owned()),
            value: Box::new(name),
        },
        _ => return None,
    })
}
