//! Elements in the order of one part of their keys, so that a number finds those that it may match without asking all.

use super::set::Elements;
use crate::evaluate::nftables::matcher::Matcher;

/// Fewer are asked one by one.
const FEW: usize = 9;

/// Elements by the intervals that one part of their keys is.
pub(super) struct Order {
    part: usize,
    /// Where intervals begin, ascending.
    from: Numbers,
    /// The farthest that an interval reaches of those up to here; empty where each is one number.
    reach: Numbers,
    /// Which elements they are of.
    element: Vec<u32>,
    /// Elements that are no interval there.
    others: Vec<u32>,
    /// How many different beginnings there are.
    distinct: usize,
}

/// Numbers, in as little memory as they fit in.
enum Numbers {
    Narrow(Box<[u64]>),
    Wide(Box<[u128]>),
}

impl Numbers {
    fn of(numbers: &[u128]) -> Self {
        let narrow = numbers.iter().map(|number| u64::try_from(*number).ok());
        match narrow.collect::<Option<Box<[u64]>>>() {
            Some(narrow) => Self::Narrow(narrow),
            None => Self::Wide(numbers.into()),
        }
    }

    fn get(&self, index: usize) -> Option<u128> {
        match self {
            Self::Narrow(numbers) => numbers.get(index).copied().map(u128::from),
            Self::Wide(numbers) => numbers.get(index).copied(),
        }
    }

    /// How many of them, which are in order, are not greater.
    fn up_to(&self, number: u128) -> usize {
        match self {
            Self::Narrow(numbers) => numbers.partition_point(|from| u128::from(*from) <= number),
            Self::Wide(numbers) => numbers.partition_point(|from| *from <= number),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Narrow(numbers) => numbers.is_empty(),
            Self::Wide(numbers) => numbers.is_empty(),
        }
    }
}

impl Order {
    /// One for each part of the key in which elements are intervals; the one that tells them apart best first.
    pub(super) fn all(elements: &Elements<'_>, parts: usize) -> Vec<Self> {
        if elements.len() < FEW {
            return Vec::new();
        }
        let mut orders: Vec<_> = (0..parts.max(1)).map(|part| Self::of(elements, part)).collect();
        orders.retain(|order| order.distinct > 1);
        orders.sort_by_key(|order| std::cmp::Reverse(order.distinct));
        orders
    }

    fn of(elements: &Elements<'_>, part: usize) -> Self {
        let mut intervals = Vec::new();
        let mut others = Vec::new();
        for (index, element) in (0..).zip(elements.iter()) {
            match element.parts.get(part).and_then(Matcher::interval) {
                Some((from, to)) => intervals.push((from, to, index)),
                None => others.push(index),
            }
        }
        intervals.sort_unstable();
        let reach = intervals.iter().scan(0, |reach, (_, to, _)| {
            *reach = (*to).max(*reach);
            Some(*reach)
        });
        let is_interval = |(from, to, _): &(u128, u128, u32)| from != to;
        let reach: Vec<u128> = match intervals.iter().any(is_interval) {
            true => reach.collect(),
            false => Vec::new(),
        };
        let from: Vec<u128> = intervals.iter().map(|(from, ..)| *from).collect();
        Self {
            part,
            reach: Numbers::of(&reach),
            element: intervals.iter().map(|(.., index)| *index).collect(),
            distinct: from.chunk_by(|one, next| one == next).count(),
            from: Numbers::of(&from),
            others,
        }
    }

    /// The part of the key.
    pub(super) fn part(&self) -> usize {
        self.part
    }

    /// The elements that a number may match, ascending.
    pub(super) fn at(&self, number: u128) -> Vec<usize> {
        let begun = self.from.up_to(number);
        let reaching = (0..begun)
            .rev()
            .take_while(|index| self.farthest(*index).is_some_and(|reach| reach >= number));
        let mut found: Vec<u32> = reaching
            .filter_map(|index| self.element.get(index).copied())
            .collect();
        found.extend(&self.others);
        found.sort_unstable();
        found.into_iter().map(|index| index as usize).collect()
    }

    fn farthest(&self, index: usize) -> Option<u128> {
        let reach = if self.reach.is_empty() {
            &self.from
        } else {
            &self.reach
        };
        reach.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_little_memory() {
        let wide = u128::MAX - 9;
        for numbers in [&[3, 3, 7, 1 << 63][..], &[3, 3, 7, wide], &[]] {
            let kept = Numbers::of(numbers);
            let is_narrow = matches!(kept, Numbers::Narrow(_));
            assert_eq!(is_narrow, !numbers.contains(&wide));
            assert_eq!(kept.is_empty(), numbers.is_empty());
            for (index, number) in numbers.iter().enumerate() {
                assert_eq!(kept.get(index), Some(*number));
            }
            assert_eq!(kept.get(numbers.len()), None);
            for number in [0, 2, 3, 4, 7, 1 << 63, wide, u128::MAX] {
                let expected = numbers.iter().filter(|one| **one <= number).count();
                assert_eq!(kept.up_to(number), expected, "{number}");
            }
        }
    }
}
