//! What netfilter has in force in each namespace: one model for both backends, read from the kernel's own memory.

mod devices;
mod groups;
mod hooks;
mod index;
pub mod ipset;
mod layout;
pub mod listed;
mod model;
pub mod nftables;
mod ranges;
mod reach;
mod runs;
mod snapshot;
mod store;
pub mod text;
pub mod texts;
pub mod xtables;

pub use hooks::{HookDevice, HookFunction, Hooks, INET_HOOKS};
pub use index::Index;
pub use layout::{Layout, NftLayout, ObjectLayout};
pub use model::{Base, Chain, Counter, Ending, Policy, Rule, Step, Table};
pub use runs::{Runs, Slot};
pub use snapshot::{Place, Snapshot};
pub use store::Store;
