//! Who names pods: an API server and a container runtime that speak the real protocols and tell what a scenario wants told.

mod api;
mod cri;
mod proto;

pub use api::{Api, Break};
pub use cri::{Runtime, Sandbox, recorded};
