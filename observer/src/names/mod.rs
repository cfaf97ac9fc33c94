//! Names of addresses: which pod, service or node has one, as the Kubernetes API and this node's container runtime say.
//!
//! The sources have a thread of their own and tell what changes; the loop of `watch` keeps a table and asks it. Nothing
//! here waits for a source, and nothing reaches a packet's line but names that are well formed.

mod change;
pub(crate) mod cri;
mod feed;
pub(crate) mod kube;
mod name;
mod read;
mod sources;
mod table;
mod wanted;

pub use feed::Naming;
pub(crate) use name::ObjectName;
pub(crate) use name::is_subdomain;
pub use read::{Read, read};
pub(crate) use sources::Sources;
pub use wanted::{Found, Wanted};
pub(crate) use wanted::{FoundBy, PATIENCE};
