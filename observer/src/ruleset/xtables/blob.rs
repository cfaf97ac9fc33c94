//! Decodes the entries of a table as they lie in the kernel.
//!
//! include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h, netfilter/x_tables.h: the layout is
//! user API. In the kernel the names of matches and targets are replaced by pointers to their structures.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;

use crate::kernel::raw::{string, u16_at, u32_at, u64_at};
use crate::report::record::{Backend, TableFamily};
use crate::ruleset::hooks::INET_HOOKS;
use crate::ruleset::{Base, Chain, Counter, Policy, Rule, Step, Table};

/// A hook that the table has not.
const NO_HOOK: u32 = u32::MAX;
/// Where an `xt_entry_target`'s or `xt_entry_match`'s data begins.
const DATA: usize = 32;
/// `XT_ERROR_TARGET`: begins a user chain, and ends the table.
const ERROR: &str = "ERROR";
/// Targets that end every packet.
const DROPS: [&str; 1] = ["REJECT"];
/// Targets that can end a packet.
const MAY_DROP: [&str; 10] = [
    "NFQUEUE",
    "QUEUE",
    "SYNPROXY",
    "TPROXY",
    "DNAT",
    "SNAT",
    "MASQUERADE",
    "REDIRECT",
    "NETMAP",
    "TEE",
];

/// A table's entries and where they came from.
pub struct Blob {
    /// `xt_table_info.entries`
    pub bytes: Vec<u8>,
    /// Offset of each hook's first entry.
    pub hook_entry: [u32; 5],
    /// Offset of each hook's policy.
    pub underflow: [u32; 5],
    /// Address of `bytes` in the kernel.
    pub address: u64,
    /// `ip` or `ip6`.
    pub family: TableFamily,
    /// Whether counters lie in the entries.
    pub one_cpu: bool,
}

/// Names behind the kernel's pointers.
pub trait Names {
    /// Name of the `struct xt_target` at this address; the standard target's is empty.
    fn target(&mut self, address: u64) -> Option<Rc<str>>;
    /// Name of the `struct xt_match` at this address.
    fn matching(&mut self, address: u64) -> Option<Rc<str>>;
}

/// Offsets of `ipt_entry` and `ip6t_entry`.
struct Shape {
    flags: usize,
    goto: u8,
    target_offset: usize,
    next_offset: usize,
    counters: usize,
    elems: usize,
}

const IPT: Shape = Shape {
    flags: 82,
    goto: 0x02,
    target_offset: 88,
    next_offset: 90,
    counters: 96,
    elems: 112,
};
const IP6T: Shape = Shape {
    flags: 131,
    goto: 0x04,
    target_offset: 140,
    next_offset: 142,
    counters: 152,
    elems: 168,
};

/// One entry, before jumps are resolved. What is not needed of each lies in the blob.
struct Entry {
    offset: u32,
    target: Target,
    goto: bool,
}

enum Target {
    /// A standard target's verdict: an offset, or a verdict encoded as a negative number.
    Standard(i32),
    /// Begins a user chain, or ends the table.
    Error,
    Extension(Rc<str>),
}

/// Decodes; `None` if it does not hold together.
pub fn decode(name: &str, blob: &Blob, names: &mut impl Names) -> Option<Table> {
    let entries = entries(blob, names)?;
    // A table ends with an entry of that name; one that does not was cut.
    if blob.error(entries.last()?)? != ERROR {
        return None;
    }
    let table = Table {
        backend: Backend::Legacy,
        family: blob.family,
        name: name.to_owned(),
        chains: chains(blob, &entries, names)?,
        hash: hash(blob, &entries),
        address: 0,
    };
    Some(table)
}

fn entries(blob: &Blob, names: &mut impl Names) -> Option<Vec<Entry>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < blob.bytes.len() {
        let bytes = blob.at(at)?;
        found.push(one(bytes, at, blob.shape(), names)?);
        at += bytes.len();
    }
    Some(found)
}

