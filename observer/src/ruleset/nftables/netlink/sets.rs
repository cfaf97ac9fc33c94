//! Sets and maps, with their elements.

use super::NotRead;
use super::statements;
use super::types::{self, Devices, Order, Type, value};
use super::wire::{Attrs, user_data, user_text};
use crate::ruleset::nftables::listing::{Element, Expression, Name, Own, Set, Statement, Verdict};

// include/uapi/linux/netfilter/nf_tables.h, `enum nft_set_flags`
const ANONYMOUS: u32 = 0x1;
const CONSTANT: u32 = 0x2;
const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const TIMEOUT: u32 = 0x10;
const EVAL: u32 = 0x20;
const OBJECT: u32 = 0x40;
/// `NFT_DATA_VERDICT`
const DATA_VERDICT: u32 = 0xffff_ff00;
/// Bits that nft has for each type of a concatenation.
const TYPE_BITS: u32 = 6;
/// `NFT_SET_ELEM_INTERVAL_END`, `NFT_SET_ELEM_CATCHALL`
const INTERVAL_END: u32 = 1;
const CATCHALL: u32 = 2;
/// What nft keeps of a set: the order of bytes of its keys and of its data, whether intervals are joined, whether data are
/// intervals, its comment.
const KEY_ORDER: u8 = 0;
const DATA_ORDER: u8 = 1;
const MERGES: u8 = 2;
const DATA_INTERVAL: u8 = 6;
const COMMENT: u8 = 7;
/// nft's word for most significant first.
const BIG: u32 = 2;
/// So many elements are kept as they are.
const MOST_SMALL: usize = 256;
/// More elements than any set that is read.
pub(super) const MOST_ELEMENTS: usize = 4 << 20;

/// What a map leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// It is no map.
    None,
    Verdict,
    /// The name of an object of this kind (`NFT_OBJECT_*`).
    Object(u32),
    Value(Vec<Type>),
}

/// A set that is being read, and what rules must know of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) set: Set,
    pub(super) is_anonymous: bool,
    pub(super) keys: Vec<Type>,
    pub(super) key_bytes: usize,
    pub(super) data: Data,
    has_data_intervals: bool,
    is_interval: bool,
    raw: Vec<Raw>,
    /// Of a small set without a name: a rule that looks a part of a byte up has its bits where they lie in the packet.
    small: Vec<Raw>,
}

/// An element before intervals are put together.
#[derive(Clone, Debug)]
struct Raw {
    key: Vec<u8>,
    key_end: Option<Vec<u8>>,
    is_end: bool,
    element: Element,
}

