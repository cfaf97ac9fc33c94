//! A ruleset of nf_tables as `nft` lists it: read from `nft -j list ruleset` into a model that names every part, and
//! written again as `nft list ruleset` writes it (nftables 1.0.6). What is not known is kept word for word and shown so.
//!
//! The schema is that of libnftables-json(5). What nft 1.0.6 leaves out of it, this cannot show: comments of tables and
//! chains, flags of tables, devices of chains, `auto-merge`, `typeof` (the types are shown instead), milliseconds of
//! timeouts, and the parameters of xtables' extensions.

mod datatype;
mod expression;
mod left_out;
mod live;
mod model;
mod name;
mod read;
mod shared;
mod statement;
pub mod symbols;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use datatype::Datatype;
pub use expression::{BinaryOperator, Element, Expression, Jhash, Own, Payload, Verdict};
pub use left_out::as_json_tells;
pub use live::{InForce, ListedBy};
pub use model::{
    BaseChain, Chain, Family, Flowtable, Object, ObjectKind, Rule, Ruleset, Set, Table, Value, ValueOrName,
};
pub use name::Name;
pub use read::ReadError;
pub(super) use shared::Shared;
pub use statement::{Counter, Limit, LogStatement, Nat, NatKind, Operator, Quota, SetUpdate, Statement};
pub use write::Handles;
