//! Chains, flowtables and named objects.

use super::fields::Fields;
use super::statements;
use crate::ruleset::nftables::listing::model::{BaseChain, Chain, Flowtable, Object, ObjectKind, Value};
use crate::ruleset::nftables::listing::statement::Quota;

pub(super) fn chain(fields: Fields<'_>) -> Option<Chain> {
    let base = fields.text("hook").map(|hook| BaseChain {
        kind: fields.text("type").unwrap_or_default(),
        hook,
        priority: fields.signed("prio").unwrap_or_default(),
        policy: fields.text("policy"),
        devices: fields.words("dev"),
    });
    Some(Chain {
        name: fields.text("name")?,
        handle: fields.number("handle"),
        comment: fields.text("comment"),
        base,
        rules: Vec::new(),
    })
}

/// A chain that is known from its rules only.
pub(super) fn unlisted_chain(name: String) -> Chain {
    Chain {
        name,
        handle: None,
        comment: None,
        base: None,
        rules: Vec::new(),
    }
}

pub(super) fn flowtable(fields: Fields<'_>) -> Option<Flowtable> {
    Some(Flowtable {
        name: fields.text("name")?,
        handle: fields.number("handle"),
        hook: fields.text("hook")?,
        priority: fields.signed("prio").unwrap_or_default(),
        devices: fields.words("dev"),
        flags: fields.words("flags"),
        counter: fields.get("counter").is_some(),
    })
}

/// An object of the kind that its name in the list says.
pub(super) fn object(kind: &str, fields: Fields<'_>, body: &Value) -> Option<Object> {
    Some(Object {
        name: fields.text("name")?,
        handle: fields.number("handle"),
        comment: fields.text("comment"),
        kind: known(kind, fields).unwrap_or_else(|| ObjectKind::Unknown(kind.to_owned(), body.clone())),
    })
}

fn known(kind: &str, fields: Fields<'_>) -> Option<ObjectKind> {
    Some(match kind {
        "counter" => ObjectKind::Counter {
            packets: fields.number("packets")?,
            bytes: fields.number("bytes")?,
        },
        "quota" => ObjectKind::Quota(Quota {
            bytes: fields.number("bytes")?,
            used_bytes: fields.number("used").unwrap_or_default(),
            over: fields.is_true("inv"),
        }),
        "limit" => ObjectKind::Limit(statements::limit(fields)?),
        "ct helper" => ObjectKind::CtHelper {
            helper: fields.text("type")?,
            protocol: fields.text("protocol")?,
            l3proto: fields.text("l3proto"),
        },
        "ct timeout" => ObjectKind::CtTimeout {
            protocol: fields.text("protocol")?,
            l3proto: fields.text("l3proto"),
            policy: policy(fields)?,
        },
        "ct expectation" => ObjectKind::CtExpectation {
            protocol: fields.text("protocol")?,
            dport: fields.number("dport"),
            timeout_ms: fields.number("timeout")?,
            size: fields.number("size")?,
            l3proto: fields.text("l3proto"),
        },
        "synproxy" => ObjectKind::Synproxy(Value::Object(fields.0.clone())),
        "secmark" => ObjectKind::Secmark(fields.text("context")?),
        _ => return None,
    })
}

/// Seconds by state, in the order in which connections go through them.
fn policy(fields: Fields<'_>) -> Option<Vec<(String, u64)>> {
    const ORDER: [&str; 18] = [
        "closed",
        "listen",
        "syn_sent",
        "syn_sent2",
        "syn_recv",
        "established",
        "fin_wait",
        "close_wait",
        "last_ack",
        "time_wait",
        "close",
        "retrans",
        "unack",
        "unreplied",
        "replied",
        "request",
        "respond",
        "partopen",
    ];
    let members = Fields::of(fields.get("policy")?)?;
    let mut policy: Vec<(String, u64)> = members
        .0
        .iter()
        .map(|(state, seconds)| Some((state.clone(), seconds.as_u64()?)))
        .collect::<Option<_>>()?;
    policy.sort_by_key(|(state, _)| {
        ORDER
            .iter()
            .position(|known| known == state)
            .unwrap_or(ORDER.len())
    });
    Some(policy)
}
