//! What nf_tables would do to a packet: the kernel's semantics over the ruleset that nft lists. Every condition is met, not
//! met, or unknown, because the packet is not known well enough or the kernel decides by something else (time, rates,
//! chance, sockets, routes). An unknown condition splits the way where it matters; it is never taken for met.
//!
//! What nft does not list cannot be evaluated. nft 1.0.6 leaves out what it takes for a mere requirement of another
//! condition: that a packet is IPv4 before `ip saddr`, TCP before `tcp dport`, which is added here; but also a `ct l3proto`
//! or `ct protocol` that somebody wrote, which cannot be known. Whether a table is dormant it says in its text only: such
//! a table may do nothing. Tables of iptables-nft are known as far as they do without extensions of xtables, of which
//! only the names are listed.
//!
//! Not looked at: translation that fails and drops the packet, sets that fill up meanwhile, the families arp, bridge and
//! netdev but for one base chain at a time.

mod change;
mod closeness;
mod compare;
mod conntrack;
mod deaths;
mod effects;
mod hook;
mod load;
mod matcher;
mod near_miss;
mod never_asked;
mod packet;
mod path;
mod prepared;
mod rule;
mod value;
mod walk;

#[cfg(test)]
mod tests;

pub use deaths::Deaths;
pub use hook::{Called, Evaluator};
pub use near_miss::{Failing, NearMiss};
pub use packet::{Bits, Connection, CtState, Device, Direction, IpFamily, Packet, Tuple};
pub use path::{Assumption, Change, Evaluation, Final, Outcome, Path, Place, Step, StepKind};
pub use value::Truth;
