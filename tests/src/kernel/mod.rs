//! What the lab asks of the kernel directly: devices that no tool makes, and the counters that are the truth.

mod bpf;
pub mod held;
pub mod hook;
pub mod link;
pub mod probes;
pub mod stats;
pub mod trace;
pub mod tun;
pub mod xdp;
