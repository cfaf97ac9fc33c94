//! Who dropped the packet: the kernel's own evidence, turned into a name; or, where there is none, what is known.

mod culprit;
mod droppers;
mod elimination;
mod hook;
mod named;
mod passages;
mod pending;
mod proof;
mod replay;
mod scene;
mod verdicts;
mod walk;
mod whole;

#[cfg(test)]
mod tests;

pub use culprit::{Culprit, Verdict, decide};
pub use droppers::alike;
pub use hook::{Site, site_of};
pub use named::{name, tool};
pub use passages::{bare, hook_of, passages};
pub use pending::Pending;
pub use proof::{Death, prove};
pub use replay::{Asked, Question, Replayed};
