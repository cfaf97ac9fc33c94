//! Statements that send a packet on another way: what they take from registers.

use super::rule::{Left, Loaded, Reader};
use super::types::{DEVICE, IPV4, IPV6, SERVICE, Type};
use super::wire::Attrs;
use crate::ruleset::nftables::listing::{Expression, Family, Nat, NatKind, Statement};

// include/uapi/linux/netfilter/nf_nat.h
const MAP_IPS: u32 = 1;
const PROTO_SPECIFIED: u32 = 2;
const PROTO_RANDOM: u32 = 4;
const PERSISTENT: u32 = 8;
const FULLY_RANDOM: u32 = 16;
const PROTO_OFFSET: u32 = 32;
const NETMAP: u32 = 64;
const NFPROTO_IPV4: u32 = 2;
const NFPROTO_IPV6: u32 = 10;

/// Words of the flags; `None` if there are others.
fn flags(flags: u32) -> Option<Vec<String>> {
    const WORDS: [(u32, &str); 3] = [
        (PROTO_RANDOM, "random"),
        (FULLY_RANDOM, "fully-random"),
        (PERSISTENT, "persistent"),
    ];
    let known = MAP_IPS | PROTO_SPECIFIED | PROTO_RANDOM | FULLY_RANDOM | PERSISTENT;
    if flags & !known != 0 || flags & (PROTO_OFFSET | NETMAP) != 0 {
        return None;
    }
    let set = WORDS.iter().filter(|(bit, _)| flags & bit != 0);
    Some(set.map(|(_, word)| (*word).to_owned()).collect())
}

fn address_type(family: u32) -> Option<Type> {
    match family {
        NFPROTO_IPV4 => Type::of(IPV4),
        NFPROTO_IPV6 => Type::of(IPV6),
        _ => None,
    }
}

impl Reader<'_> {
    /// What is between two registers.
    fn between(&mut self, from: Option<u32>, to: Option<u32>, of: Type) -> Option<Option<Expression>> {
        let Some(from) = from else {
            return to.is_none().then_some(None);
        };
        let first = self.taken(from, of)?;
        let Some(to) = to.filter(|to| *to != from) else {
            return Some(Some(first));
        };
        let (low, high) = (self.constant(from)?, self.constant(to)?);
        let last = self.taken(to, of)?;
        if low == high {
            return Some(Some(first));
        }
        // A whole network is written as one.
        let (low, high) = (
            of.order.number(low.get(..of.bytes())?)?,
            of.order.number(high.get(..of.bytes())?)?,
        );
        let is_address = matches!(of.id, IPV4 | IPV6);
        Some(Some(match super::sets::interval(low, high, of, self.devices)? {
            prefix @ Expression::Prefix { .. } if is_address => prefix,
            _ => Expression::Range(Box::new([first, last])),
        }))
    }

    fn taken(&mut self, register: u32, of: Type) -> Option<Expression> {
        let loaded = self.register(register)?.clone();
        self.assigned(&loaded, of)
    }

    fn constant(&self, register: u32) -> Option<Vec<u8>> {
        match self.register(register)? {
            Loaded {
                left: Left::Constant(bytes),
                ..
            } => Some(bytes.clone()),
            _ => None,
        }
    }

    pub(super) fn nat(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let kind = match attrs.be32(1)? {
            0 => NatKind::Snat,
            1 => NatKind::Dnat,
            _ => return None,
        };
        let family = attrs.be32(2)?;
        let address = match attrs.be32(3) {
            None => None,
            from => self.between(from, attrs.be32(4), address_type(family)?)?,
        };
        let port = self.between(attrs.be32(5), attrs.be32(6), Type::of(SERVICE)?)?;
        let of_family = match family {
            NFPROTO_IPV4 => "ip",
            _ => "ip6",
        };
        let is_told = self.family == Family::Inet && address.is_some();
        self.push(Statement::Nat(Box::new(Nat {
            kind,
            family: is_told.then(|| of_family.to_owned()),
            address,
            port,
            flags: flags(attrs.be32(7).unwrap_or_default())?,
            type_flags: Vec::new(),
        })));
        Some(())
    }

    pub(super) fn masquerade(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        self.translation_of_port(NatKind::Masquerade, attrs, [1, 2, 3])
    }

    pub(super) fn redirect(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        self.translation_of_port(NatKind::Redirect, attrs, [3, 1, 2])
    }

    fn translation_of_port(
        &mut self,
        kind: NatKind,
        attrs: &Attrs<'_>,
        [of_flags, least, most]: [usize; 3],
    ) -> Option<()> {
        let port = self.between(attrs.be32(least), attrs.be32(most), Type::of(SERVICE)?)?;
        self.push(Statement::Nat(Box::new(Nat {
            kind,
            family: None,
            address: None,
            port,
            flags: flags(attrs.be32(of_flags).unwrap_or_default())?,
            type_flags: Vec::new(),
        })));
        Some(())
    }

    pub(super) fn tproxy(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let family = attrs.be32(1).unwrap_or_default();
        let address = match attrs.be32(2) {
            None => None,
            Some(from) => Some(self.taken(from, address_type(family)?)?),
        };
        let port = match attrs.be32(3) {
            None => None,
            Some(from) => Some(self.taken(from, Type::of(SERVICE)?)?),
        };
        let word = match family {
            NFPROTO_IPV4 => Some("ip"),
            NFPROTO_IPV6 => Some("ip6"),
            _ => None,
        };
        self.push(Statement::Tproxy {
            family: word.filter(|_| self.family == Family::Inet).map(Into::into),
            address: address.map(Box::new),
            port: port.map(Box::new),
        });
        Some(())
    }

    pub(super) fn dup(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let device = Type::of(DEVICE)?;
        let (address, device) = match (self.family, attrs.be32(1), attrs.be32(2)) {
            // In family netdev the copy goes to a device.
            (Family::Netdev, None, Some(from)) => (self.taken(from, device)?, None),
            (family @ (Family::Ip | Family::Ip6), Some(to), by) => {
                let of = Type::of(if family == Family::Ip { IPV4 } else { IPV6 })?;
                let by = match by {
                    Some(by) => Some(self.taken(by, device)?),
                    None => None,
                };
                (self.taken(to, of)?, by)
            }
            _ => return None,
        };
        self.push(Statement::Dup {
            address: Some(address),
            device: device.map(Box::new),
        });
        Some(())
    }

    pub(super) fn fwd(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let device = self.taken(attrs.be32(1)?, Type::of(DEVICE)?)?;
        let (family, address) = match (attrs.be32(2), attrs.be32(3)) {
            (None, _) => (None, None),
            (Some(to), Some(family)) => {
                let word = if family == NFPROTO_IPV4 { "ip" } else { "ip6" };
                let to = self.taken(to, address_type(family)?)?;
                (Some(word.into()), Some(Box::new(to)))
            }
            _ => return None,
        };
        self.push(Statement::Fwd {
            device: Box::new(device),
            family,
            address,
        });
        Some(())
    }
}
