//! How user space asks for the kernel's memory: many pieces in one run.

/// Bytes that one run reads at most.
pub const WINDOW_BYTES: u32 = 64 * 1024;
/// How many pieces one run reads at most: it is not interrupted, and takes some 0.1 ms for so many.
pub const MAX_ORDERS: u32 = 1024;
/// Bytes of the longest piece.
pub const ORDER_BYTES: u32 = 4096;
/// [`Order::len`] of a piece that could not be read.
pub const UNREADABLE: u32 = u32::MAX;

/// A piece to be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Where it lies.
    pub address: u64,
    /// Where it is to be put in the window: at most [`WINDOW_BYTES`] - [`ORDER_BYTES`].
    pub offset: u32,
    /// Its length in bytes, at most [`ORDER_BYTES`]; then [`UNREADABLE`] if it could not be read.
    pub len: u32,
}
