//! What user space wants of the programs on the way of packets, in a variable: most packets need no more than a look at it.

use observer_common::PathMode;

/// Written by user space while the programs run.
#[unsafe(no_mangle)]
static mut PATH_MODE: PathMode = PathMode {
    enabled: 0,
    epoch: 0,
    window: 0,
    is_plain: 0,
};

/// One of its fields as it is now.
macro_rules! mode {
    ($field:ident) => {
        // SAFETY: a plain integer; volatile, since user space writes it.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::mode::place()).$field) }
    };
}
pub(crate) use mode;

/// Where it lies.
#[inline(always)]
pub fn place() -> *const PathMode {
    &raw const PATH_MODE
}
