//! The elements of a set or map, found by their keys.

use std::sync::Arc;

use super::order::Order;
use crate::evaluate::nftables::matcher::Matcher;
use crate::evaluate::nftables::value::{Data, Loaded, Number, Truth};
use crate::ruleset::nftables::listing::{Datatype, Element, Expression, Set};

/// More elements that may match are not told apart.
const MOST_CANDIDATES: usize = 64;

/// The elements of a set or map.
#[derive(Clone)]
pub(in super::super) struct PreparedSet<'a> {
    elements: Arc<Elements<'a>>,
    /// `*`
    rest: Option<&'a Element>,
    /// Keys have one part, and every element is one number.
    is_exact: bool,
    /// By parts of the key, the part that tells elements apart best first.
    orders: Arc<Vec<Order>>,
    /// Packets change it, so what it holds is not known.
    pub(super) is_dynamic: bool,
    /// How many elements it can hold.
    pub(in super::super) room: Option<u64>,
}

/// Elements whose keys are ready to be compared.
#[derive(Default)]
pub(super) struct Elements<'a> {
    elements: Vec<&'a Element>,
    /// The parts of their keys, one element's behind the other's.
    parts: Vec<Matcher>,
    /// Where those of each element end.
    ends: Vec<u32>,
}

/// One of them.
pub(super) struct PreparedElement<'t, 'a> {
    pub(super) parts: &'t [Matcher],
    element: &'a Element,
}

