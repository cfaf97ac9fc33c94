//! `--from-trace`: a packet that died, and whether it would again.

use std::path::{Path, PathBuf};

use crate::evaluate::{Course, Dev, Packet, Unknown};
use crate::explain::{LiveHost, Question, Retold, Rules, answer, compared, read_drop, rules_in_force};
use crate::kernel::NetnsNames;
use crate::report::record::{DropLine, Explanation};
use crate::ruleset::xtables::save::Family;

/// Asks about the packet of one line.
///
/// # Errors
/// One line that says what to do.
pub(super) fn explained(
    trace: &Path,
    number: u64,
    (rulesets, ipsets): (&[PathBuf], &[PathBuf]),
) -> anyhow::Result<Explanation> {
    let (line, drop) = read_drop(trace, number)?;
    let Retold {
        packet,
        course,
        notes,
    } = Retold::of(&drop);
    let family = if packet.is_v6 { Family::Ip6 } else { Family::Ip };
    let mut told = if rulesets.is_empty() {
        live(packet, course, &drop, family)?
    } else {
        let rules = Rules::read(rulesets, ipsets, family)?;
        answer(&Question { packet, course }, &rules, &Unknown)
    };
    told.recorded = Some(compared(&line, number, &drop, &told));
    told.notes.splice(0..0, notes);
    Ok(told)
}

/// Against the rules and routes in force: where these lead it now, it goes.
fn live(
    mut packet: Packet,
    mut course: Course,
    drop: &DropLine,
    family: Family,
) -> anyhow::Result<Explanation> {
    let mut rules = rules_in_force(family)?;
    rules.notes.extend(elsewhere(drop));
    let gone: Vec<&str> = [&packet.in_dev, &packet.out_dev]
        .into_iter()
        .filter_map(Dev::name)
        .filter(|name| !name.is_empty() && !LiveHost::has_device(name))
        .collect();
    let note = (!gone.is_empty()).then(|| {
        format!(
            "there is no device {} here: it is taken to go the way that is recorded",
            gone.join(" or ")
        )
    });
    if course != Course::Output && packet.in_dev.name().is_some() && gone.is_empty() {
        course = Course::Arriving;
        packet.out_dev = Dev::Unknown;
    }
    rules.notes.extend(note);
    let around = LiveHost::entered_by(packet.in_dev.name().filter(|name| !name.is_empty()));
    Ok(answer(&Question { packet, course }, &rules, &around))
}

/// It died in another network namespace than this runs in, or before it was made.
fn elsewhere(drop: &DropLine) -> Option<String> {
    let there = drop.netns.as_ref()?;
    if NetnsNames::own() == Some(there.inode) {
        return None;
    }
    let name = match &there.name {
        Some(name) => format!("{} ({name})", there.inode),
        None => there.inode.to_string(),
    };
    Some(format!(
        "it died in network namespace {name}; the rules asked are those of the one that this runs in: ip netns exec gets there"
    ))
}