fn one(entry: &[u8], at: usize, shape: &Shape, names: &mut impl Names) -> Option<Entry> {
    shape.matches(entry)?;
    let target = shape.target(entry)?;
    let name = names.target(u64_at(target, 8)?)?;
    let target = match &*name {
        "" => Target::Standard(u32_at(target, DATA)?.cast_signed()),
        ERROR => Target::Error,
        _ => Target::Extension(name),
    };
    Some(Entry {
        offset: u32::try_from(at).ok()?,
        target,
        goto: entry.get(shape.flags)? & shape.goto != 0,
    })
}

impl Shape {
    /// An entry's target.
    fn target<'a>(&self, entry: &'a [u8]) -> Option<&'a [u8]> {
        entry.get(usize::from(u16_at(entry, self.target_offset)?)..)
    }

    /// What stands before it.
    fn matches<'a>(&self, entry: &'a [u8]) -> Option<&'a [u8]> {
        entry.get(self.elems..usize::from(u16_at(entry, self.target_offset)?))
    }
}

impl Blob {
    fn shape(&self) -> &'static Shape {
        if self.family == TableFamily::Ip6 {
            &IP6T
        } else {
            &IPT
        }
    }

    /// The entry that begins there.
    fn at(&self, at: usize) -> Option<&[u8]> {
        let shape = self.shape();
        let next = usize::from(u16_at(&self.bytes, at + shape.next_offset)?);
        let entry = self.bytes.get(at..at + next);
        entry.filter(|entry| entry.len() >= shape.elems + DATA)
    }

    /// The name in an `ERROR` target.
    fn error(&self, entry: &Entry) -> Option<String> {
        if !matches!(entry.target, Target::Error) {
            return None;
        }
        let target = self.shape().target(self.at(entry.offset as usize)?)?;
        Some(string(target.get(DATA..)?))
    }

    fn counter(&self, entry: &Entry) -> Option<Counter> {
        let counters = self.shape().counters;
        let address = if self.one_cpu {
            self.address + (entry.offset as usize + counters) as u64
        } else {
            u64_at(self.at(entry.offset as usize)?, counters)?
        };
        Some(Counter {
            address,
            plain: self.one_cpu,
            bytes_first: false,
        })
    }
}

/// The text of the first `comment` match.
fn comment(mut matches: &[u8], names: &mut impl Names) -> Option<String> {
    while matches.len() > DATA {
        let size = usize::from(u16_at(matches, 0)?);
        let this = matches.get(..size).filter(|_| size >= DATA)?;
        if &*names.matching(u64_at(this, 8)?)? == "comment" {
            return Some(string(this.get(DATA..)?));
        }
        matches = matches.get(size..)?;
    }
    None
}

fn chains(blob: &Blob, entries: &[Entry], names: &mut impl Names) -> Option<Vec<Chain>> {
    let mut chains = Vec::new();
    // Offset of a chain's first entry, where jumps lead, to its index.
    let mut starts = HashMap::new();
    // Entries of each chain, as a range.
    let mut ranges = Vec::new();
    for (number, hook) in INET_HOOKS.into_iter().enumerate() {
        let (first, policy) = (blob.hook_entry[number], blob.underflow[number]);
        if first == NO_HOOK {
            continue;
        }
        let start = index_of(entries, first)?;
        let end = index_of(entries, policy)?;
        let at_end = entries.get(end)?;
        let Target::Standard(verdict) = at_end.target else {
            return None;
        };
        let policy = if verdict == STANDARD_DROP {
            Policy::Drop
        } else {
            Policy::Accept
        };
        let base = Base {
            hook,
            priority: 0,
            policy,
            counter: blob.counter(at_end),
        };
        starts.insert(first, chains.len());
        ranges.push(start..end);
        chains.push(Chain {
            name: hook.name().to_owned(),
            base: Some(base),
            rules: Vec::new(),
            address: 0,
            mapped: false,
        });
    }
    user_chains(blob, entries, &mut chains, &mut ranges, &mut starts)?;
    for (chain, range) in chains.iter_mut().zip(ranges) {
        let entries = entries.get(range)?;
        chain.rules.reserve_exact(entries.len());
        for entry in entries {
            chain.rules.push(rule(blob, entry, &starts, names)?);
        }
    }
    Some(chains)
}

