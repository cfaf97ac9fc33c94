//! Types of values as nft numbers them: what it calls them, how wide they are, and how a value is shown.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::ruleset::nftables::listing::{BinaryOperator, Datatype, Expression, symbols};

/// In which order the bytes of a number lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The most significant first.
    Big,
    /// As this machine has them.
    Host,
}

impl Order {
    /// The number that these bytes are; `None` of more than sixteen.
    pub(super) fn number(self, bytes: &[u8]) -> Option<u128> {
        if bytes.len() > 16 {
            return None;
        }
        let add = |sum: u128, byte: &u8| sum << 8 | u128::from(*byte);
        Some(match self {
            Self::Host if cfg!(target_endian = "little") => bytes.iter().rev().fold(0, add),
            _ => bytes.iter().fold(0, add),
        })
    }
}

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type {
    /// nft's number for it.
    pub(super) id: u32,
    /// How wide a value is.
    pub(super) bits: u32,
    pub(super) order: Order,
}

// nft's numbers (`enum datatypes`); sets name their types by them.
pub(super) const VERDICT: u32 = 1;
pub(super) const NF_PROTO: u32 = 2;
pub(super) const INTEGER: u32 = 4;
pub(super) const STRING: u32 = 5;
pub(super) const IPV4: u32 = 7;
pub(super) const IPV6: u32 = 8;
pub(super) const ETHER: u32 = 9;
pub(super) const ETHER_TYPE: u32 = 10;
pub(super) const ARP_OP: u32 = 11;
pub(super) const PROTOCOL: u32 = 12;
pub(super) const SERVICE: u32 = 13;
pub(super) const ICMP_TYPE: u32 = 14;
pub(super) const TCP_FLAG: u32 = 15;
pub(super) const DCCP_TYPE: u32 = 16;
pub(super) const MH_TYPE: u32 = 17;
pub(super) const TIME: u32 = 18;
pub(super) const MARK: u32 = 19;
pub(super) const DEVICE: u32 = 20;
pub(super) const DEVICE_TYPE: u32 = 21;
pub(super) const REALM: u32 = 22;
pub(super) const CLASSID: u32 = 23;
pub(super) const UID: u32 = 24;
pub(super) const GID: u32 = 25;
pub(super) const CT_STATE: u32 = 26;
pub(super) const CT_DIRECTION: u32 = 27;
pub(super) const CT_STATUS: u32 = 28;
pub(super) const ICMPV6_TYPE: u32 = 29;
pub(super) const CT_LABEL: u32 = 30;
pub(super) const PACKET_TYPE: u32 = 31;
pub(super) const ICMP_CODE: u32 = 32;
pub(super) const ICMPV6_CODE: u32 = 33;
pub(super) const ICMPX_CODE: u32 = 34;
pub(super) const DEVICE_GROUP: u32 = 35;
pub(super) const DSCP: u32 = 36;
pub(super) const ECN: u32 = 37;
pub(super) const FIB_TYPE: u32 = 38;
pub(super) const BOOLEAN: u32 = 39;
pub(super) const CT_EVENT: u32 = 40;
pub(super) const DEVICE_NAME: u32 = 41;
pub(super) const IGMP_TYPE: u32 = 42;
/// Bits that no type speaks of: not one of nft's numbers.
pub(super) const RAW: u32 = 1000;

