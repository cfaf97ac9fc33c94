//! How sure the causes of packets are, counted.

use crate::report::record::Confidence;

/// `1 drop`, `2 drops`
pub(super) fn drops(packets: u64) -> String {
    match packets {
        1 => "1 drop".to_owned(),
        _ => format!("{packets} drops"),
    }
}

/// Packets, by how sure it is what dropped them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sure {
    pub(super) exact: u64,
    pub(super) inferred: u64,
    pub(super) unknown: u64,
    /// Only counted in the kernel.
    pub(super) folded: u64,
    /// Counted by a rule or policy; nobody saw the packets.
    pub(super) counted: u64,
}

impl Sure {
    /// One packet.
    pub(super) fn one(confidence: Confidence) -> Self {
        let mut sure = Self::default();
        match confidence {
            Confidence::Exact => sure.exact = 1,
            Confidence::Inferred => sure.inferred = 1,
            Confidence::Unknown => sure.unknown = 1,
        }
        sure
    }

    pub(super) fn folded(packets: u64) -> Self {
        Self {
            folded: packets,
            ..Self::default()
        }
    }

    pub(super) fn counted(packets: u64) -> Self {
        Self {
            counted: packets,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, more: Self) {
        let add = |to: &mut u64, packets: u64| *to = to.saturating_add(packets);
        add(&mut self.exact, more.exact);
        add(&mut self.inferred, more.inferred);
        add(&mut self.unknown, more.unknown);
        add(&mut self.folded, more.folded);
        add(&mut self.counted, more.counted);
    }

    /// All of them.
    pub(super) fn packets(&self) -> u64 {
        [self.inferred, self.unknown, self.folded, self.counted]
            .into_iter()
            .fold(self.exact, u64::saturating_add)
    }

    /// The least sure of them, in a word.
    pub(super) fn word(&self) -> &'static str {
        if self.unknown > 0 {
            Confidence::Unknown.name()
        } else if self.folded > 0 {
            "folded"
        } else if self.counted > 0 {
            "counted"
        } else if self.inferred > 0 {
            Confidence::Inferred.name()
        } else {
            Confidence::Exact.name()
        }
    }

    /// `12 exact, 1 unknown`
    pub(super) fn words(&self) -> String {
        let parts = [
            (self.exact, "exact"),
            (self.inferred, "inferred"),
            (self.unknown, "unknown"),
            (self.folded, "folded in the kernel"),
            (self.counted, "counted, not seen"),
        ];
        let some = parts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = some.map(|(count, word)| format!("{count} {word}")).collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_that_of_the_least_sure() {
        let mut sure = Sure::one(Confidence::Exact);
        assert_eq!((sure.word(), sure.words().as_str()), ("exact", "1 exact"));
        sure.add(Sure::one(Confidence::Inferred));
        assert_eq!(sure.word(), "inferred");
        sure.add(Sure::folded(u64::MAX));
        assert_eq!(sure.word(), "folded");
        sure.add(Sure::one(Confidence::Unknown));
        assert_eq!((sure.word(), sure.packets()), ("unknown", u64::MAX));
        assert_eq!(Sure::counted(3).words(), "3 counted, not seen");
    }
}