impl<'a> Elements<'a> {
    fn of(elements: impl Iterator<Item = &'a Element>, types: &[Datatype]) -> Self {
        let mut all = Self::default();
        for element in elements {
            all.parts.extend(parts(&element.key, types));
            let Ok(end) = u32::try_from(all.parts.len()) else {
                break;
            };
            all.elements.push(element);
            all.ends.push(end);
        }
        all.elements.shrink_to_fit();
        all.parts.shrink_to_fit();
        all.ends.shrink_to_fit();
        all
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    fn get(&self, index: usize) -> Option<PreparedElement<'_, 'a>> {
        let begin = match index.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        Some(PreparedElement {
            parts: self.parts.get(begin as usize..*self.ends.get(index)? as usize)?,
            element: self.elements.get(index)?,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = PreparedElement<'_, 'a>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl PreparedElement<'_, '_> {
    fn test(&self, key: &[Loaded]) -> Truth {
        if self.parts.len() != key.len() {
            return Truth::Unknown;
        }
        all(self.parts, key)
    }
}

/// What looking something up has found.
#[derive(Debug, Default)]
pub(in super::super) struct Found<'a> {
    /// This element, surely.
    pub(in super::super) sure: Option<&'a Element>,
    /// Or one of these.
    pub(in super::super) candidates: Vec<&'a Element>,
    /// Or none.
    pub(in super::super) none: bool,
    /// The candidates are not all.
    pub(in super::super) more: bool,
    /// The packet has no such thing: the rule does not match.
    pub(in super::super) missing: bool,
}

impl Found<'_> {
    /// Whether there is an element.
    pub(in super::super) fn is_there(&self) -> Truth {
        if self.sure.is_some() {
            Truth::Yes
        } else if self.none && self.candidates.is_empty() && !self.more {
            Truth::No
        } else if !self.none {
            Truth::Yes
        } else {
            Truth::Unknown
        }
    }
}

impl<'a> PreparedSet<'a> {
    pub(super) fn named(set: &'a Set) -> Self {
        let types: Vec<_> = set.key_types.iter().map(|name| Datatype::named(name)).collect();
        Self {
            is_dynamic: set.flags.iter().any(|flag| flag == "dynamic"),
            room: set.size,
            ..Self::of(&set.elements, &types)
        }
    }

    /// A set that is part of a rule, looked up by keys of these types.
    pub(in super::super) fn of(elements: &'a [Element], types: &[Datatype]) -> Self {
        let is_rest = |element: &&Element| {
            matches!(element.key, Expression::Wildcard) && types.first() != Some(&Datatype::DeviceName)
        };
        let prepared = Elements::of(elements.iter().filter(|element| !is_rest(element)), types);
        let is_exact = prepared
            .iter()
            .all(|element| matches!(element.parts, [Matcher::Exact(_)]));
        Self {
            is_exact,
            orders: Arc::new(Order::all(&prepared, types.len())),
            elements: Arc::new(prepared),
            rest: elements.iter().find(is_rest),
            is_dynamic: false,
            room: None,
        }
    }

    /// How many elements there are.
    pub(in super::super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(in super::super) fn find(&self, key: &[Loaded]) -> Found<'a> {
        let mut found = Found::default();
        if key.contains(&Loaded::Missing) {
            found.missing = true;
            return found;
        }
        if self.is_dynamic {
            found.none = true;
            found.more = true;
            return found;
        }
        match key {
            [Loaded::Is(Data::Among(values))] => self.find_any(values, &mut found),
            key => self.find_by_parts(key, &mut found),
        }
        found
    }

    /// For each of these values what is found. They come from generators and hashes, whose bytes nft 1.0.6 does not put in
    /// the order that intervals are compared in: whether one lies in an interval is not known.
    fn find_any(&self, values: &[u128], found: &mut Found<'a>) {
        if !self.is_exact {
            found.candidates = self
                .elements
                .iter()
                .map(|prepared| prepared.element)
                .chain(self.rest)
                .collect();
            found.more = found.candidates.len() > MOST_CANDIDATES;
            found.candidates.truncate(MOST_CANDIDATES);
            found.none = true;
            return;
        }
        let mut all: Vec<Option<&'a Element>> = Vec::new();
        for value in values {
            let one = self.find(&[Loaded::Is(Data::Number(Number::exact(*value)))]);
            found.none |= one.none;
            found.more |= one.more;
            all.push(one.sure);
            found.candidates.extend(one.candidates);
        }
        match all.as_slice() {
            [Some(first), rest @ ..]
                if rest
                    .iter()
                    .all(|one| one.is_some_and(|one| std::ptr::eq(one, *first))) =>
            {
                found.sure = Some(first);
            }
            _ => found.candidates.extend(all.into_iter().flatten()),
        }
    }

    fn find_by_parts(&self, key: &[Loaded], found: &mut Found<'a>) {
        for prepared in self.likely(key) {
            let truth = prepared.test(key);
            match truth {
                Truth::No => {}
                Truth::Yes => {
                    found.sure = Some(prepared.element);
                    found.candidates.clear();
                    found.more = false;
                    return;
                }
                Truth::Unknown if found.candidates.len() < MOST_CANDIDATES => {
                    found.candidates.push(prepared.element);
                }
                Truth::Unknown => found.more = true,
            }
        }
        let is_certain = key.iter().all(|loaded| matches!(loaded, Loaded::Is(_)));
        match self.rest {
            Some(rest) if found.candidates.is_empty() && !found.more && is_certain => found.sure = Some(rest),
            Some(rest) => {
                found.candidates.push(rest);
                // What is not known may also be missing.
                found.none = !is_certain;
            }
            None => found.none = true,
        }
    }

    /// The elements that a key may match, in their order: all that it does match, and of those that it may match more than are told.
    fn likely(&self, key: &[Loaded]) -> impl Iterator<Item = PreparedElement<'_, 'a>> {
        let by_order = self.orders.iter().find_map(|order| match key.get(order.part()) {
            Some(Loaded::Is(Data::Number(number))) if number.is_exact() => Some(order.at(number.value)),
            _ => None,
        });
        let first = match &by_order {
            Some(_) => 0,
            None if key.iter().any(|part| matches!(part, Loaded::Is(_))) => self.elements.len(),
            // Nothing is known of the key: any may be it.
            None => self.elements.len().min(MOST_CANDIDATES + 1),
        };
        let indices = by_order.into_iter().flatten().chain(0..first);
        indices.filter_map(|index| self.elements.get(index))
    }
}

/// Matchers of a key's constants. A key that is not a concatenation where one is expected matches nothing known.
pub(super) fn parts(key: &Expression, types: &[Datatype]) -> Vec<Matcher> {
    let datatype = |index: usize| types.get(index).copied().unwrap_or(Datatype::Other);
    match key {
        Expression::Concatenation(parts) => {
            let parts = parts.iter().enumerate();
            parts
                .map(|(index, part)| Matcher::of(part, datatype(index)))
                .collect()
        }
        one => vec![Matcher::of(one, datatype(0))],
    }
}

/// Whether each part is what it is to be.
pub(super) fn all(parts: &[Matcher], loaded: &[Loaded]) -> Truth {
    let pairs = parts.iter().zip(loaded);
    pairs.fold(Truth::Yes, |truth, (part, loaded)| {
        truth.and(match loaded {
            Loaded::Is(data) => part.test(data),
            _ => Truth::Unknown,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Expression {
        Expression::Word(text.into())
    }

    fn addresses(from: u32, to: u32) -> Expression {
        let address = |number: u32| word(&std::net::Ipv4Addr::from(number).to_string());
        match from == to {
            true => address(from),
            false => Expression::Range(Box::new([address(from), address(to)])),
        }
    }

    fn is(value: u128, unknown: u128) -> Loaded {
        Loaded::Is(Data::Number(Number { value, unknown }))
    }

    /// A generator that gives the same numbers each time.
    fn numbers() -> impl FnMut(u32) -> u32 {
        let mut state = 7_u64;
        move |below| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32 % below
        }
    }

    #[test]
    fn an_order_finds_what_asking_every_element_does() {
        let mut next = numbers();
        for round in 0..200 {
            let elements: Vec<Element> = (0..20 + next(40))
                .map(|_| {
                    let from = next(200);
                    let length = [0, 0, 1, 30][next(4) as usize];
                    let key = addresses(from, from + length);
                    let key = match next(12) {
                        0 if round % 2 == 0 => Expression::Wildcard,
                        // Nothing that is known of an address.
                        1 => word("nowhere"),
                        _ => key,
                    };
                    let port = Expression::Number(next(8).into());
                    Element::of(match round % 3 {
                        0 => key,
                        _ => Expression::Concatenation(vec![key, port]),
                    })
                })
                .collect();
            let types = match round % 3 {
                0 => &[Datatype::Ipv4Address][..],
                _ => &[Datatype::Ipv4Address, Datatype::Service],
            };
            let ordered = PreparedSet::of(&elements, types);
            let mut plain = PreparedSet::of(&elements, types);
            plain.orders = Arc::default();
            assert!(!ordered.orders.is_empty());
            for _ in 0..200 {
                let unknown = [0, 0, 0, 3][next(4) as usize];
                let first = match next(10) {
                    0 => Loaded::Unknown,
                    _ => is(u128::from(next(240)) & !unknown, unknown),
                };
                let second = match next(6) {
                    0 => Loaded::Unknown,
                    _ => is(next(9).into(), 0),
                };
                let key = [first, second];
                let key = &key[..types.len()];
                assert_eq!(
                    format!("{:?}", ordered.find(key)),
                    format!("{:?}", plain.find(key)),
                    "{key:?}"
                );
            }
        }
    }
}
