//! What `ipset save` prints.

use std::collections::HashMap;
use std::net::IpAddr;

use super::kind::Part;
use super::members::{DeviceMember, Member};
use super::{MOST_MEMBERS, Set};
use crate::ruleset::xtables::save::{Family, Protocol};

mod icmp;

/// What is not as `ipset save` prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {what}: give what ipset save prints")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    what: &'static str,
}

/// Longer than any line of a real set.
const MOST_BYTES: usize = 4096;
/// Words of a line.
const MOST_WORDS: usize = 64;

/// Reads what `ipset save` prints.
///
/// # Errors
/// The first line that is not understood: a set that was read in part would give wrong answers.
pub fn parse(text: &str) -> Result<Vec<Set>, ParseError> {
    let mut sets: Vec<Set> = Vec::new();
    let mut places: HashMap<Box<str>, usize> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let error = |what| ParseError {
            line: index + 1,
            what,
        };
        if index > MOST_MEMBERS {
            return Err(error("is one too many"));
        }
        let words = words(line).map_err(error)?;
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["create", name, type_name, options @ ..] => {
                let set = create(name, type_name, options).map_err(error)?;
                if places.insert(set.name.clone(), sets.len()).is_some() {
                    return Err(error("creates a set that is there already"));
                }
                sets.push(set);
            }
            ["add", name, member, options @ ..] => {
                let set = places.get(*name).and_then(|place| sets.get_mut(*place));
                let set = set.ok_or_else(|| error("adds to a set that is not created before"))?;
                // Of a set of a type that is not known what its members are is not known either.
                if set.unread().is_some() {
                    continue;
                }
                let member =
                    add(set, member, options).ok_or_else(|| error("has a member that is not understood"))?;
                set.add(member);
            }
            _ => return Err(error("is neither create nor add")),
        }
    }
    Ok(sets)
}

/// The words of a line. A comment, the only one in quotes, is left out: nothing in it is undone.
fn words(line: &str) -> Result<Vec<&str>, &'static str> {
    if line.len() > MOST_BYTES {
        return Err("is longer than any of a set");
    }
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && words.len() < MOST_WORDS {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after.trim_start();
        match rest.strip_prefix('"').filter(|_| word == "comment") {
            Some(quoted) => {
                let (_, after) = quoted.split_once('"').ok_or("has a comment that does not end")?;
                rest = after.trim_start();
            }
            None => words.push(word),
        }
    }
    Ok(words)
}

fn create(name: &str, type_name: &str, options: &[&str]) -> Result<Set, &'static str> {
    // A hash of addresses is of IPv4 where nothing else is said.
    let mut family = Family::Ip;
    let (mut netmask, mut mark_mask) = (None, None);
    let (mut has_timeout, mut has_counters, mut not_understood) = (false, false, None);
    let mut options = options.iter().copied();
    let bad = "creates a set with an option that has no value";
    while let Some(option) = options.next() {
        let mut value = || options.next().ok_or(bad);
        match option {
            "family" => {
                family = match value()? {
                    "inet" => Family::Ip,
                    "inet6" => Family::Ip6,
                    _ => return Err("creates a set of a family that is not known"),
                }
            }
            "netmask" => netmask = Some(value()?.parse().map_err(|_| bad)?),
            "markmask" => mark_mask = Some(hexadecimal(value()?).ok_or(bad)?),
            "timeout" => (_, has_timeout) = (value()?, true),
            "counters" => has_counters = true,
            "range" | "hashsize" | "maxelem" | "bucketsize" | "initval" | "size" | "probes" | "resize" => {
                value()?;
            }
            "comment" | "skbinfo" | "forceadd" => {}
            "bitmask" => not_understood = Some("the set masks addresses in a way that is not known"),
            _ => not_understood = Some("the set has options that are not known"),
        }
        if not_understood.is_some() {
            break;
        }
    }
    let mut set = Set::new(name, type_name, Some(family));
    (set.has_timeout, set.has_counters) = (has_timeout, has_counters);
    set.mark_mask = mark_mask.unwrap_or(u32::MAX);
    if let Some(netmask) = netmask {
        set.mask_addresses(netmask);
    }
    if let Some(why) = not_understood {
        set.give_up(why);
    }
    Ok(set)
}

fn add(set: &Set, text: &str, options: &[&str]) -> Option<Member> {
    let mut member = Member::default();
    // Devices may have commas in their names.
    let mut texts = text.splitn(set.parts.len(), ',');
    let mut addrs = 0;
    for part in &set.parts {
        let text = match (part, texts.next()) {
            (_, Some(text)) => text,
            // `bitmap:ip,mac` has members without it.
            (Part::Mac, None) => continue,
            (_, None) => return None,
        };
        match part {
            Part::Address | Part::Network => {
                *member.addrs.get_mut(addrs)? = Some(network(text)?);
                addrs += 1;
            }
            Part::Port => (member.proto, member.port) = transport(text)?,
            Part::BarePort => member.port = Some(text.parse().ok()?),
            Part::Mac => {}
            Part::Mark => member.mark = Some(hexadecimal(text)?),
            Part::Device => member.device = Some(device(text)),
            Part::Set => member.set = Some(text.into()),
        }
    }
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "nomatch" => member.is_nomatch = true,
            "wildcard" => member.device.as_mut()?.is_prefix = true,
            "timeout" | "packets" | "bytes" | "skbmark" | "skbprio" | "skbqueue" => _ = options.next()?,
            _ => return None,
        }
    }
    Some(member)
}

fn network(text: &str) -> Option<(IpAddr, Option<u8>)> {
    match text.split_once('/') {
        Some((addr, bits)) => Some((addr.parse().ok()?, Some(bits.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

/// `tcp:80`, `icmp:echo-request`, `icmp:99/9`, `gre:0`, `253:0`
fn transport(text: &str) -> Option<(Option<u8>, Option<u16>)> {
    let (proto, port) = text.split_once(':')?;
    let proto = Protocol::parse(proto).number?;
    let port = match i32::from(proto) {
        libc::IPPROTO_ICMP => icmp::number(false, port)?,
        libc::IPPROTO_ICMPV6 => icmp::number(true, port)?,
        _ => port.parse().ok()?,
    };
    Some((Some(proto), Some(port)))
}

fn device(text: &str) -> DeviceMember {
    let physical = text.strip_prefix("physdev:");
    DeviceMember {
        device: physical.unwrap_or(text).into(),
        is_physical: physical.is_some(),
        ..DeviceMember::default()
    }
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
