//! Whether nf_tables frees by itself what it drops.
//!
//! Since 6.7 (and in some older stable kernels) `nft_do_chain` calls `kfree_skb_reason()`, or what that became, and says
//! that it stole the packet; before, it leaves the packet to `nf_hook_slow`. No type and no symbol tells which it is, so
//! the function is looked at: whether it calls one of those. Where it frees by itself, a packet that `nf_hook_slow`
//! freed was dropped by no rule of nf_tables.

use crate::kernel::{Reader, Symbols};

/// What it calls to free a packet.
const FREE: [&str; 4] = [
    "sk_skb_reason_drop",
    "kfree_skb_reason",
    "sk_skb_reason_drop_noprof",
    "kfree_skb",
];
/// Longer than the function is.
const MOST_BYTES: u64 = 16 * 1024;
/// x86: `call` with a distance of four bytes, counted from the next instruction.
const CALL: u8 = 0xe8;

/// Whether it does; `None` while nf_tables is not there, or where this is not known of the machine.
pub fn frees(memory: &impl Reader, symbols: &Symbols) -> Option<bool> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let [start, end] = symbols.range("nft_do_chain")?;
    let len = end.saturating_sub(start).min(MOST_BYTES);
    let code = memory.bytes(start, usize::try_from(len).ok()?)?;
    let free: Vec<u64> = FREE
        .iter()
        .filter_map(|name| Some(symbols.range(name)?[0]))
        .collect();
    // A byte that only looks like a call leads to exactly one of these by no chance.
    let calls = code
        .windows(5)
        .enumerate()
        .filter(|(_, window)| window[0] == CALL);
    let mut targets = calls.filter_map(|(at, window)| {
        let distance = i32::from_le_bytes(window[1..].try_into().ok()?);
        let next = start + at as u64 + 5;
        Some(next.wrapping_add_signed(i64::from(distance)))
    });
    Some(targets.any(|target| free.contains(&target)))
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::kernel::Dump;

    const START: u64 = 0xffff_ffff_c0a7_b000;
    const FREES: u64 = 0xffff_ffff_81f2_8000;

    fn symbols() -> Symbols {
        Symbols::parse(&format!(
            "{FREES:x} T sk_skb_reason_drop\n{START:x} t nft_do_chain\t[nf_tables]\n{:x} t nft_after\t[nf_tables]\n",
            START + 64
        ))
    }

    /// A function with one call, to this address.
    fn calling(target: u64) -> Dump {
        let mut code = [0x90; 64];
        code[20] = CALL;
        let distance = target.wrapping_sub(START + 25) as i32;
        code[21..25].copy_from_slice(&distance.to_le_bytes());
        let mut dump = Dump::default();
        dump.put(START, &code);
        dump
    }

    #[test]
    fn the_function_itself_says_whether_it_frees() {
        assert_eq!(frees(&calling(FREES), &symbols()), Some(true));
        assert_eq!(frees(&calling(FREES + 1), &symbols()), Some(false));
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        assert_eq!(frees(&Dump::default(), &symbols()), None);
        assert_eq!(frees(&calling(FREES), &Symbols::default()), None);
    }
}
