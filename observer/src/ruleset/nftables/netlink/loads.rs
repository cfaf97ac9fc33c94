//! What an expression puts into a register, and its type.

use super::types::{
    self, BOOLEAN, CLASSID, CT_DIRECTION, CT_EVENT, CT_LABEL, CT_STATE, CT_STATUS, DEVICE, DEVICE_GROUP,
    DEVICE_NAME, DEVICE_TYPE, ETHER_TYPE, FIB_TYPE, GID, INTEGER, IPV4, IPV6, MARK, NF_PROTO, Order,
    PACKET_TYPE, PROTOCOL, REALM, SERVICE, STRING, TIME, Type, UID,
};
use super::wire::Attrs;
use crate::ruleset::nftables::listing::Expression;

use Order::{Big, Host};

/// `NFT_META_*`: name, type, width in bits, order. Those that are not here are not read.
pub(super) fn meta(key: u32) -> Option<(Expression, Type)> {
    let (name, id, bits, order) = match key {
        0 => ("length", INTEGER, 32, Host),
        1 => ("protocol", ETHER_TYPE, 16, Big),
        2 => ("priority", CLASSID, 32, Host),
        3 => ("mark", MARK, 32, Host),
        4 => ("iif", DEVICE, 32, Host),
        5 => ("oif", DEVICE, 32, Host),
        6 => ("iifname", DEVICE_NAME, 128, Host),
        7 => ("oifname", DEVICE_NAME, 128, Host),
        8 => ("iiftype", DEVICE_TYPE, 16, Host),
        9 => ("oiftype", DEVICE_TYPE, 16, Host),
        10 => ("skuid", UID, 32, Host),
        11 => ("skgid", GID, 32, Host),
        12 => ("nftrace", INTEGER, 8, Host),
        13 => ("rtclassid", REALM, 32, Host),
        15 => ("nfproto", NF_PROTO, 8, Host),
        16 => ("l4proto", PROTOCOL, 8, Big),
        17 => ("ibrname", DEVICE_NAME, 128, Host),
        18 => ("obrname", DEVICE_NAME, 128, Host),
        19 => ("pkttype", PACKET_TYPE, 8, Host),
        20 => ("cpu", INTEGER, 32, Host),
        21 => ("iifgroup", DEVICE_GROUP, 32, Host),
        22 => ("oifgroup", DEVICE_GROUP, 32, Host),
        23 => ("cgroup", INTEGER, 32, Host),
        24 => ("random", INTEGER, 32, Big),
        25 => ("ipsec", BOOLEAN, 8, Host),
        26 => ("iifkind", DEVICE_NAME, 128, Host),
        27 => ("oifkind", DEVICE_NAME, 128, Host),
        33 => ("sdif", DEVICE, 32, Host),
        34 => ("sdifname", DEVICE_NAME, 128, Host),
        _ => return None,
    };
    Some((Expression::Meta(name.to_owned()), Type::wide(id, bits, order)))
}

/// `NFT_CT_*`
pub(super) fn ct(attrs: &Attrs<'_>) -> Option<(Expression, Type)> {
    let (key, id, bits, order) = match attrs.be32(2)? {
        0 => ("state", CT_STATE, 32, Host),
        1 => ("direction", CT_DIRECTION, 8, Big),
        2 => ("status", CT_STATUS, 32, Host),
        3 => ("mark", MARK, 32, Host),
        5 => ("expiration", TIME, 32, Host),
        6 => ("helper", STRING, 128, Host),
        7 => ("l3proto", NF_PROTO, 8, Host),
        10 => ("protocol", PROTOCOL, 8, Big),
        11 => ("proto-src", SERVICE, 16, Big),
        12 => ("proto-dst", SERVICE, 16, Big),
        13 => ("label", CT_LABEL, 128, Host),
        14 => ("packets", INTEGER, 64, Host),
        15 => ("bytes", INTEGER, 64, Host),
        16 => ("avgpkt", INTEGER, 64, Host),
        17 => ("zone", INTEGER, 16, Host),
        18 => ("event", CT_EVENT, 32, Host),
        19 => ("ip saddr", IPV4, 32, Big),
        20 => ("ip daddr", IPV4, 32, Big),
        21 => ("ip6 saddr", IPV6, 128, Big),
        22 => ("ip6 daddr", IPV6, 128, Big),
        23 => ("id", INTEGER, 32, Big),
        _ => return None,
    };
    let direction = match attrs.u8(3) {
        None => None,
        Some(0) => Some("original".into()),
        Some(1) => Some("reply".into()),
        Some(_) => return None,
    };
    let expression = Expression::Ct {
        key: key.into(),
        direction,
        family: None,
    };
    Some((expression, Type::wide(id, bits, order)))
}

