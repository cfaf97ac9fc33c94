//! What a ruleset would do to a packet.

pub mod nftables;
