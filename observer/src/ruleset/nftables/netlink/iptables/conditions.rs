//! What iptables-nft asks with expressions of nf_tables: something is loaded, masked, and compared.

use std::net::IpAddr;

use super::super::wire::Attrs;
use super::protocols::Protocols;
use super::rule::address;
use crate::ruleset::xtables::save::{Device, Net, Protocol, Signed, flag_names};

/// What a register is loaded with; of a header where it begins and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Network(u32, u32),
    Transport(u32, u32),
    /// `NFT_META_*`
    Meta(u32),
}

/// A register, until it is asked for.
pub(super) struct Loaded {
    source: Source,
    register: u32,
    mask: Option<Vec<u8>>,
}

/// What is asked.
pub(super) struct Condition {
    pub(super) source: Source,
    pub(super) mask: Option<Vec<u8>>,
    pub(super) negated: bool,
    /// The value, or the first of a span.
    pub(super) value: Vec<u8>,
    /// The last of a span.
    pub(super) last: Option<Vec<u8>>,
}

impl Loaded {
    pub(super) fn read(name: &str, attrs: &Attrs<'_>) -> Option<Self> {
        let source = match (name, attrs.be32(2)?) {
            ("meta", key) => Source::Meta(key),
            (_, 1) => Source::Network(attrs.be32(3)?, attrs.be32(4)?),
            (_, 2) => Source::Transport(attrs.be32(3)?, attrs.be32(4)?),
            _ => return None,
        };
        Some(Self {
            source,
            register: attrs.be32(1)?,
            mask: None,
        })
    }

    /// `bitwise`: only and, in place.
    pub(super) fn mask(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let (mask, xor) = (attrs.data(4)?, attrs.data(5)?);
        let is_plain = attrs.be32(6).unwrap_or_default() == 0
            && attrs.be32(1)? == self.register
            && xor.iter().all(|byte| *byte == 0)
            && self.mask.is_none();
        self.register = attrs.be32(2)?;
        self.mask = Some(mask.to_vec());
        is_plain.then_some(())
    }

    /// `cmp`, `range`: equal or not, within or not; ports are also compared for being at most one (`0:1023`), or more (`! 0:1023`,
    /// which the tool shows as what is above).
    pub(super) fn asked(self, name: &str, attrs: &Attrs<'_>) -> Option<Condition> {
        const AT_MOST: u32 = 3;
        const MORE: u32 = 4;
        let value = attrs.data(3)?.to_vec();
        let is_port = matches!(self.source, Source::Transport(0 | 2, 2)) && self.mask.is_none();
        let (negated, value, last) = match (name, attrs.be32(2)?) {
            ("range", negated @ (0 | 1)) => (negated == 1, value, Some(attrs.data(4)?.to_vec())),
            ("cmp", negated @ (0 | 1)) => (negated == 1, value, None),
            ("cmp", AT_MOST) if is_port => (false, vec![0, 0], Some(value)),
            ("cmp", MORE) if is_port => {
                let first = u16::from_be_bytes(value.try_into().ok()?).checked_add(1)?;
                (false, first.to_be_bytes().to_vec(), Some(vec![0xff, 0xff]))
            }
            _ => return None,
        };
        let is_as_long = self.mask.as_ref().is_none_or(|mask| mask.len() == value.len())
            && last.as_ref().is_none_or(|last| last.len() == value.len());
        (attrs.be32(1)? == self.register && is_as_long).then_some(Condition {
            source: self.source,
            mask: self.mask,
            negated,
            value,
            last,
        })
    }
}

impl Condition {
    /// Fills a place that is still free: what nft asks twice iptables shows once.
    fn put<T>(&self, place: &mut Option<Signed<T>>, value: T) -> Option<()> {
        let negated = self.negated;
        (self.last.is_none() && place.is_none()).then_some(())?;
        *place = Some(Signed { negated, value });
        Some(())
    }

