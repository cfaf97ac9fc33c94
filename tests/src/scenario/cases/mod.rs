//! Scenarios that do not fit data: each a function of this folder.

mod closed_pipe;
mod killed;

use anyhow::Result;

use super::run::{Lab, Place};
use crate::results::Outcome;

/// A scenario in code.
pub(super) type Case = fn(&Lab, &Place) -> Result<Outcome>;

/// All of them, with their names.
pub(super) const ALL: &[(&str, Case)] = &[
    ("a-closed-pipe-ends-quietly", closed_pipe::run),
    ("kill-9-leaves-nothing-behind", killed::run),
];
