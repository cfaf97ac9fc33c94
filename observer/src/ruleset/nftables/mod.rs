//! nf_tables: tables, chains and rules as the packet path sees them.

mod expr;
mod read;
#[cfg(test)]
mod tests;

pub use read::{Reading, read};
