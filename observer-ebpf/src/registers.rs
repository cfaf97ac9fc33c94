//! The registers that a kprobe sees, x86_64.

use core::ptr::read_volatile;

use aya_ebpf::bindings::pt_regs;

/// `regs->sp`
#[inline(always)]
pub fn stack_pointer(regs: *mut pt_regs) -> u64 {
    // SAFETY: the context of a kprobe is the registers at that moment.
    unsafe { read_volatile(&raw const (*regs).rsp) }
}

/// `regs->ip`: at a function's entry, just behind the call or the instruction that led here.
#[inline(always)]
pub fn instruction_pointer(regs: *mut pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const (*regs).rip) }
}

/// A function's first three arguments, at its entry. All are read before any is used: the compiler would else compute
/// where to read from, which the verifier does not allow.
#[inline(always)]
pub fn arguments(regs: *mut pt_regs) -> [u64; 3] {
    // SAFETY: as above.
    unsafe {
        [
            read_volatile(&raw const (*regs).rdi),
            read_volatile(&raw const (*regs).rsi),
            read_volatile(&raw const (*regs).rdx),
        ]
    }
}

/// What a function returned, at its exit.
#[inline(always)]
pub fn returned(regs: *mut pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const (*regs).rax) }
}
