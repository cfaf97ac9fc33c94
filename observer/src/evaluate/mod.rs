//! What would become of a packet: rules asked in the kernel's order, with three answers: yes, no, not known. Never a yes that
//! is not one.
//!
//! Tables of every backend come as [`Table`]: chains of [`Condition`]s and [`Action`]s. [`xtables`] makes them from what
//! iptables saves. [`nftables`] asks what nft lists, whose rules read and write more than conditions say.

mod around;
mod closeness;
mod condition;
mod deaths;
mod effect;
mod near;
pub mod nftables;
mod packet;
mod table;
#[cfg(test)]
mod tests;
mod translation;
mod truth;
mod walk;
mod way;
pub mod xtables;

pub use around::{Route, Surroundings, Unknown};
pub use condition::{Ask, AskConn, Condition, End, OfConn, Open, SetAsk, Side};
pub use deaths::{Deaths, deaths};
pub use near::{Miss, NearMiss, near_misses};
pub use packet::{Conn, Dev, Kinds, Packet};
pub use table::{Action, Base, Chain, Rule, Table, needs_conntrack};
pub use translation::Translation;
pub use truth::Truth;
pub use walk::{Bounds, Doubt, Outcome, Place, Step, Verdict, retrace, walk, walk_forced};
pub use way::{ChainPassage, Course, End as WayEnd, InForce, Passage, Stop, Way, ways};
