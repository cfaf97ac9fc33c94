//! The live source: kernel → capture → trace → attribute → diagnose, one line of the trace at a time.

mod allowance;
mod asked;
mod budget;
mod cases;
mod changes;
mod check;
pub mod clock;
mod devices;
mod echo;
mod evaluators;
mod filter;
mod flood;
mod folds;
mod hints;
mod ladder;
mod line;
mod modules;
mod near_misses;
mod nft_misses;
mod open;
mod opened;
mod paths;
mod reasons;
mod replay;
mod ruletext;
mod services;
mod sets;
mod source;
mod totals;
mod way;

pub use cases::{check as check_cases, check_writable as check_cases_writable};
pub use check::check;
pub use filter::{check_namespaces, inode};
pub use hints::entering;
pub use open::{Live, kernel_release, node as node_name};
