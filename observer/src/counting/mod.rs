//! The lowest rung of the ladder, without BPF: the counters of rules and policies that can drop, read through the tools that
//! print them a few times a second, and compared. It says which of them rise; which packets these were it cannot know.
//!
//! Nothing here asks the kernel for more than Linux 3.10 has.

mod asked;
mod choose;
mod differ;
mod effect;
mod listing;
mod near;
mod nft_near;
mod node;
mod pace;
mod reader;
mod reading;
mod saved;
mod scene;
mod source;
mod statistics;
mod teller;
mod tools;

pub use choose::Watched;
pub use source::{Counting, attribution, is_possible};
