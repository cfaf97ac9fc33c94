//! ICMP types and codes as ipset prints them: those with a name by that.

/// A type and a code as a set holds them (`get_port`, net/netfilter/ipset/ip_set_getport.c).
pub(super) fn number(is_v6: bool, text: &str) -> Option<u16> {
    let names: &[(&str, u8, u8)] = if is_v6 { &V6 } else { &V4 };
    let (kind, code) = match text.split_once('/') {
        Some((kind, code)) => (kind.parse().ok()?, code.parse().ok()?),
        None => {
            let (_, kind, code) = names.iter().find(|(name, ..)| *name == text)?;
            (*kind, *code)
        }
    };
    Some(u16::from_be_bytes([kind, code]))
}

/// Each type and code from 0/0 to 255/17, added to a set and saved again by ipset 7.17.
const V4: [(&str, u8, u8); 32] = [
    ("TOS-host-redirect", 5, 3),
    ("TOS-host-unreachable", 3, 12),
    ("TOS-network-redirect", 5, 2),
    ("TOS-network-unreachable", 3, 11),
    ("address-mask-reply", 18, 0),
    ("address-mask-request", 17, 0),
    ("communication-prohibited", 3, 13),
    ("echo-reply", 0, 0),
    ("echo-request", 8, 0),
    ("fragmentation-needed", 3, 4),
    ("host-precedence-violation", 3, 14),
    ("host-prohibited", 3, 10),
    ("host-redirect", 5, 1),
    ("host-unknown", 3, 7),
    ("host-unreachable", 3, 1),
    ("ip-header-bad", 12, 0),
    ("network-prohibited", 3, 9),
    ("network-redirect", 5, 0),
    ("network-unknown", 3, 6),
    ("network-unreachable", 3, 0),
    ("port-unreachable", 3, 3),
    ("precedence-cutoff", 3, 15),
    ("protocol-unreachable", 3, 2),
    ("required-option-missing", 12, 1),
    ("router-advertisement", 9, 0),
    ("router-solicitation", 10, 0),
    ("source-quench", 4, 0),
    ("source-route-failed", 3, 5),
    ("timestamp-reply", 14, 0),
    ("timestamp-request", 13, 0),
    ("ttl-zero-during-reassembly", 11, 1),
    ("ttl-zero-during-transit", 11, 0),
];
const V6: [(&str, u8, u8); 17] = [
    ("address-unreachable", 1, 3),
    ("bad-header", 4, 0),
    ("communication-prohibited", 1, 1),
    ("echo-reply", 129, 0),
    ("echo-request", 128, 0),
    ("neighbour-advertisement", 136, 0),
    ("neighbour-solicitation", 135, 0),
    ("no-route", 1, 0),
    ("packet-too-big", 2, 0),
    ("port-unreachable", 1, 4),
    ("redirect", 137, 0),
    ("router-advertisement", 134, 0),
    ("router-solicitation", 133, 0),
    ("ttl-zero-during-reassembly", 3, 1),
    ("ttl-zero-during-transit", 3, 0),
    ("unknown-header-type", 4, 1),
    ("unknown-option", 4, 2),
];
