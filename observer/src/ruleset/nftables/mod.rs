//! nf_tables: tables, chains and rules as the packet path sees them.

mod bases;
mod by_iptables;
mod expr;
mod expressions;
mod frees;
pub mod listing;
pub mod netlink;
mod read;
#[cfg(test)]
mod tests;

pub use bases::has_bases;
pub use expressions::{Expressions, TableExpressions};
pub use frees::frees;
pub use read::{Reading, is_nft_function, read};
