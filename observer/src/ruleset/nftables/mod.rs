//! nf_tables: tables, chains and rules as the packet path sees them.

mod expr;
mod read;

pub use read::{Reading, read};
