//! Records of the ring buffers, decoded.

mod decode;
mod hook;

#[cfg(test)]
pub(crate) use decode::tests::blank;
pub use decode::{Captured, Copied, decode};
#[cfg(test)]
pub(crate) use hook::tests::{blank_hook, bytes};
pub use hook::{entered_ns, hook_event, skb_of};
