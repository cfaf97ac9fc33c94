//! nf_tables: tables, chains and rules as the packet path sees them.

mod expr;
mod frees;
mod read;
#[cfg(test)]
mod tests;

pub use frees::frees;
pub use read::{Reading, read};
