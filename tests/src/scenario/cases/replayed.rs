//! The evaluator of rules comes to what the kernel counts: the same random rulesets and packets every time.

use anyhow::Result;

use super::super::run::{Lab, Place};
use crate::replay::{self, Trial};
use crate::results::Outcome;

const SEED: u64 = 2026;
const CASES: u64 = 15;
const PACKETS: u64 = 40;

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let trial = Trial {
        seed: SEED,
        cases: CASES,
        packets: PACKETS,
        backend: place.setup().backend,
        from: 0,
    };
    let found = replay::run(&trial, &lab.run)?;
    Ok(if found.wrong.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(found.wrong)
    })
}
