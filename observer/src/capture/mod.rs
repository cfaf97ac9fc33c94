//! Records of the ring buffer, decoded.

mod decode;

#[cfg(test)]
pub(crate) use decode::tests::blank;
pub use decode::{Captured, decode};
