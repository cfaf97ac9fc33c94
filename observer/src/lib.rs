//! Says live which netfilter rule or default policy dropped a packet, and why.

pub mod cli;
pub mod diagnose;
pub mod kernel;
pub mod report;
pub mod ruleset;
pub mod capture;
pub mod trace;
pub mod attribute;
pub mod live;
