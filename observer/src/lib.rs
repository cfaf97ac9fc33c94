//! Says live which netfilter rule or default policy dropped a packet, and why.

pub mod attribute;
pub mod capture;
pub mod cli;
pub mod counting;
pub mod diagnose;
pub mod evaluate;
pub mod explain;
pub mod kernel;
pub mod live;
pub mod merge;
pub mod names;
pub mod privilege;
pub mod report;
pub mod review;
pub mod ruleset;
pub mod trace;
