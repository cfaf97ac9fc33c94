//! Reading kernel memory at offsets that user space found in BTF.

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated::bpf_probe_read_kernel as raw_read};
use observer_common::{ABSENT, Offsets};

/// Overridden by user space before the programs are loaded.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::absent();

/// Value of one field of [`OFFSETS`], which the verifier sees as a constant.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a plain integer of a read-only map; volatile, since user space overrides it.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::memory::offsets()).$field) }
    };
}
pub(crate) use offset;

/// Where the offsets lie.
pub fn offsets() -> *const Offsets {
    &raw const OFFSETS
}

/// Reads a `T`; `None` if the address cannot be read.
#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and cannot fault.
    unsafe { bpf_probe_read_kernel(address as *const T).ok() }
}

/// Reads the `T` at an offset from `base`; `None` if this kernel has no such field or it cannot be read.
#[inline(always)]
pub fn field<T>(base: u64, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    read(base + u64::from(offset))
}

/// Reads `len` bytes to `to`; true if it could.
///
/// # Safety
/// `to` must point to at least `len` writable bytes that the verifier knows of.
#[inline(always)]
pub unsafe fn read_bytes(to: *mut u8, len: u32, from: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe { raw_read(to.cast(), len, from as *const _) == 0 }
}

/// Whether a number looks like an address of the kernel's half: cheap proof against garbage in unions. With five
/// levels of page tables it begins at `0xff00…` (Documentation/arch/x86/x86_64/mm.rst).
#[inline(always)]
pub fn is_kernel_address(address: u64) -> bool {
    address >= 0xff00_0000_0000_0000
}

/// The number, which the compiler then has to make: of `a ^ b | c ^ d`, asked whether it is zero, it would make two branches.
#[inline(always)]
pub fn as_number(number: u64) -> u64 {
    let mut place = 0;
    // SAFETY: a reference can be written and read.
    unsafe {
        core::ptr::write_volatile(&raw mut place, number);
        core::ptr::read_volatile(&raw const place)
    }
}

/// A length that the verifier of every version sees the bound of: read anew, so that the compiler cannot know it
/// and leave the test out, or spill it before the test.
#[inline(always)]
pub fn bounded(len: &u32, most: u32) -> u32 {
    // SAFETY: a reference can be read.
    let len = unsafe { core::ptr::read_volatile(len) };
    if len > most { most } else { len }
}

/// A number that user space sets before the programs are loaded.
#[inline(always)]
pub fn preset(at: *const u32) -> u32 {
    // SAFETY: a plain integer of a read-only map; volatile, since user space overrides it.
    unsafe { core::ptr::read_volatile(at) }
}
