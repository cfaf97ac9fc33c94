//! The evaluator of rules comes to what the kernel counts: the same random rulesets and packets every time.

use anyhow::Result;

use super::super::run::{Lab, Place};
use crate::cluster::Family;
use crate::replay::{self, Trial};
use crate::results::Outcome;

const SEED: u64 = 2026;
const CASES: u64 = 8;
const PACKETS: u64 = 40;

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    replay(lab, place, false)
}

/// With tables of nft's own beside those of iptables.
pub(super) fn run_mixed(lab: &Lab, place: &Place) -> Result<Outcome> {
    replay(lab, place, true)
}

fn replay(lab: &Lab, place: &Place, mixed: bool) -> Result<Outcome> {
    let mut wrong = Vec::new();
    for family in [Family::Ip, Family::Ip6] {
        let trial = Trial {
            seed: SEED,
            // With both kinds a packet meets twice as much.
            cases: if mixed { CASES / 2 } else { CASES },
            packets: PACKETS,
            backend: place.setup().backend,
            family,
            from: 0,
            mixed,
            ipset: false,
        };
        wrong.extend(replay::run(&trial, &lab.run)?.wrong);
    }
    Ok(if wrong.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(wrong)
    })
}