/// Reads a set without its elements.
pub(super) fn set(attrs: &Attrs<'_>, devices: &Devices) -> Result<Known, NotRead> {
    let name = attrs.text(2).ok_or(NotRead::Message)?;
    let unread = || NotRead::Set(name.clone());
    let flags = attrs.be32(3).unwrap_or_default();
    let key_bytes = attrs.be32(5).ok_or_else(unread)? as usize;
    let own = attrs.get(13);
    let number = |wanted| {
        let mut found = user_data(own.unwrap_or_default()).filter(|(kind, _)| *kind == wanted);
        let bytes = found.next()?.1;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let key_order = number(KEY_ORDER);
    let keys = types_of(attrs.be32(4).ok_or_else(unread)?, key_bytes, key_order).ok_or_else(unread)?;
    let (data, data_types) = data(attrs, flags, number(DATA_ORDER)).ok_or_else(unread)?;
    let names = |types: &[Type]| -> Option<Vec<String>> {
        types.iter().map(|one| Some(one.name()?.to_owned())).collect()
    };
    let desc = attrs.nest(9);
    let mut words = Vec::new();
    for (flag, word) in [
        (CONSTANT, "constant"),
        (EVAL, "dynamic"),
        (INTERVAL, "interval"),
        (TIMEOUT, "timeout"),
    ] {
        if flags & flag != 0 {
            words.push(word.to_owned());
        }
    }
    let seconds = |kind| {
        attrs
            .be64(kind)
            .map(|ms| ms / 1000)
            .filter(|seconds| *seconds > 0)
    };
    let set = Set {
        handle: attrs.be64(16),
        key_types: names(&keys).ok_or_else(unread)?,
        data_types: match &data {
            Data::None => None,
            Data::Verdict => Some(vec!["verdict".to_owned()]),
            Data::Object(_) => Some(vec![data_types.ok_or_else(unread)?]),
            Data::Value(types) => Some(names(types).ok_or_else(unread)?),
        },
        policy: attrs
            .be32(8)
            .filter(|policy| *policy == 1)
            .map(|_| "memory".to_owned()),
        flags: words,
        // Of a constant one it is how many it holds.
        size: desc
            .filter(|_| flags & CONSTANT == 0)
            .and_then(|desc| desc.be32(1))
            .filter(|size| *size > 0)
            .map(u64::from),
        timeout: seconds(11),
        gc_interval: attrs.be32(12).filter(|ms| *ms > 0).map(|ms| u64::from(ms) / 1000),
        auto_merge: number(MERGES).is_some_and(|merges| merges != 0),
        comment: user_text(own, COMMENT),
        statements: own_statements(attrs, 17, 18, devices)
            .ok_or_else(unread)?
            .into_iter()
            .map(statements::uncounted)
            .collect(),
        elements: Vec::new(),
        name,
    };
    Ok(Known {
        set,
        is_anonymous: flags & ANONYMOUS != 0,
        keys,
        key_bytes,
        data,
        has_data_intervals: number(DATA_INTERVAL).is_some_and(|is| is != 0),
        is_interval: flags & INTERVAL != 0,
        raw: Vec::new(),
        small: Vec::new(),
    })
}

/// One statement of a set or an element, or the list of several.
fn own_statements(
    attrs: &Attrs<'_>,
    one: usize,
    several: usize,
    devices: &Devices,
) -> Option<Vec<Statement>> {
    if let Some(bytes) = attrs.get(one) {
        return Some(vec![statements::of_element(bytes, devices)?]);
    }
    attrs
        .list(several)
        .map(|bytes| statements::of_element(bytes, devices))
        .collect()
}

fn data(attrs: &Attrs<'_>, flags: u32, order: Option<u32>) -> Option<(Data, Option<String>)> {
    if flags & OBJECT != 0 {
        let number = attrs.be32(15)?;
        let kind = statements::object_kind(number)?;
        return Some((Data::Object(number), Some(kind.to_owned())));
    }
    if flags & MAP == 0 {
        return Some((Data::None, None));
    }
    let id = attrs.be32(6)?;
    if id == DATA_VERDICT {
        return Some((Data::Verdict, None));
    }
    Some((Data::Value(types_of(id, attrs.be32(7)? as usize, order)?), None))
}

/// The types of a key: several of a concatenation, each of whose parts begins at a multiple of four bytes. The kernel does not look at
/// what nft says of them, so it must fit what the kernel has.
fn types_of(id: u32, bytes: usize, order: Option<u32>) -> Option<Vec<Type>> {
    let mut ids = Vec::new();
    let mut rest = id;
    while rest > 0 {
        ids.push(rest & ((1 << TYPE_BITS) - 1));
        rest >>= TYPE_BITS;
    }
    ids.reverse();
    if let [one] = ids.as_slice() {
        let mut of = Type::of(*one)?;
        if of.bits == 0 || (matches!(*one, types::TIME) && bytes > 0) {
            of.bits = u32::try_from(bytes.checked_mul(8)?).ok()?;
        }
        of.order = match order {
            Some(BIG) => Order::Big,
            Some(1) => Order::Host,
            _ => of.order,
        };
        return (of.bytes() == bytes).then_some(vec![of]);
    }
    let types: Vec<Type> = ids.into_iter().map(Type::of).collect::<Option<_>>()?;
    let is_known = types.iter().all(|one| one.bits > 0);
    let sum: usize = types.iter().map(|one| one.bytes().next_multiple_of(4)).sum();
    (is_known && sum == bytes).then_some(types)
}

impl Known {
    /// Takes an element of a message.
    pub(super) fn element(&mut self, attrs: &Attrs<'_>, devices: &Devices) -> Option<()> {
        let flags = attrs.be32(3).unwrap_or_default();
        let is_end = flags & INTERVAL_END != 0;
        let key = attrs.data(1).unwrap_or_default();
        let data = match &self.data {
            _ if is_end => None,
            Data::None => None,
            Data::Verdict => Some(Expression::Verdict(verdict(attrs.nest(2)?.nest(2)?)?)),
            Data::Object(_) => Some(Expression::Word(attrs.text(9)?.into())),
            Data::Value(types) => {
                if self.has_data_intervals {
                    return None;
                }
                Some(values(attrs.data(2)?, types, devices)?)
            }
        };
        let shown = if flags & CATCHALL != 0 {
            Expression::Wildcard
        } else {
            Expression::Number(0)
        };
        let seconds = |kind| attrs.be64(kind).map(|ms| ms / 1000);
        self.raw.push(Raw {
            key: key.to_vec(),
            key_end: attrs.data(10).map(<[u8]>::to_vec),
            is_end,
            element: Element {
                key: shown,
                data,
                own: Own {
                    statements: own_statements(attrs, 7, 11, devices)?,
                    timeout: seconds(4),
                    expires: seconds(5),
                    comment: user_text(attrs.get(6), 0).map(Name::from),
                }
                .of_element(),
            },
        });
        Some(())
    }

    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// To be called when all elements are there: sorts them, and makes intervals of their ends.
    pub(super) fn settle(&mut self, devices: &Devices) -> Option<()> {
        let mut raw = std::mem::take(&mut self.raw);
        // What has no key is for whatever no other element matches, and comes last.
        let at = raw.iter().position(|one| one.element.key == Expression::Wildcard);
        let other = at.map(|at| raw.remove(at).element);
        if raw.iter().any(|one| one.key.len() != self.key_bytes) {
            return None;
        }
        let mut elements = Vec::with_capacity(raw.len());
        if self.keys.len() > 1 {
            if !self.is_interval {
                // nft takes the bytes of the whole for one number of this machine's.
                raw.sort_by(|one, other| one.key.iter().rev().cmp(other.key.iter().rev()));
            }
            for one in raw {
                let key = match &one.key_end {
                    Some(end) => ranges(&one.key, end, &self.keys, devices)?,
                    None => values(&one.key, &self.keys, devices)?,
                };
                elements.push(Element { key, ..one.element });
            }
        } else {
            let of = *self.keys.first()?;
            if self.is_interval {
                self.intervals(raw, of, &mut elements, devices)?;
            } else {
                let number = |one: &Raw| match of.is_text() {
                    true => Order::Host.number(&one.key),
                    false => of.order.number(&one.key),
                };
                if raw.iter().any(|one| one.key_end.is_some() || one.is_end) {
                    return None;
                }
                raw.sort_by_cached_key(number);
                if self.is_anonymous && self.key_bytes <= 4 && raw.len() <= MOST_SMALL {
                    self.small = raw.clone();
                }
                for one in raw {
                    let key = value(&one.key, of, devices)?;
                    elements.push(Element { key, ..one.element });
                }
            }
        }
        elements.extend(other);
        elements.shrink_to_fit();
        self.set.elements = elements;
        Some(())
    }

    /// The elements as values of a part of their bytes, behind which so many bits lie.
    pub(super) fn of_part(&self, of: Type, behind: u32, devices: &Devices) -> Option<Vec<Element>> {
        if self.small.is_empty() {
            return None;
        }
        let element = |one: &Raw| {
            let number = Order::Big.number(&one.key)?;
            (number & ((1 << behind) - 1) == 0).then_some(())?;
            let key = types::number_value(number >> behind, of, devices)?;
            Some(Element {
                key,
                ..one.element.clone()
            })
        };
        self.small.iter().map(element).collect()
    }

    /// An interval begins with an element and ends before the next one that is an end, or begins another one.
    fn intervals(
        &self,
        mut raw: Vec<Raw>,
        of: Type,
        out: &mut Vec<Element>,
        devices: &Devices,
    ) -> Option<()> {
        // Where one ends and another begins at the same key, the end comes first.
        raw.sort_by(|one, other| one.key.cmp(&other.key).then(other.is_end.cmp(&one.is_end)));
        let bits = if of.is_text() { 128 } else { of.bits };
        let most = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
        let mut rest = raw.into_iter().peekable();
        while let Some(one) = rest.next() {
            if one.is_end {
                continue;
            }
            let from = Order::Big.number(&one.key)?;
            let to = match &one.key_end {
                Some(end) => Order::Big.number(end)?,
                None => match rest.peek() {
                    Some(next) => Order::Big.number(&next.key)?.checked_sub(1)?,
                    None => most,
                },
            };
            let of = Type {
                order: Order::Big,
                ..of
            };
            let key = if of.is_text() {
                text_interval(from, to)?
            } else {
                interval(from, to, of, devices)?
            };
            out.push(Element { key, ..one.element });
        }
        Some(())
    }
}

/// `eth*` is the interval of all names that begin so.
fn text_interval(from: u128, to: u128) -> Option<Expression> {
    let bytes = from.to_be_bytes();
    if from == to {
        return types::device_name(&bytes);
    }
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let rest = u128::MAX.checked_shr(u32::try_from(len * 8).ok()?).unwrap_or(0);
    (to == from | rest).then_some(())?;
    types::device_name(bytes.get(..len)?)
}

/// A value, a prefix or a range; both ends belong to it.
pub(super) fn interval(from: u128, to: u128, of: Type, devices: &Devices) -> Option<Expression> {
    let one = |number| types::number_value(number, of, devices);
    if from == to {
        return one(from);
    }
    if to < from {
        return None;
    }
    let host = from ^ to;
    let is_prefix = host & host.wrapping_add(1) == 0 && from & host == 0;
    if is_prefix && matches!(of.id, types::IPV4 | types::IPV6) {
        return Some(Expression::Prefix {
            address: Box::new(one(from)?),
            length: of.bits.checked_sub(host.count_ones())?,
        });
    }
    // nft writes numbers of transports there, not their names.
    let of = Type {
        id: if of.id == types::PROTOCOL {
            types::INTEGER
        } else {
            of.id
        },
        ..of
    };
    let one = |number| types::number_value(number, of, devices);
    Some(Expression::Range(Box::new([one(from)?, one(to)?])))
}

/// A value, or a concatenation of them.
pub(super) fn values(bytes: &[u8], types: &[Type], devices: &Devices) -> Option<Expression> {
    if let [one] = types {
        return value(bytes.get(..one.bytes())?, *one, devices);
    }
    let parts = parts(bytes, types)?;
    let parts = parts.iter().map(|part| value(part.bytes, part.of, devices));
    Some(Expression::Concatenation(parts.collect::<Option<_>>()?))
}

/// A concatenation of values and ranges.
fn ranges(from: &[u8], to: &[u8], types: &[Type], devices: &Devices) -> Option<Expression> {
    let (from, to) = (parts(from, types)?, parts(to, types)?);
    let ends = from.into_iter().zip(to);
    let part = |(from, to): (Part<'_>, Part<'_>)| {
        let of = from.of;
        let (from, to) = (from.bytes, to.bytes);
        if from == to {
            return value(from, of, devices);
        }
        if of.is_text() {
            return text_interval(Order::Big.number(from)?, Order::Big.number(to)?);
        }
        // Such ends are held against a packet's from the most significant byte on, as they lie.
        (of.order == Order::Big || of.bits <= 8).then_some(())?;
        interval(of.order.number(from)?, of.order.number(to)?, of, devices)
    };
    Some(Expression::Concatenation(ends.map(part).collect::<Option<_>>()?))
}

/// A part of a concatenation.
struct Part<'a> {
    bytes: &'a [u8],
    of: Type,
}

fn parts<'a>(mut bytes: &'a [u8], types: &[Type]) -> Option<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    for of in types {
        let part = bytes.get(..of.bytes())?;
        bytes = bytes.get(of.bytes().next_multiple_of(4)..).unwrap_or_default();
        parts.push(Part { bytes: part, of: *of });
    }
    Some(parts)
}

/// `NFTA_VERDICT_*`
pub(super) fn verdict(attrs: Attrs<'_>) -> Option<Verdict> {
    Some(match attrs.be32(1)?.cast_signed() {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -1 => Verdict::Continue,
        -3 => Verdict::Jump(attrs.text(2)?.into()),
        -4 => Verdict::Goto(attrs.text(2)?.into()),
        -5 => Verdict::Return,
        _ => return None,
    })
}
