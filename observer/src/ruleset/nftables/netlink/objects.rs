//! Chains, flowtables and named objects.

use super::statements;
use super::types::{self, Devices, Type};
use super::wire::{Attrs, text, user_text};
use crate::ruleset::nftables::listing::{
    BaseChain, Chain, Expression, Family, Flowtable, Object, ObjectKind, Table, Value,
};

/// The family of a table (`NFPROTO_*`).
pub(super) fn family(number: u8) -> Option<Family> {
    Some(match number {
        1 => Family::Inet,
        2 => Family::Ip,
        3 => Family::Arp,
        5 => Family::Netdev,
        7 => Family::Bridge,
        10 => Family::Ip6,
        _ => return None,
    })
}

/// Its number.
pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Arp => 3,
        Family::Netdev => 5,
        Family::Bridge => 7,
        Family::Ip6 => 10,
    }
}

pub(super) fn table(family: Family, attrs: &Attrs<'_>) -> Option<Table> {
    const FLAGS: [&str; 3] = ["dormant", "owner", "persist"];
    let flags = attrs.be32(2).unwrap_or_default();
    let set = FLAGS.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
    Some(Table {
        family,
        name: attrs.text(1)?,
        handle: attrs.be64(4),
        flags: set.map(|(_, word)| (*word).to_owned()).collect(),
        may_be_dormant: flags >> FLAGS.len() != 0,
        comment: user_text(attrs.get(6), 0),
        objects: Vec::new(),
        sets: Vec::new(),
        flowtables: Vec::new(),
        chains: Vec::new(),
    })
}

fn hook(family: Family, number: u32) -> Option<&'static str> {
    const IP: [&str; 6] = [
        "prerouting",
        "input",
        "forward",
        "output",
        "postrouting",
        "ingress",
    ];
    let names: &[&str] = match family {
        Family::Arp => &["input", "output"],
        Family::Netdev => &["ingress", "egress"],
        Family::Inet => &IP,
        Family::Ip | Family::Ip6 | Family::Bridge => &IP[..5],
    };
    names.get(number as usize).copied()
}

pub(super) fn chain(family: Family, attrs: &Attrs<'_>) -> Option<Chain> {
    let base = match attrs.nest(4) {
        None => None,
        Some(of) => {
            let devices = of.list(4).map(text).collect::<Option<Vec<_>>>()?;
            let only = match of.has(3) {
                true => Some(of.text(3)?),
                false => None,
            };
            Some(BaseChain {
                kind: attrs.text(7)?,
                hook: hook(family, of.be32(1)?)?.to_owned(),
                priority: i64::from(of.be32(2)?.cast_signed()),
                policy: match attrs.be32(5) {
                    None => None,
                    Some(0) => Some("drop".to_owned()),
                    Some(1) => Some("accept".to_owned()),
                    Some(_) => return None,
                },
                devices: only.into_iter().chain(devices).collect(),
            })
        }
    };
    Some(Chain {
        name: attrs.text(3)?,
        handle: attrs.be64(2),
        comment: user_text(attrs.get(12), 0),
        base,
        rules: Vec::new(),
    })
}

pub(super) fn flowtable(attrs: &Attrs<'_>) -> Option<Flowtable> {
    let of = attrs.nest(3)?;
    let flags = attrs.be32(7).unwrap_or_default();
    Some(Flowtable {
        name: attrs.text(2)?,
        handle: attrs.be64(5),
        hook: hook(Family::Netdev, of.be32(1)?)?.to_owned(),
        priority: i64::from(of.be32(2)?.cast_signed()),
        devices: of.list(3).map(text).collect::<Option<_>>()?,
        flags: if flags & 1 != 0 {
            vec!["offload".to_owned()]
        } else {
            Vec::new()
        },
        counter: flags & 2 != 0,
    })
}

/// A named object; `None` of kinds that are not read.
pub(super) fn object(family: Family, table: &str, attrs: &Attrs<'_>) -> Option<Object> {
    let (name, handle) = (attrs.text(2)?, attrs.be64(6));
    let data = attrs.nest(4)?;
    let devices = Devices::default();
    let word = |number: u8| -> Option<String> {
        match types::number_value(u128::from(number), Type::of(types::PROTOCOL)?, &devices)? {
            Expression::Word(word) => Some(word.into()),
            _ => None,
        }
    };
    let l3proto = |kind: usize| -> Option<Option<String>> {
        match data.be16(kind) {
            None => Some(None),
            Some(number) => Some(Some(self::family(u8::try_from(number).ok()?)?.name().to_owned())),
        }
    };
    let kind = match statements::object_kind(attrs.be32(3)?)? {
        "counter" => ObjectKind::Counter {
            packets: data.be64(2)?,
            bytes: data.be64(1)?,
        },
        "quota" => ObjectKind::Quota(statements::quota(&data)?),
        "limit" => ObjectKind::Limit(statements::limit(&data)?),
        "ct helper" => ObjectKind::CtHelper {
            helper: data.text(1)?,
            protocol: word(data.u8(3)?)?,
            l3proto: l3proto(2)?,
        },
        "ct expectation" => ObjectKind::CtExpectation {
            protocol: word(data.u8(2)?)?,
            dport: data.be16(3).map(u64::from),
            // The kernel has this one as this machine's number.
            timeout_ms: u64::from(u32::from_ne_bytes(data.get(4)?.try_into().ok()?)),
            size: u64::from(data.u8(5)?),
            l3proto: l3proto(1)?,
        },
        "synproxy" => {
            let mut members = serde_json::Map::new();
            members.insert("family".to_owned(), family.name().into());
            members.insert("name".to_owned(), name.clone().into());
            members.insert("table".to_owned(), table.into());
            if let Some(handle) = handle {
                members.insert("handle".to_owned(), handle.into());
            }
            if let Value::Object(own) = statements::synproxy(&data)? {
                members.extend(own);
            }
            ObjectKind::Synproxy(Value::Object(members))
        }
        "secmark" => ObjectKind::Secmark(data.text(1)?),
        _ => return None,
    };
    Some(Object {
        name,
        handle,
        comment: user_text(attrs.get(8), 0),
        kind,
    })
}
