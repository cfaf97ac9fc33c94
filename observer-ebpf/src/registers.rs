//! The registers that a kprobe sees, of each processor that observer is built for.

use core::ptr::read_volatile;

use aya_ebpf::bindings::pt_regs;

#[cfg(bpf_target_arch = "aarch64")]
use self::aarch64 as processor;
#[cfg(bpf_target_arch = "x86_64")]
use self::x86_64 as processor;

/// At a function's entry.
#[inline(always)]
pub fn stack_pointer(regs: *mut pt_regs) -> u64 {
    // SAFETY: the context of a kprobe is the registers at that moment.
    unsafe { read_volatile(processor::stack_pointer(regs)) }
}

/// At a function's exit (arch/x86/kernel/rethook.c, arch/arm64/kernel/probes/kprobes_trampoline.S): what [`stack_pointer`] was at its entry.
#[inline(always)]
pub fn stack_pointer_at_entry(regs: *mut pt_regs) -> u64 {
    stack_pointer(regs) - processor::TAKEN_OFF
}

/// At a function's entry: just behind the call or the instruction that led here, or that instruction itself.
#[inline(always)]
pub fn instruction_pointer(regs: *mut pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { read_volatile(processor::instruction_pointer(regs)) }
}

/// A function's first three arguments, at its entry. All are read before any is used: the compiler would else compute
/// where to read from, which the verifier does not allow.
#[inline(always)]
pub fn arguments(regs: *mut pt_regs) -> [u64; 3] {
    let [first, second, third, ..] = processor::arguments(regs);
    // SAFETY: as above.
    unsafe { [read_volatile(first), read_volatile(second), read_volatile(third)] }
}

/// Its first five, likewise.
#[inline(always)]
pub fn five_arguments(regs: *mut pt_regs) -> [u64; 5] {
    let [_, _, _, fourth, fifth] = processor::arguments(regs);
    let [first, second, third] = arguments(regs);
    // SAFETY: as above.
    unsafe { [first, second, third, read_volatile(fourth), read_volatile(fifth)] }
}

/// What a function returned, at its exit.
#[inline(always)]
pub fn returned(regs: *mut pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { read_volatile(processor::returned(regs)) }
}

/// arch/x86/include/asm/ptrace.h, and the calling convention of System V.
#[cfg(bpf_target_arch = "x86_64")]
mod x86_64 {
    use super::pt_regs;

    /// Bytes that a function has taken off the stack when it has returned: the return address.
    pub const TAKEN_OFF: u64 = 8;

    #[inline(always)]
    pub fn stack_pointer(regs: *mut pt_regs) -> *const u64 {
        // SAFETY: a place is made, not read.
        unsafe { &raw const (*regs).rsp }
    }

    #[inline(always)]
    pub fn instruction_pointer(regs: *mut pt_regs) -> *const u64 {
        // SAFETY: as above.
        unsafe { &raw const (*regs).rip }
    }

    #[inline(always)]
    pub fn arguments(regs: *mut pt_regs) -> [*const u64; 5] {
        // SAFETY: as above.
        unsafe {
            [
                &raw const (*regs).rdi,
                &raw const (*regs).rsi,
                &raw const (*regs).rdx,
                &raw const (*regs).rcx,
                &raw const (*regs).r8,
            ]
        }
    }

    #[inline(always)]
    pub fn returned(regs: *mut pt_regs) -> *const u64 {
        // SAFETY: as above.
        unsafe { &raw const (*regs).rax }
    }
}

/// `struct user_pt_regs`, arch/arm64/include/uapi/asm/ptrace.h, and the Procedure Call Standard.
#[cfg(bpf_target_arch = "aarch64")]
mod aarch64 {
    use super::pt_regs;

    /// As above: the return address is in a register.
    pub const TAKEN_OFF: u64 = 0;

    #[inline(always)]
    pub fn stack_pointer(regs: *mut pt_regs) -> *const u64 {
        // SAFETY: a place is made, not read.
        unsafe { &raw const (*regs).sp }
    }

    #[inline(always)]
    pub fn instruction_pointer(regs: *mut pt_regs) -> *const u64 {
        // SAFETY: as above.
        unsafe { &raw const (*regs).pc }
    }

    #[inline(always)]
    pub fn arguments(regs: *mut pt_regs) -> [*const u64; 5] {
        // SAFETY: as above.
        unsafe {
            [
                &raw const (*regs).regs[0],
                &raw const (*regs).regs[1],
                &raw const (*regs).regs[2],
                &raw const (*regs).regs[3],
                &raw const (*regs).regs[4],
            ]
        }
    }

    #[inline(always)]
    pub fn returned(regs: *mut pt_regs) -> *const u64 {
        // SAFETY: as above.
        unsafe { &raw const (*regs).regs[0] }
    }
}
