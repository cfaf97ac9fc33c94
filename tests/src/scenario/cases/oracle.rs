//! Random rulesets and packets under the real observer: what it tells is what the kernel did, the same ones every time.

use anyhow::Result;

use super::super::run::{Lab, Place};
use crate::cluster::Family;
use crate::kernel::probes;
use crate::oracle::{self, Trial};
use crate::results::Outcome;

const SEED: u64 = 2026;

pub(super) fn one_by_one(lab: &Lab, place: &Place) -> Result<Outcome> {
    // Where paths are observed it is a virtual machine, which is slow.
    let (rulesets, packets) = if probes::path() { (3, 40) } else { (10, 200) };
    run(lab, place, (rulesets, packets), false)
}

/// All packets of a ruleset at once: what the rules count in total is what is told.
pub(super) fn in_bursts(lab: &Lab, place: &Place) -> Result<Outcome> {
    // More echo requests of IPv6 at once are not told apart: by their length, of which there are 1,200.
    run(lab, place, (4, 1000), true)
}

fn run(lab: &Lab, place: &Place, (rulesets, packets): (u64, u64), bursts: bool) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let mut wrong = Vec::new();
    for family in [Family::Ip, Family::Ip6] {
        let trial = Trial {
            seed: SEED,
            backend: place.setup().backend,
            family,
            packets: rulesets * packets,
            per_ruleset: packets,
            from: 0,
            bursts,
            probes: "auto".to_owned(),
            observer: program.clone(),
            save: None,
        };
        let outcome = oracle::run(&trial, &lab.data, &lab.run)?;
        println!("  {}", outcome.row);
        wrong.extend(outcome.wrong);
    }
    Ok(if wrong.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(wrong)
    })
}
