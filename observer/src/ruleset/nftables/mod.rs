//! nf_tables: tables, chains and rules as the packet path sees them.

mod by_iptables;
mod expr;
mod expressions;
mod frees;
pub mod listing;
pub mod netlink;
mod read;
#[cfg(test)]
mod tests;

pub use expressions::{Expressions, TableExpressions};
pub use frees::frees;
pub use read::{Reading, is_nft_function, read};
