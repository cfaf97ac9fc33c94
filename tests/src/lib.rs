//! The lab: clusters made of network namespaces, scenarios that drop packets in them, and the oracle (the
//! kernel's own counters) that says what observer must have reported.

pub mod bench;
pub mod cage;
pub mod cluster;
pub mod demo;
pub mod deploy;
pub mod exec;
pub mod fuzz;
pub mod kernel;
pub mod matching;
pub mod names;
pub mod netns;
pub mod nftables;
pub mod observer;
pub mod oracle;
pub mod replay;
pub mod results;
pub mod rights;
pub mod run_dir;
pub mod scenario;
pub mod schema;
pub mod stopwatch;
pub mod terminal;
pub mod timestamp;
pub mod traffic;
