//! This CPU's per-CPU offset, without the symbol `__per_cpu_offset`.
//!
//! For a per-CPU array, the address of this CPU's value is `pptrs[0] + offset`, and `pptrs` lies in the kernel's
//! `struct bpf_array` behind the map pointer (kernel/bpf/arraymap.c, v6.1 … v6.18). The verifier allows no
//! arithmetic on a map pointer, but it allows it to be stored into a map and read back as a number.

use aya_ebpf::bindings::bpf_map_def;

use crate::{
    maps::{SCRATCH, Scratch},
    memory::{offset, read},
};

/// This CPU's per-CPU offset; `None` if it cannot be found.
#[inline(always)]
pub fn offset_of_this_cpu(scratch: *mut Scratch) -> Option<u64> {
    if offset!(possible_cpus) <= 1 {
        return Some(0);
    }
    // SAFETY: this CPU's element, which lives as long as the map.
    let known = unsafe { (*scratch).cpu_offset };
    if known != 0 {
        return Some(known);
    }
    let map = (&raw const SCRATCH).cast::<bpf_map_def>();
    // SAFETY: as above; volatile, so that the compiler does not see through the round trip.
    let (map, value) = unsafe {
        core::ptr::write_volatile(&raw mut (*scratch).pointers[0], map as u64);
        core::ptr::write_volatile(&raw mut (*scratch).pointers[1], scratch as u64);
        (
            core::ptr::read_volatile(&raw const (*scratch).pointers[0]),
            core::ptr::read_volatile(&raw const (*scratch).pointers[1]),
        )
    };
    let first: u64 = read(map + u64::from(offset!(array_pptrs)))?;
    let offset = value.wrapping_sub(first);
    // SAFETY: as above.
    unsafe { (*scratch).cpu_offset = offset };
    Some(offset)
}
