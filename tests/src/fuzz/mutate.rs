//! Inputs that are nearly right: parts of seeds, cut, doubled, put together and changed. Which parts of a program they reach is not
//! looked at: that is libFuzzer's.

/// More than any input needs to be.
const MOST_BYTES: usize = 4096;
const CHANGES: usize = 6;

/// Makes inputs; the same seed makes the same.
pub(super) struct Mutator(u64);

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An input made of these.
    pub(super) fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.part(seeds);
        for _ in 0..=self.below(CHANGES) {
            self.change(&mut bytes, seeds);
        }
        bytes.truncate(MOST_BYTES);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let (from, to) = self.range(bytes.len());
        match self.below(6) {
            0 => _ = bytes.drain(from..to),
            1 => bytes.extend_from_within(from..to),
            2 => _ = bytes.splice(from..to, self.part(seeds)),
            3 => bytes.truncate(to),
            4 => bytes.iter_mut().skip(from).take(8).for_each(|byte| *byte = 0xff),
            _ => {
                let (bit, random) = (1 << self.below(8), self.below(256) as u8);
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = if random < 128 { *byte ^ bit } else { random };
                }
            }
        }
    }

    /// A whole seed that is not long, or a part of one.
    fn part(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let Some(seed) = seeds.get(self.below(seeds.len().max(1))) else {
            return Vec::new();
        };
        if seed.len() <= MOST_BYTES && self.below(2) == 0 {
            return seed.clone();
        }
        let (from, to) = self.range(seed.len());
        seed.get(from..to.min(from + MOST_BYTES))
            .unwrap_or_default()
            .to_vec()
    }

    fn range(&mut self, len: usize) -> (usize, usize) {
        let (one, other) = (self.below(len + 1), self.below(len + 1));
        (one.min(other), one.max(other))
    }

    /// xorshift64*
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}
