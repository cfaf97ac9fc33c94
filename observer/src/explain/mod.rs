//! What would become of a packet, from rules that are in force or saved ([`crate::evaluate`]), in the words of the trace.

mod answer;
mod iptables;
mod listed;
mod live;
mod nft;
mod owners;
mod passage;
mod recorded;
mod rules;
mod services;
#[cfg(test)]
mod tests;

pub use answer::{Question, answer};
pub use live::{LiveHost, rules_in_force};
pub use recorded::{Retold, compared, read_drop};
pub use rules::Rules;
