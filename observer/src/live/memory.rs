//! Memory that was needed for a moment.

/// What fewer rules than this take is not worth it.
const LARGE: usize = 4096;

/// As [`release_memory`], after so many rules were listed or made ready.
pub fn release_after(rules: usize) {
    if rules > LARGE {
        release_memory();
    }
}

/// Gives back to the system what is free: what reading types or a large ruleset took, which lies between what is kept.
pub fn release_memory() {
    // SAFETY: no preconditions; it only returns free memory to the system.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
