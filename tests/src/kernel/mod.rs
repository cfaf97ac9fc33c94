//! What the lab asks of the kernel directly: devices that no tool makes, and the counters that are the truth.

pub mod link;
pub mod stats;
pub mod tun;
pub mod xdp;