/// `NFT_RT_*`
pub(super) fn rt(attrs: &Attrs<'_>) -> Option<(Expression, Type)> {
    let (key, family, id, bits, order) = match attrs.be32(2)? {
        0 => ("classid", None, REALM, 32, Host),
        1 => ("nexthop", Some("ip"), IPV4, 32, Big),
        2 => ("nexthop", Some("ip6"), IPV6, 128, Big),
        3 => ("mtu", None, INTEGER, 16, Host),
        4 => ("ipsec", None, BOOLEAN, 8, Host),
        _ => return None,
    };
    let expression = Expression::Rt {
        key: key.into(),
        family: family.map(Into::into),
    };
    Some((expression, Type::wide(id, bits, order)))
}

/// `NFT_SOCKET_*`, but for control groups: their number means nothing without the directory that it is of.
pub(super) fn socket(attrs: &Attrs<'_>) -> Option<(Expression, Type)> {
    let (key, id, bits) = match attrs.be32(1)? {
        0 => ("transparent", INTEGER, 8),
        1 => ("mark", MARK, 32),
        2 => ("wildcard", INTEGER, 8),
        _ => return None,
    };
    let expression = Expression::Socket {
        key: key.into(),
        level: None,
    };
    Some((expression, Type::wide(id, bits, Host)))
}

/// `NFT_FIB_RESULT_*` and `NFTA_FIB_F_*`
pub(super) fn fib(attrs: &Attrs<'_>) -> Option<(Expression, Type)> {
    const PRESENT: u32 = 1 << 5;
    const FLAGS: [&str; 5] = ["saddr", "daddr", "mark", "iif", "oif"];
    let flags = attrs.be32(3)?;
    let is_present = flags & PRESENT != 0;
    let (result, of) = match attrs.be32(2)? {
        // Kept as a whole register.
        1 if is_present => ("oif", Type::wide(BOOLEAN, 32, Host)),
        1 => ("oif", Type::of(DEVICE)?),
        2 if is_present => ("oifname", Type::wide(BOOLEAN, 32, Host)),
        2 => ("oifname", Type::of(DEVICE_NAME)?),
        3 => ("type", Type::of(FIB_TYPE)?),
        _ => return None,
    };
    if flags & !(PRESENT | 0x1f) != 0 {
        return None;
    }
    let set = FLAGS.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
    let expression = Expression::Fib {
        result: result.into(),
        flags: set.map(|(_, name)| (*name).to_owned()).collect(),
    };
    Some((expression, of))
}

/// `NFT_OSF_*`
pub(super) fn osf(attrs: &Attrs<'_>) -> Option<(Expression, Type)> {
    let ttl = match attrs.u8(2).unwrap_or_default() {
        0 => None,
        1 => Some("loose".into()),
        2 => Some("skip".into()),
        _ => return None,
    };
    let key = if attrs.be32(3).unwrap_or_default() & 1 != 0 {
        "version"
    } else {
        "name"
    };
    let expression = Expression::Osf { key: key.into(), ttl };
    Some((expression, Type::wide(STRING, 128, Host)))
}

/// `NFT_NG_*`
pub(super) fn numgen(attrs: &Attrs<'_>) -> Option<(Expression, Type)> {
    let mode = match attrs.be32(3)? {
        0 => "inc",
        1 => "random",
        _ => return None,
    };
    let expression = Expression::Numgen {
        mode: mode.into(),
        modulus: u64::from(attrs.be32(2)?),
        offset: u64::from(attrs.be32(4).unwrap_or_default()),
    };
    Some((expression, Type::wide(INTEGER, 32, Host)))
}

/// `NFT_HASH_SYM`
pub(super) fn symhash(attrs: &Attrs<'_>) -> Option<(Expression, Type)> {
    let expression = Expression::Symhash {
        modulus: u64::from(attrs.be32(4)?),
        offset: u64::from(attrs.be32(6).unwrap_or_default()),
    };
    Some((expression, Type::wide(INTEGER, 32, Host)))
}

