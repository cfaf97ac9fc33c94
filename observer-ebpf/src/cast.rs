//! Reading kernel memory by plain loads, which cost ten instructions, where a helper's call costs a hundred.
//!
//! `bpf_rdonly_cast` (kernel/bpf/helpers.c, since v6.2) makes any address a pointer to a type of the kernel that may be
//! loaded from; a load that faults reads zero. The object calls a helper that does not exist: user space puts the kernel's
//! function there, or where there is none, something harmless. Such a call is then never reached.

use observer_common::{ABSENT, CAST_CALL};

use crate::memory::{offset, read, read_bytes};

/// Whether this kernel has it. The verifier sees a constant, and leaves out what is not reached.
#[inline(always)]
pub fn is_possible() -> bool {
    offset!(cast_words) != 0
}

/// A pointer to words at an address, some hundred of them as the verifier sees it.
#[inline(always)]
pub fn words(address: u64) -> *const u64 {
    // SAFETY: user space replaces the call of this number; as a helper's, it is no address.
    let cast: unsafe extern "C" fn(u64, u32) -> *const u64 =
        unsafe { core::mem::transmute(CAST_CALL as usize) };
    let of = offset!(cast_words);
    // SAFETY: it has no preconditions.
    unsafe { cast(address, of) }
}

/// The number at an address, of eight bytes or less; zero if it cannot be read.
#[inline(always)]
pub fn load<T: Copy + Default>(address: u64) -> T {
    if is_possible() {
        // SAFETY: the verifier checks the access, and the kernel makes a load that faults read zero.
        unsafe { words(address).cast::<T>().read_volatile() }
    } else {
        read(address).unwrap_or_default()
    }
}

/// The number at an offset from `base`, zero if it cannot be read; `None` if this kernel has no such field. For numbers of which zero says
/// nothing.
#[inline(always)]
pub fn field<T: Copy + Default>(base: u64, offset: u32) -> Option<T> {
    (offset != ABSENT).then(|| load(base + u64::from(offset)))
}

/// Copies `N` words. False if they cannot be read; but where the kernel allows casts, such words are zero instead: the
/// caller must not take those for something.
///
/// # Safety
/// `to` must point to at least so many words that the verifier knows of.
#[inline(always)]
pub unsafe fn copy<const N: usize>(to: *mut u64, from: u64) -> bool {
    if is_possible() {
        let from = words(from);
        for word in 0..N {
            // SAFETY: as the caller promises, and as above.
            unsafe { to.add(word).write(from.add(word).read_volatile()) };
        }
        return true;
    }
    // SAFETY: as the caller promises.
    unsafe { read_bytes(to.cast(), (N * size_of::<u64>()) as u32, from) }
}
