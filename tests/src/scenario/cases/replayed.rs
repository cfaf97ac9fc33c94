//! The evaluator of rules comes to what the kernel counts: the same random rulesets and packets every time.

use anyhow::Result;

use super::super::run::{Lab, Place};
use crate::cluster::Family;
use crate::nftables::{self, FrameFamily};
use crate::replay::{self, Trial};
use crate::results::Outcome;

const SEED: u64 = 2026;
const CASES: u64 = 8;
const PACKETS: u64 = 40;

/// What is there beside rules of iptables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Nft,
    Sets,
}

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    replay(lab, place, Beside::Nothing)
}

/// With tables of nft's own beside those of iptables.
pub(super) fn run_mixed(lab: &Lab, place: &Place) -> Result<Outcome> {
    replay(lab, place, Beside::Nft)
}

/// With sets of ipset that the rules ask.
pub(super) fn run_ipset(lab: &Lab, place: &Place) -> Result<Outcome> {
    replay(lab, place, Beside::Sets)
}

/// Frames through chains of the families bridge, netdev and arp, which nft alone has.
pub(super) fn run_frames(lab: &Lab, _: &Place) -> Result<Outcome> {
    let amount = nftables::Amount {
        seed: SEED,
        rulesets: 25,
        packets: 40,
    };
    let mut wrong = Vec::new();
    for family in [FrameFamily::Bridge, FrameFamily::Netdev, FrameFamily::Arp] {
        wrong.extend(nftables::wrong(&lab.run, Some(family), amount)?);
    }
    Ok(if wrong.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(wrong)
    })
}

fn replay(lab: &Lab, place: &Place, beside: Beside) -> Result<Outcome> {
    let mut wrong = Vec::new();
    for family in [Family::Ip, Family::Ip6] {
        let trial = Trial {
            seed: SEED,
            // With more a packet meets more.
            cases: if beside == Beside::Nothing {
                CASES
            } else {
                CASES / 2
            },
            packets: PACKETS,
            backend: place.setup().backend,
            family,
            from: 0,
            mixed: beside == Beside::Nft,
            ipset: beside == Beside::Sets,
        };
        wrong.extend(replay::run(&trial, &lab.run)?.wrong);
    }
    Ok(if wrong.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(wrong)
    })
}
