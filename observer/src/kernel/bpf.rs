//! bpf(2), for what aya does not do as it is needed.

/// Gives the kernel a command; what it answers, and less than 0 with `errno` if it refuses.
///
/// # Safety
/// `attributes` must be the part of `union bpf_attr` that the command is about, and what it points to must outlive the call.
pub(super) unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> libc::c_long {
    // SAFETY: as the caller promises; the length is that of the attributes.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            core::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    }
}
