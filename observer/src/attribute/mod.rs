//! Who dropped the packet: the kernel's own evidence, turned into a name; or, where there is none, what is known.

mod culprit;
mod hook;
mod named;
mod pending;

pub use culprit::{Culprit, Verdict, decide};
pub use hook::hook_of;
pub use named::name;
pub use pending::Pending;