/// Each type's number, name and width, and whether its numbers lie as this machine has them. 0 bits: as wide as it is said to be.
const TYPES: [(u32, &str, u32, bool); 41] = [
    (VERDICT, "verdict", 0, true),
    (NF_PROTO, "nf_proto", 8, true),
    (INTEGER, "integer", 0, false),
    (STRING, "string", 0, true),
    (IPV4, "ipv4_addr", 32, false),
    (IPV6, "ipv6_addr", 128, false),
    (ETHER, "ether_addr", 48, false),
    (ETHER_TYPE, "ether_type", 16, false),
    (ARP_OP, "arp_op", 16, false),
    (PROTOCOL, "inet_proto", 8, false),
    (SERVICE, "inet_service", 16, false),
    (ICMP_TYPE, "icmp_type", 8, false),
    (TCP_FLAG, "tcp_flag", 8, false),
    (DCCP_TYPE, "dccp_pkttype", 4, false),
    (MH_TYPE, "mh_type", 8, false),
    (TIME, "time", 64, true),
    (MARK, "mark", 32, true),
    (DEVICE, "iface_index", 32, true),
    (DEVICE_TYPE, "iface_type", 16, true),
    (REALM, "realm", 32, true),
    (CLASSID, "classid", 32, true),
    (UID, "uid", 32, true),
    (GID, "gid", 32, true),
    (CT_STATE, "ct_state", 32, true),
    (CT_DIRECTION, "ct_dir", 8, false),
    (CT_STATUS, "ct_status", 32, true),
    (ICMPV6_TYPE, "icmpv6_type", 8, false),
    (CT_LABEL, "ct_label", 128, true),
    (PACKET_TYPE, "pkt_type", 8, true),
    (ICMP_CODE, "icmp_code", 8, false),
    (ICMPV6_CODE, "icmpv6_code", 8, false),
    (ICMPX_CODE, "icmpx_code", 8, false),
    (DEVICE_GROUP, "devgroup", 32, true),
    (DSCP, "dscp", 6, false),
    (ECN, "ecn", 2, false),
    (FIB_TYPE, "fib_addrtype", 32, true),
    (BOOLEAN, "boolean", 8, true),
    (CT_EVENT, "ct_event", 32, true),
    (DEVICE_NAME, "ifname", 128, true),
    (IGMP_TYPE, "igmp_type", 8, false),
    (RAW, "", 0, false),
];

impl Type {
    /// The type with this number, as wide as it always is; `None` of those that are not read: their values mean something only
    /// with what else the machine knows (clocks, control groups).
    pub(super) fn of(id: u32) -> Option<Self> {
        let (_, _, bits, is_host) = TYPES.iter().find(|one| one.0 == id)?;
        Some(Self {
            id,
            bits: *bits,
            order: if *is_host { Order::Host } else { Order::Big },
        })
    }

    pub(super) fn wide(id: u32, bits: u32, order: Order) -> Self {
        Self { id, bits, order }
    }

    /// As nft calls it in a set's declaration.
    pub(super) fn name(self) -> Option<&'static str> {
        TYPES.iter().find(|one| one.0 == self.id).map(|one| one.1)
    }

    pub(super) fn bytes(self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    /// Whether a value is a set of bits.
    pub(super) fn is_bits(self) -> bool {
        matches!(self.id, CT_STATE | CT_STATUS | CT_LABEL | TCP_FLAG | CT_EVENT)
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self.id, DEVICE_NAME | STRING)
    }

    /// Where names of values are looked up.
    fn datatype(self) -> Datatype {
        self.name().map_or(Datatype::Other, Datatype::named)
    }
}

/// Names of devices by their index, in the namespace that is read.
#[derive(Debug, Default)]
pub struct Devices(pub(super) HashMap<u32, String>);

/// What a value of a type is shown as; `None` if it cannot be said. `bytes`: as they lie in a register.
pub(super) fn value(bytes: &[u8], of: Type, devices: &Devices) -> Option<Expression> {
    if of.is_text() {
        return device_name(bytes);
    }
    number_value(of.order.number(bytes)?, of, devices)
}

