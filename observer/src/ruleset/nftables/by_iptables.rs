//! What iptables-nft writes. What else stands in its tables nft put there, and iptables-nft-save (1.8.9) shows such a rule without
//! it, as if it asked less: sets, and fields that iptables has no option for. Of some other expressions it says that the table is
//! none of its own. (iptables/nft.c and nft-shared.c, 1.8.7 to 1.8.11: what rules are made of, and what is read of them.)

use crate::ruleset::layout::PayloadLayout;

/// Expressions whose contents iptables-nft-save shows whatever they are.
const SHOWN: [&str; 9] = [
    "bitwise",
    "cmp",
    "counter",
    "immediate",
    "limit",
    "log",
    "match",
    "range",
    "target",
];
/// `NFT_META_MARK`, `IIF`, `OIF`, `IIFNAME`, `OIFNAME`, `L4PROTO` (include/uapi/linux/netfilter/nf_tables.h).
const META_KEYS: [u8; 6] = [3, 4, 5, 6, 7, 16];
/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`
const NETWORK: u8 = 1;
const TRANSPORT: u8 = 2;

/// An expression of a rule.
pub(super) struct Expression<'a> {
    /// Its type.
    pub(super) name: &'a str,
    /// Whether it writes to the packet or its connection.
    pub(super) sets: bool,
    /// Its private data.
    pub(super) private: &'a [u8],
}

/// Whether iptables-nft may have written it, so that iptables-nft-save shows it. Without the layout of a payload's question that is
/// not known of any.
pub(super) fn writes(expression: &Expression<'_>, layout: Option<PayloadLayout>) -> bool {
    match expression.name {
        "meta" => {
            let key = expression.private.first();
            !expression.sets && key.is_some_and(|key| META_KEYS.contains(key))
        }
        "payload" => !expression.sets && layout.is_some_and(|layout| is_shown(expression.private, layout)),
        name => SHOWN.contains(&name),
    }
}

/// Whether iptables has an option for this part of a packet. A prefix of whole bytes is asked for as so many bytes of the address.
fn is_shown(private: &[u8], layout: PayloadLayout) -> bool {
    let asked = || {
        let offset = private.get(layout.offset..layout.len)?;
        let offset = match *offset {
            [byte] => u16::from(byte),
            [first, second] => u16::from_ne_bytes([first, second]),
            _ => return None,
        };
        Some((*private.first()?, offset, *private.get(layout.len)?))
    };
    match asked() {
        // Protocol and fragment of IPv4, next header of IPv6.
        Some((NETWORK, 9, 1) | (NETWORK, 6, 1 | 2)) => true,
        // Addresses of IPv4 and of IPv6. The first byte alone of an IPv6 source is where IPv4 has its TTL.
        Some((NETWORK, 12 | 16, 1..=4)) | Some((NETWORK, 8, 2..=16)) | Some((NETWORK, 24, 1..=16)) => true,
        // Ports, and TCP's flags.
        Some((TRANSPORT, 0, 2 | 4) | (TRANSPORT, 2, 2) | (TRANSPORT, 13, 1)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: PayloadLayout = PayloadLayout { offset: 1, len: 2 };
    const NEW: PayloadLayout = PayloadLayout { offset: 2, len: 4 };

    fn payload(base: u8, offset: u8, len: u8) -> bool {
        let old = [base, offset, len, 1];
        let [low, high] = u16::from(offset).to_ne_bytes();
        let new = [base, 0, low, high, len, 1];
        let of = |private, layout| {
            let name = "payload";
            writes(
                &Expression {
                    name,
                    sets: false,
                    private,
                },
                Some(layout),
            )
        };
        let known = of(&old, OLD);
        assert_eq!(known, of(&new, NEW), "whatever the kernel");
        let cut = Expression {
            name: "payload",
            sets: false,
            private: &old[..2],
        };
        assert!(!writes(&cut, Some(OLD)) && !writes(&cut, None));
        known
    }

    #[test]
    fn addresses_protocols_and_ports_are_of_iptables_and_other_fields_are_not() {
        assert!(payload(1, 12, 4) && payload(1, 12, 3) && payload(1, 16, 4) && payload(1, 8, 16));
        assert!(payload(1, 9, 1) && payload(1, 6, 2) && payload(2, 0, 2) && payload(2, 2, 2));
        for (base, offset, len) in [
            (1, 8, 1),
            (1, 2, 2),
            (1, 1, 1),
            (2, 4, 4),
            (0, 6, 6),
            (2, 12, 2),
            (1, 12, 8),
        ] {
            assert!(!payload(base, offset, len), "{base} {offset} {len}");
        }
    }

    #[test]
    fn sets_and_what_nft_alone_asks_are_not_of_iptables() {
        let of = |name, sets, key: u8| {
            let private = &[key, 0, 0, 0];
            writes(&Expression { name, sets, private }, Some(NEW))
        };
        assert!(of("counter", false, 0) && of("match", false, 0) && of("meta", false, 6));
        for name in ["lookup", "ct", "fib", "dynset", "objref", "vmap", "reject", ""] {
            assert!(!of(name, false, 0), "{name}");
        }
        assert!(!of("meta", false, 10) && !of("meta", true, 3) && !of("payload", true, 1));
    }
}