    /// An address, whole or its first bytes, or one with a mask.
    pub(super) fn network(&self, is_v6: bool, place: &mut Option<Signed<Net>>) -> Option<()> {
        let whole = if is_v6 { 16 } else { 4 };
        let (Source::Network(_, len) | Source::Transport(_, len)) = self.source else {
            return None;
        };
        if self.value.len() != len as usize {
            return None;
        }
        let addr = address(&self.value, is_v6)?;
        let net = match &self.mask {
            None => Net::new(addr, u8::try_from(len * 8).ok()?)?,
            Some(mask) if len == whole => masked(addr, address(mask, is_v6)?)?,
            Some(_) => return None,
        };
        self.put(place, net)
    }

    /// `-f`: an offset that is not 0.
    pub(super) fn fragment(&self, place: &mut Option<Signed<()>>) -> Option<()> {
        let is_offset = self.mask.as_deref() == Some(&[0x1f, 0xff]) && self.value == [0, 0];
        (is_offset && self.last.is_none() && place.is_none()).then_some(())?;
        *place = Some(Signed {
            negated: !self.negated,
            value: (),
        });
        Some(())
    }

    /// A name with the zero that ends it, or how one begins. `! -i +` is a name that no device has.
    pub(super) fn device(&self, place: &mut Option<Signed<Device>>) -> Option<()> {
        const NO_DEVICE: &[u8] = b"INVAL/D\0";
        const NAME_BYTES: usize = 16;
        if self.mask.is_some() || self.value.len() > NAME_BYTES {
            return None;
        }
        if self.value == NO_DEVICE && !self.negated {
            (place.is_none() && self.last.is_none()).then_some(())?;
            *place = Some(Signed {
                negated: true,
                value: Device::parse("+"),
            });
            return Some(());
        }
        let ended = self.value.iter().position(|byte| *byte == 0);
        let (name, rest) = self.value.split_at(ended.unwrap_or(self.value.len()));
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
        if rest.iter().any(|byte| *byte != 0) || name.ends_with('+') {
            return None;
        }
        let device = Device {
            name: name.into(),
            is_prefix: ended.is_none(),
        };
        self.put(place, device)
    }

    pub(super) fn protocol(&self, protocols: &Protocols, place: &mut Option<Signed<Protocol>>) -> Option<()> {
        let [number] = *self.value else { return None };
        (number != 0 && self.mask.is_none()).then_some(())?;
        let protocol = Protocol {
            number: Some(number),
            name: protocols.name(number).into(),
        };
        self.put(place, protocol)
    }

    /// `0x1/0xff`
    pub(super) fn mark(&self) -> Option<String> {
        self.last.is_none().then_some(())?;
        let number = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.try_into().ok()?));
        let value = number(&self.value)?;
        Some(match &self.mask {
            None => format!("{value:#x}"),
            Some(mask) => match number(mask)? {
                u32::MAX => format!("{value:#x}"),
                mask => format!("{value:#x}/{mask:#x}"),
            },
        })
    }

    /// Two ports that lie one behind the other, each as it is asked for.
    pub(super) fn both_ports(&self) -> Option<[String; 2]> {
        let [a, b, c, d] = *self.value else { return None };
        let is_plain = !self.negated && self.mask.is_none() && self.last.is_none();
        is_plain.then(|| {
            [
                u16::from_be_bytes([a, b]).to_string(),
                u16::from_be_bytes([c, d]).to_string(),
            ]
        })
    }

    /// `80`, `80:90`
    pub(super) fn span(&self) -> Option<String> {
        self.mask.is_none().then_some(())?;
        let number = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
        let first = number(&self.value)?;
        Some(match &self.last {
            None => first.to_string(),
            Some(last) => match number(last)? {
                last if last == first => first.to_string(),
                last => format!("{first}:{last}"),
            },
        })
    }
}

fn masked(addr: IpAddr, mask: IpAddr) -> Option<Net> {
    Net::parse(&format!("{addr}/{mask}"))
}

/// The flags of TCP that are looked at, and those of them that must be set, by their names.
pub(super) fn flags(mask: u8, set: u8) -> Option<[String; 2]> {
    const ALL: u8 = 0x3f;
    ((mask | set) & !ALL == 0).then(|| [flag_names(mask), flag_names(set)])
}