/// A field of an extension header, an option or a chunk; or whether it is there.
pub(super) fn exthdr(attrs: &Attrs<'_>) -> Option<(Expression, Type, Option<&'static str>)> {
    let (kind, offset, len) = (attrs.u8(2)?, attrs.be32(3)?, attrs.be32(4)?);
    let is_present = attrs.be32(5).unwrap_or_default() & 1 != 0;
    let (offset, bits) = (offset.checked_mul(8)?, len.checked_mul(8)?);
    let operation = attrs.be32(6).unwrap_or_default();
    let (of, names): (_, &[(u8, &str)]) = match operation {
        0 => (
            "exthdr",
            &[(0, "hbh"), (43, "rt"), (44, "frag"), (60, "dst"), (135, "mh")],
        ),
        1 => ("tcp option", TCP_OPTIONS),
        2 => (
            "ip option",
            &[(131, "lsrr"), (7, "rr"), (137, "ssrr"), (148, "ra")],
        ),
        _ => return None,
    };
    let name = names
        .iter()
        .find(|(number, _)| *number == kind)
        .map(|(_, name)| *name);
    let is_one = of == "tcp option" && matches!(name, Some("eol" | "nop"));
    let field = match (name, is_present) {
        (Some(_), true) => None,
        (None, true) if of == "tcp option" => {
            let raw = Expression::RawTcpOption {
                number: u64::from(kind),
                offset: 0,
                length: 8,
            };
            return Some((raw, Type::of(BOOLEAN)?, Some("tcp")));
        }
        (None, _) => return None,
        (Some(_), false) if is_one => return None,
        (Some(name), false) => {
            let row = EXTENSION_FIELDS
                .iter()
                .find(|row| (row.0, row.1) == (of, name) && (row.4, row.5) == (offset, bits))?;
            Some((row.2, row.3))
        }
    };
    let name = name?.into();
    let of_type = match field {
        None => Type::of(BOOLEAN)?,
        Some((_, id)) => Type::wide(id, bits, Big),
    };
    let field = field.map(|(field, _)| field.into());
    let (expression, header) = match of {
        "exthdr" => (Expression::Exthdr { name, field }, "ip6"),
        "tcp option" => (
            Expression::Option {
                of: "tcp option".into(),
                name,
                field,
            },
            "tcp",
        ),
        _ => (
            Expression::Option {
                of: "ip option".into(),
                name,
                field,
            },
            "ip",
        ),
    };
    Some((expression, of_type, Some(header)))
}

/// `TCPOPT_*`
const TCP_OPTIONS: &[(u8, &str)] = &[
    (0, "eol"),
    (1, "nop"),
    (2, "maxseg"),
    (3, "window"),
    (4, "sack-perm"),
    (5, "sack"),
    (8, "timestamp"),
    (19, "md5sig"),
    (30, "mptcp"),
    (34, "fastopen"),
];

/// Of what, its name, the field, the field's type, offset and width in bits: those that are whole bytes.
type ExtensionField = (&'static str, &'static str, &'static str, u32, u32, u32);

const EXTENSION_FIELDS: &[ExtensionField] = &[
    ("exthdr", "hbh", "nexthdr", types::PROTOCOL, 0, 8),
    ("exthdr", "hbh", "hdrlength", INTEGER, 8, 8),
    ("exthdr", "dst", "nexthdr", types::PROTOCOL, 0, 8),
    ("exthdr", "dst", "hdrlength", INTEGER, 8, 8),
    ("exthdr", "rt", "nexthdr", types::PROTOCOL, 0, 8),
    ("exthdr", "rt", "hdrlength", INTEGER, 8, 8),
    ("exthdr", "rt", "type", INTEGER, 16, 8),
    ("exthdr", "rt", "seg-left", INTEGER, 24, 8),
    ("exthdr", "frag", "nexthdr", types::PROTOCOL, 0, 8),
    ("exthdr", "frag", "id", INTEGER, 32, 32),
    ("exthdr", "mh", "nexthdr", types::PROTOCOL, 0, 8),
    ("exthdr", "mh", "hdrlength", INTEGER, 8, 8),
    ("exthdr", "mh", "type", types::MH_TYPE, 16, 8),
    ("exthdr", "mh", "checksum", INTEGER, 32, 16),
    ("tcp option", "maxseg", "length", INTEGER, 8, 8),
    ("tcp option", "maxseg", "size", INTEGER, 16, 16),
    ("tcp option", "window", "length", INTEGER, 8, 8),
    ("tcp option", "window", "count", INTEGER, 16, 8),
    ("tcp option", "timestamp", "length", INTEGER, 8, 8),
    ("tcp option", "timestamp", "tsval", INTEGER, 16, 32),
    ("tcp option", "timestamp", "tsecr", INTEGER, 48, 32),
    ("ip option", "ra", "length", INTEGER, 8, 8),
    ("ip option", "ra", "value", INTEGER, 16, 16),
];
