//! Scenarios that do not fit data: each a function of this folder.

mod closed_pipe;
mod killed;
mod replaced;
mod two_signals;

use anyhow::Result;

use super::run::{Lab, Place};
use crate::cluster::Backend;
use crate::results::Outcome;

/// A scenario in code.
pub(super) type Case = fn(&Lab, &Place) -> Result<Outcome>;

/// All of them, with their names and the backends to run them with.
pub(super) const ALL: &[(&str, &[Backend], Case)] = &[
    ("a-closed-pipe-ends-quietly", &[Backend::Legacy], closed_pipe::run),
    (
        "a-second-signal-ends-at-once",
        &[Backend::Legacy],
        two_signals::run,
    ),
    ("kill-9-leaves-nothing-behind", &[Backend::Legacy], killed::run),
    (
        "rules-replaced-fifty-times",
        &[Backend::Legacy, Backend::Nft],
        replaced::run,
    ),
];