/// As [`value`], of a number.
pub(super) fn number_value(number: u128, of: Type, devices: &Devices) -> Option<Expression> {
    let plain = || u64::try_from(number).ok().map(Expression::Number);
    let word = |word: String| Some(Expression::Word(word.into()));
    match of.id {
        IPV4 => word(Ipv4Addr::from(u32::try_from(number).ok()?).to_string()),
        IPV6 => word(Ipv6Addr::from(number).to_string()),
        ETHER => {
            let bytes = u64::try_from(number).ok()?.to_be_bytes();
            let parts: Vec<String> = bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect();
            (bytes[..2] == [0, 0]).then(|| Expression::Word(parts.join(":").into()))
        }
        DEVICE => {
            let index = u32::try_from(number).ok()?;
            // nft asks for the name, and writes the number of a device that is not there.
            match devices.0.get(&index) {
                Some(name) => word(name.clone()),
                None => plain(),
            }
        }
        DEVICE_GROUP => match number {
            0 => word("default".to_owned()),
            _ => plain(),
        },
        DEVICE_TYPE => match device_type(number) {
            Some(name) => word(name.to_owned()),
            None => plain(),
        },
        REALM => match number {
            0 => word("cosmos".to_owned()),
            _ => word(number.to_string()),
        },
        CLASSID => word(classid(u32::try_from(number).ok()?)),
        BOOLEAN => match number {
            0 => Some(Expression::Exists(false)),
            1 => Some(Expression::Exists(true)),
            _ => None,
        },
        // Kept in milliseconds, written in seconds.
        TIME => u64::try_from(number).ok().map(|ms| Expression::Number(ms / 1000)),
        CT_STATE | CT_STATUS | CT_LABEL | TCP_FLAG | CT_EVENT => or_of_bits(number, of),
        INTEGER | MARK | SERVICE | UID | GID | RAW => plain(),
        _ => match named(number, of) {
            Some(name) => word(name.to_owned()),
            None => plain(),
        },
    }
}

fn named(number: u128, of: Type) -> Option<&'static str> {
    let number = u64::try_from(number).ok()?;
    let own: symbols::Names = match of.id {
        DCCP_TYPE => symbols::DCCP_TYPES,
        MH_TYPE => symbols::MH_TYPES,
        IGMP_TYPE => symbols::IGMP_TYPES,
        ICMPX_CODE => symbols::ICMPX_CODES,
        CT_EVENT => symbols::CT_EVENTS,
        _ => of.datatype().names(),
    };
    symbols::name(own, number)
}

/// `syn | ack`, as an element or beside `==`.
fn or_of_bits(number: u128, of: Type) -> Option<Expression> {
    let mut parts = bits(number, of)?;
    if parts.len() == 1 {
        return parts.pop();
    }
    parts.into_iter().reduce(|left, right| Expression::Binary {
        operator: BinaryOperator::Or,
        operands: vec![left, right],
    })
}

/// `syn,ack`: what is tested together.
pub(super) fn list_of_bits(number: u128, of: Type) -> Option<Expression> {
    let mut parts = bits(number, of)?;
    if parts.len() == 1 {
        return parts.pop();
    }
    Some(Expression::List(parts))
}

/// Each bit by its name or number, from the lowest; 0 alone if there is none.
fn bits(number: u128, of: Type) -> Option<Vec<Expression>> {
    if number == 0 {
        return Some(vec![Expression::Number(0)]);
    }
    let set = (0..of.bits.min(128)).filter(|bit| number >> bit & 1 == 1);
    let part = |bit: u32| {
        if of.id == CT_LABEL {
            return Some(Expression::Number(u64::from(bit)));
        }
        let value = 1_u128.checked_shl(bit)?;
        Some(match named(value, of) {
            Some(name) => Expression::Word(name.into()),
            None => Expression::Number(u64::try_from(value).ok()?),
        })
    };
    set.map(part).collect()
}

/// `none`, `root`, `1:2`
fn classid(number: u32) -> String {
    let (major, minor) = (number >> 16, number & 0xffff);
    match number {
        0 => "none".to_owned(),
        u32::MAX => "root".to_owned(),
        _ => format!("{major:x}:{minor:x}"),
    }
}

/// `ARPHRD_*`, include/uapi/linux/if_arp.h
fn device_type(number: u128) -> Option<&'static str> {
    Some(match number {
        1 => "ether",
        512 => "ppp",
        768 => "ipip",
        769 => "ipip6",
        772 => "loopback",
        776 => "sit",
        778 => "ipgre",
        _ => return None,
    })
}

/// A name that fills its field with zeros, or ends where the value does: then whatever begins so is meant.
pub(super) fn device_name(bytes: &[u8]) -> Option<Expression> {
    let is_prefix = !bytes.contains(&0);
    let name = super::wire::text(bytes)?;
    // nft writes a star that is part of the name so.
    let escaped = match name.strip_suffix('*') {
        Some(stem) => format!("{stem}\\*"),
        None => name,
    };
    let word = if is_prefix && bytes.len() < 16 {
        format!("{escaped}*")
    } else {
        escaped
    };
    Some(Expression::Word(word.into()))
}
