//! Whether nf_tables frees by itself what it drops.
//!
//! Since 6.7 (and in some older stable kernels) `nft_do_chain` calls `kfree_skb_reason()`, or what that became, and says
//! that it stole the packet; before, it leaves the packet to `nf_hook_slow`. No type and no symbol tells which it is, so
//! the function is looked at: whether it calls one of those. Where it frees by itself, a packet that `nf_hook_slow`
//! freed was dropped by no rule of nf_tables.

use crate::kernel::{Reader, Symbols};

mod aarch64;
mod x86_64;

/// What it calls to free a packet.
const FREE: [&str; 4] = [
    "sk_skb_reason_drop",
    "kfree_skb_reason",
    "sk_skb_reason_drop_noprof",
    "kfree_skb",
];
/// Longer than the function is.
const MOST_BYTES: u64 = 16 * 1024;

/// Where the calls of a function lead: from its code, the address of that, and whatever else of the kernel is to be read.
type Calls<R> = fn(&[u8], u64, &R) -> Vec<u64>;

/// Whether it does; `None` while nf_tables is not there, or where this is not known of the machine.
pub fn frees(memory: &impl Reader, symbols: &Symbols) -> Option<bool> {
    if cfg!(target_arch = "x86_64") {
        told(memory, symbols, x86_64::calls)
    } else if cfg!(target_arch = "aarch64") {
        told(memory, symbols, aarch64::calls)
    } else {
        None
    }
}

fn told<R: Reader>(memory: &R, symbols: &Symbols, calls: Calls<R>) -> Option<bool> {
    let [start, end] = symbols.range("nft_do_chain")?;
    let len = end.saturating_sub(start).min(MOST_BYTES);
    let code = memory.bytes(start, usize::try_from(len).ok()?)?;
    let free: Vec<u64> = FREE
        .iter()
        .filter_map(|name| Some(symbols.range(name)?[0]))
        .collect();
    Some(
        calls(&code, start, memory)
            .iter()
            .any(|target| free.contains(target)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Dump;

    pub(super) const START: u64 = 0xffff_ffff_c0a7_b000;
    pub(super) const FREES: u64 = 0xffff_ffff_81f2_8000;

    fn symbols() -> Symbols {
        Symbols::parse(&format!(
            "{FREES:x} T sk_skb_reason_drop\n{START:x} t nft_do_chain\t[nf_tables]\n{:x} t nft_after\t[nf_tables]\n",
            START + 64
        ))
    }

    /// What is told of a function with this code, and of what else is in memory.
    pub(super) fn told_of(code: &[u8; 64], others: &[(u64, &[u8])], calls: Calls<Dump>) -> Option<bool> {
        let mut dump = Dump::default();
        dump.put(START, code);
        for (address, bytes) in others {
            dump.put(*address, bytes);
        }
        told(&dump, &symbols(), calls)
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        for calls in [x86_64::calls, aarch64::calls] {
            assert_eq!(told(&Dump::default(), &symbols(), calls), None);
            assert_eq!(told(&Dump::default(), &Symbols::default(), calls), None);
        }
    }
}
