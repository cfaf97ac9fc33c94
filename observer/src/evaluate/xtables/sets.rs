//! The match `set`, as it is evaluated.

use super::super::condition::{Ask, Condition, End, SetAsk};
use super::open_extension;
use crate::ruleset::ipset::Sets;
use crate::ruleset::xtables::save::{Extension, Opt};

/// The most parts that a match may look for (`IPSET_DIM_MAX`, include/uapi/linux/netfilter/ipset/ip_set.h).
const MOST_ENDS: usize = 6;

/// What a match asks of a packet; not known where the set or an option is not.
pub(super) fn of_set(extension: &Extension, sets: &Sets) -> Condition {
    let Some((negated, asked)) = read(extension) else {
        return open_extension(extension, "what it asks of the set is not known", true);
    };
    match sets.asked(&asked.name) {
        Ok(sets) => Condition {
            negated,
            ask: Ask::Set(Box::new(SetAsk {
                sets: sets.into(),
                ..asked
            })),
        },
        Err((why, is_steady)) => open_extension(extension, why, is_steady),
    }
}

fn read(extension: &Extension) -> Option<(bool, SetAsk)> {
    let mut found = None;
    let (mut returns_nomatch, mut compares_counters) = (false, false);
    for option in &extension.options {
        match &*option.name {
            "--match-set" if found.is_none() => found = Some((option.negated, name_and_ends(option)?)),
            "--return-nomatch" if !option.negated => returns_nomatch = true,
            // What is counted changes nothing for this packet.
            "--update-counters" | "--update-subcounters" => {}
            "--packets-eq" | "--packets-lt" | "--packets-gt" | "--bytes-eq" | "--bytes-lt" | "--bytes-gt" => {
                compares_counters = true;
            }
            _ => return None,
        }
    }
    let (negated, (name, ends)) = found?;
    let asked = SetAsk {
        name,
        ends,
        sets: Box::default(),
        returns_nomatch,
        compares_counters,
    };
    Some((negated, asked))
}

/// `KUBE-CLUSTER-IP dst,dst`
fn name_and_ends(option: &Opt) -> Option<(Box<str>, Box<[End]>)> {
    let [name, ends] = option.values.as_slice() else {
        return None;
    };
    let ends: Option<Box<[End]>> = ends
        .text
        .split(',')
        .map(|end| match end {
            "src" => Some(End::Source),
            "dst" => Some(End::Destination),
            _ => None,
        })
        .collect();
    Some((name.text.clone(), ends.filter(|ends| ends.len() <= MOST_ENDS)?))
}
