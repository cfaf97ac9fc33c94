//! What nf_tables would do to a packet: the kernel's semantics over the ruleset that nft lists. Every condition is met, not
//! met, or unknown, because the packet is not known well enough or the kernel decides by something else (time, rates,
//! chance, sockets, routes). An unknown condition splits the way where it matters; it is never taken for met.

mod change;
mod compare;
mod conntrack;
mod effects;
mod hook;
mod load;
mod matcher;
mod near_miss;
mod packet;
mod path;
mod prepared;
mod rule;
mod value;
mod walk;

#[cfg(test)]
mod tests;

pub use hook::Evaluator;
pub use near_miss::{Failing, NearMiss};
pub use packet::{Bits, Connection, CtState, Device, Direction, IpFamily, Packet, Tuple};
pub use path::{Assumption, Change, Evaluation, Final, Outcome, Path, Place, Step, StepKind};
pub use value::Truth;
