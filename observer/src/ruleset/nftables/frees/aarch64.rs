//! Calls in machine code of aarch64: each instruction has four bytes. A module that lies too far from the kernel calls a piece of code
//! beside itself, which goes on to the function (arch/arm64/kernel/module-plts.c).

use crate::kernel::Reader;

/// Bytes of an instruction.
const STEP: usize = 4;
/// `bl`, with a distance of 26 bits, in instructions.
const CALL: u32 = 0x9400_0000;
/// Of such a piece: `adrp x16, …`, `add x16, x16, …`, `br x16`, each without its number.
const PIECE: [(u32, u32); 3] = [
    (0x9f00_001f, 0x9000_0010),
    (0xffc0_03ff, 0x9100_0210),
    (0xffff_ffff, 0xd61f_0200),
];

/// Where it calls, and where pieces that it calls go on to.
pub fn calls<R: Reader>(code: &[u8], start: u64, memory: &R) -> Vec<u64> {
    let at = (start..).step_by(STEP);
    let targets: Vec<u64> = at
        .zip(words(code))
        .filter(|(_, word)| word & 0xfc00_0000 == CALL)
        .map(|(at, word)| at.wrapping_add_signed(signed(u64::from(word), 26) * STEP as i64))
        .collect();
    let further = targets.iter().filter_map(|target| goes_on_to(*target, memory));
    let further: Vec<u64> = further.collect();
    [targets, further].concat()
}

/// Where the piece of code at an address goes; `None` if it is something else.
fn goes_on_to(at: u64, memory: &impl Reader) -> Option<u64> {
    let bytes = memory.bytes(at, PIECE.len() * STEP)?;
    let found: Vec<u32> = words(&bytes).collect();
    let is_piece = found
        .iter()
        .zip(PIECE)
        .all(|(word, (mask, expected))| word & mask == expected);
    let [page, within, _] = found[..] else {
        return None;
    };
    let (page, within) = (u64::from(page), u64::from(within));
    let pages = signed((page >> 5 & 0x7_ffff) << 2 | page >> 29 & 0x3, 21);
    let base = (at & !0xfff).wrapping_add_signed(pages << 12);
    is_piece.then(|| base + (within >> 10 & 0xfff))
}

fn words(code: &[u8]) -> impl Iterator<Item = u32> {
    code.chunks_exact(STEP)
        .map(|word| word.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

/// The number that the lowest so many bits are.
fn signed(bits: u64, width: u32) -> i64 {
    let above = u64::BITS - width;
    (bits << above).cast_signed() >> above
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FREES, START, told_of};
    use super::*;

    /// A function with one call, to this address.
    fn calling(target: u64) -> [u8; 64] {
        let mut code = [0; 64];
        let distance = target.wrapping_sub(START + 20).cast_signed() / STEP as i64;
        let word = CALL | distance.cast_unsigned() as u32 & 0x03ff_ffff;
        code[20..24].copy_from_slice(&word.to_le_bytes());
        code
    }

    /// What GNU as makes of `adrp x16, FREES; add x16, x16, :lo12:FREES; br x16` behind START, for a distance of pages that is less than zero.
    fn piece(at: u64, target: u64) -> Vec<u8> {
        let pages = ((target >> 12).wrapping_sub(at >> 12)) as u32;
        let adrp = 0x9000_0010 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5;
        let add = 0x9100_0210 | (target as u32 & 0xfff) << 10;
        [adrp, add, 0xd61f_0200]
            .iter()
            .flat_map(|word: &u32| word.to_le_bytes())
            .collect()
    }

    #[test]
    fn a_near_function_is_called_itself() {
        let near = START - 0x10_0000;
        let code = calling(near);
        assert_eq!(calls(&code, START, &crate::kernel::Dump::default()), [near]);
    }

    #[test]
    fn a_far_function_is_called_through_a_piece_of_code() {
        let beside = START + 0x1000;
        let told = |target| told_of(&calling(beside), &[(beside, &piece(beside, target))], calls);
        assert_eq!(told(FREES), Some(true));
        assert_eq!(told(FREES + 4), Some(false));
        // It ends otherwise.
        let mut other = piece(beside, FREES);
        other[8] ^= 0x20;
        assert_eq!(told_of(&calling(beside), &[(beside, &other)], calls), Some(false));
    }

    #[test]
    fn numbers_are_what_the_assembler_writes() {
        // bl . - 8, and adrp x16, . - 0x1000
        assert_eq!(signed(u64::from(0x97ff_fffe_u32), 26), -2);
        let words = [0xf0ff_fff0_u32, 0x9100_0210, 0xd61f_0200];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut memory = crate::kernel::Dump::default();
        memory.put(START, &bytes);
        assert_eq!(goes_on_to(START, &memory), Some(START - 0x1000));
    }
}