/// A user chain begins behind an `ERROR` entry with its name and ends with a `RETURN` that is not a rule.
fn user_chains(
    blob: &Blob,
    entries: &[Entry],
    chains: &mut Vec<Chain>,
    ranges: &mut Vec<std::ops::Range<usize>>,
    starts: &mut HashMap<u32, usize>,
) -> Option<()> {
    let heads: Vec<usize> = (0..entries.len())
        .filter(|index| matches!(entries[*index].target, Target::Error))
        .collect();
    // The last one ends the table.
    for pair in heads.windows(2) {
        let (head, next) = (pair[0], pair[1]);
        starts.insert(entries[head + 1].offset, chains.len());
        ranges.push(head + 1..(next - 1).max(head + 1));
        chains.push(Chain {
            name: blob.error(&entries[head])?,
            base: None,
            rules: Vec::new(),
            address: 0,
            mapped: false,
        });
    }
    Some(())
}

const STANDARD_DROP: i32 = -1;
const STANDARD_ACCEPT: i32 = -2;
const STANDARD_QUEUE: i32 = -4;

fn rule(blob: &Blob, entry: &Entry, starts: &HashMap<u32, usize>, names: &mut impl Names) -> Option<Rule> {
    let named = |name: &str| DROPS.into_iter().chain(MAY_DROP).find(|known| *known == name);
    let (step, target) = match &entry.target {
        Target::Standard(STANDARD_DROP) => (Step::Drop, Some("DROP".into())),
        Target::Standard(STANDARD_ACCEPT) => (Step::Accept, Some("ACCEPT".into())),
        Target::Standard(STANDARD_QUEUE) => (Step::MayDrop, Some("QUEUE".into())),
        Target::Standard(offset) if *offset >= 0 => (jump(entry, u32::try_from(*offset).ok()?, starts), None),
        Target::Standard(_) => (Step::Return, Some("RETURN".into())),
        Target::Extension(name) => match named(name) {
            Some(known) if DROPS.contains(&known) => (Step::Drop, Some(known.into())),
            Some(known) => (Step::MayDrop, Some(known.into())),
            None => (Step::Continue, Some(String::from(&**name).into())),
        },
        Target::Error => return None,
    };
    let bytes = blob.at(entry.offset as usize)?;
    Some(Rule {
        handle: 0,
        step,
        target,
        counter: blob.counter(entry),
        comment: comment(blob.shape().matches(bytes)?, names).map(Into::into),
        in_part: false,
        beyond_iptables: false,
        offset: entry.offset,
    })
}

/// A jump to the next entry is how a rule without a target is stored.
fn jump(entry: &Entry, to: u32, starts: &HashMap<u32, usize>) -> Step {
    match starts.get(&to) {
        Some(chain) if entry.goto => Step::Goto(*chain),
        Some(chain) => Step::Jump(*chain),
        None => Step::Continue,
    }
}

fn index_of(entries: &[Entry], offset: u32) -> Option<usize> {
    entries.binary_search_by_key(&offset, |entry| entry.offset).ok()
}

/// Of everything but the counters.
fn hash(blob: &Blob, entries: &[Entry]) -> u64 {
    let counters = blob.shape().counters;
    let mut hasher = DefaultHasher::new();
    let mut from = 0;
    for entry in entries {
        let at = entry.offset as usize + counters;
        hasher.write(blob.bytes.get(from..at).unwrap_or_default());
        from = at + 16;
    }
    hasher.write(blob.bytes.get(from..).unwrap_or_default());
    hasher.finish()
}
