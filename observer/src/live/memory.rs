//! Memory that was needed for a moment.

/// Gives back to the system what is free: what reading types or a large ruleset took, which lies between what is kept.
pub fn release_memory() {
    // SAFETY: no preconditions; it only returns free memory to the system.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
