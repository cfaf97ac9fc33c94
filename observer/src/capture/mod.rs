//! Records of the ring buffer, decoded.

mod decode;

pub use decode::{Captured, decode};
