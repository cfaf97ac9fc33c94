//! Calls in machine code of x86-64. Its instructions have no fixed length: each byte may be a call's first.

use crate::kernel::Reader;

/// `call` with a distance of four bytes, counted from the next instruction.
const CALL: u8 = 0xe8;

/// Where it may call. A byte that only looks like a call leads to exactly one function by no chance.
pub fn calls<R: Reader>(code: &[u8], start: u64, _: &R) -> Vec<u64> {
    let calls = code
        .windows(5)
        .enumerate()
        .filter(|(_, window)| window[0] == CALL);
    calls
        .filter_map(|(at, window)| {
            let distance = i32::from_le_bytes(window[1..].try_into().ok()?);
            let next = start + at as u64 + 5;
            Some(next.wrapping_add_signed(i64::from(distance)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FREES, START, told_of};
    use super::*;

    /// A function with one call, to this address.
    fn calling(target: u64) -> [u8; 64] {
        let mut code = [0x90; 64];
        code[20] = CALL;
        let distance = target.wrapping_sub(START + 25) as i32;
        code[21..25].copy_from_slice(&distance.to_le_bytes());
        code
    }

    #[test]
    fn the_function_itself_says_whether_it_frees() {
        assert_eq!(told_of(&calling(FREES), &[], calls), Some(true));
        assert_eq!(told_of(&calling(FREES + 1), &[], calls), Some(false));
    }
}
