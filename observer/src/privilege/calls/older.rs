//! System calls of x86-64 that newer ones do the work of, which alone younger processors have (include/uapi/asm-generic/unistd.h):
//! `open` beside `openat`. Tools and C libraries there make both.

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{EVERYBODY, NEVER, OF_OTHERS, OPENING};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    /// As the list of this name beside it.
    pub const NEVER: [libc::c_long; 1] = [libc::SYS_mknod];

    /// What opens a file.
    pub const OPENING: [libc::c_long; 1] = [libc::SYS_open];

    /// As the list of this name beside it.
    pub const EVERYBODY: [libc::c_long; 20] = [
        // Files and directories.
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_getdents,
        libc::SYS_readlink,
        libc::SYS_mkdir,
        libc::SYS_dup2,
        libc::SYS_pipe,
        // Threads and processes.
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_getpgrp,
        libc::SYS_arch_prctl,
        libc::SYS_pause,
        // Time, and waiting.
        libc::SYS_time,
        libc::SYS_alarm,
        libc::SYS_poll,
        libc::SYS_select,
        libc::SYS_epoll_create,
        libc::SYS_epoll_wait,
    ];

    /// As the list of this name beside it.
    pub const OF_OTHERS: [libc::c_long; 3] = [libc::SYS_fork, libc::SYS_vfork, libc::SYS_mkdir];
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use none::{EVERYBODY, NEVER, OF_OTHERS, OPENING};

#[cfg(not(target_arch = "x86_64"))]
mod none {
    pub const NEVER: [libc::c_long; 0] = [];
    pub const OPENING: [libc::c_long; 0] = [];
    pub const EVERYBODY: [libc::c_long; 0] = [];
    pub const OF_OTHERS: [libc::c_long; 0] = [];
}
