//! Tables of nft's own beside those of iptables: what is made up, and what the kernel counted there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use observer::evaluate::nftables::{Evaluator, Place, Step, StepKind};
use observer::evaluate::{Stop, Way};
use observer::ruleset::nftables::listing::{Family as Of, Ruleset, Statement, ValueOrName};

use super::random::Random;
use crate::cluster::Family;

/// Its tables, with their families; `{ip}` is the packets' own.
const TABLES: [(&str, &str); 3] = [("{ip}", "own0"), ("inet", "own1"), ("inet", "own2")];
/// Chains of a table beside its base chains; each jumps to later ones only.
const USER_CHAINS: usize = 3;
/// Most rules of a chain.
const MOST_RULES: usize = 4;

/// Hooks, and priorities that nothing of iptables has.
const FILTERS: [(&str, &[i32]); 5] = [
    ("prerouting", &[-310, -250, -190, -120, -90, 10]),
    ("input", &[-160, -10, 20, 60, 110]),
    ("forward", &[-160, -10, 20, 60, 110]),
    ("output", &[-310, -190, -120, -50, 20, 60]),
    ("postrouting", &[-160, -10, 60, 110]),
];
/// The same of chains that translate.
const NATS: [(&str, &[i32]); 4] = [
    ("prerouting", &[-101, -99]),
    ("input", &[99, 101]),
    ("output", &[-101, -99]),
    ("postrouting", &[99, 101]),
];

const CONDITIONS: [&str; 24] = [
    "{ip} saddr {foreign-net}",
    "{ip} saddr {own}",
    "{ip} daddr {near-net}",
    "{ip} daddr {near}",
    "{ip} daddr != {own}",
    "{ip} daddr {own}",
    "tcp dport 80",
    "tcp dport { 443, 8080 }",
    "udp dport 53",
    "udp dport != 53",
    "th dport 80-443",
    "tcp flags syn / syn,ack",
    "meta l4proto { tcp, udp }",
    "meta mark 0x1",
    "meta mark and 0xff != 0x0",
    "ct state new",
    "ct state invalid,untracked",
    "ct status dnat",
    "ct status snat",
    "ct mark 0x2",
    "fib daddr type local",
    "iifname \"in0\"",
    "oifname \"out1\"",
    "iifname != \"in1\"",
];

const CHANGES: [&str; 5] = [
    "meta mark set 0x1",
    "meta mark set meta mark or 0x10",
    "meta mark set meta mark and 0xfffffff0",
    "ct mark set 0x2",
    "meta mark set ct mark",
];

/// A ruleset in the syntax of nft, in the place of the last one. No two base chains of a hook have the same priority: their order
/// is not listed.
pub(super) fn make(random: &mut Random, family: Family) -> String {
    let mut text = String::new();
    let mut taken: Vec<(&str, i32)> = Vec::new();
    for (of, name) in TABLES {
        let _ = write!(text, "add table {of} {name}\ndelete table {of} {name}\n");
        let _ = writeln!(text, "table {of} {name} {{");
        for chain in (0..USER_CHAINS).rev() {
            let _ = writeln!(text, "\tchain c{chain} {{");
            rules(random, None, chain + 1, &mut text);
            text.push_str("\t}\n");
        }
        for base in 0..2 + random.below(3) {
            let is_nat = of != "inet" && random.one_in(2);
            let (hook, priorities) = if is_nat {
                *random.pick(&NATS)
            } else {
                *random.pick(&FILTERS)
            };
            let priority = *random.pick(priorities);
            if taken.contains(&(hook, priority)) {
                continue;
            }
            taken.push((hook, priority));
            let kind = match (is_nat, hook) {
                (true, _) => "nat",
                (false, "output") if random.one_in(2) => "route",
                (false, _) => "filter",
            };
            let policy = if !is_nat && random.one_in(5) {
                "drop"
            } else {
                "accept"
            };
            let _ = writeln!(
                text,
                "\tchain b{base} {{\n\t\ttype {kind} hook {hook} priority {priority}; policy {policy};"
            );
            rules(random, Some((hook, is_nat)), 0, &mut text);
            text.push_str("\t}\n");
        }
        text.push_str("}\n");
    }
    let words = match family {
        Family::Ip => [
            ("{ip}", "ip"),
            ("{foreign-net}", "203.0.113.0/29"),
            ("{foreign}", "203.0.113.200"),
            ("{own}", "10.9.0.1"),
            ("{near-net}", "198.18.0.0/15"),
            ("{near}", "198.18.0.1"),
            ("{to}", "198.19.7.6"),
            ("{to-port}", "198.18.0.77:8080"),
        ],
        Family::Ip6 => [
            ("{ip}", "ip6"),
            ("{foreign-net}", "2001:db8:113::/125"),
            ("{foreign}", "2001:db8:113::200"),
            ("{own}", "fd09::1"),
            ("{near-net}", "fd18::/64"),
            ("{near}", "fd18::1"),
            ("{to}", "fd19::6"),
            ("{to-port}", "[fd18::77]:8080"),
        ],
    };
    let fill = |text: String, (word, meaning): &(&str, &str)| text.replace(word, meaning);
    words.iter().fold(text, fill)
}

fn rules(random: &mut Random, base: Option<(&str, bool)>, later: usize, text: &mut String) {
    for _ in 0..random.below(MOST_RULES + 1) {
        let mut words: Vec<String> = (0..random.below(3))
            .map(|_| (*random.pick(&CONDITIONS)).to_owned())
            .collect();
        if random.one_in(12) {
            words.push("limit rate 1/second".to_owned());
        }
        if random.one_in(4) {
            words.push((*random.pick(&CHANGES)).to_owned());
        }
        let (counts, end) = end(random, base, later);
        if counts {
            words.push("counter".to_owned());
        }
        words.push(end);
        let _ = writeln!(text, "\t\t{}", words.join(" ").trim());
    }
}

/// What a rule does at last, and whether it counts before: not where a map may have nothing for the packet, which then does not
/// match.
fn end(random: &mut Random, base: Option<(&str, bool)>, later: usize) -> (bool, String) {
    if let (Some((hook, true)), true) = (base, random.one_in(2)) {
        let to = match hook {
            "prerouting" | "output" => *random.pick(&["dnat to {to}", "meta l4proto tcp dnat to {to-port}"]),
            // Nobody routes to it, so that nothing is answered.
            "input" => "snat to {foreign}",
            _ => *random.pick(&["snat to {own}", "masquerade"]),
        };
        let counted = match to.strip_prefix("meta l4proto tcp ") {
            Some(to) => format!("meta l4proto tcp counter {to}"),
            None => format!("counter {to}"),
        };
        return (false, counted);
    }
    let target = (later < USER_CHAINS).then(|| format!("c{}", later + random.below(USER_CHAINS - later)));
    match (random.below(14), target) {
        (0..=3, _) => (true, String::new()),
        (4, _) => (true, "drop".to_owned()),
        (5 | 6, _) => (true, "accept".to_owned()),
        (7, _) => (true, "return".to_owned()),
        (8 | 9, Some(target)) => (true, format!("jump {target}")),
        (10, Some(target)) => (true, format!("goto {target}")),
        (11, Some(target)) => (
            false,
            format!("tcp dport vmap {{ 80 : jump {target}, 443 : accept, 53 : drop }}"),
        ),
        (12, Some(target)) => (
            false,
            format!("numgen random mod 2 vmap {{ 0 : jump {target}, 1 : continue }}"),
        ),
        (13, _) if base.is_some_and(|(hook, _)| matches!(hook, "prerouting" | "output")) => {
            (true, "notrack".to_owned())
        }
        _ => (true, String::new()),
    }
}

/// Packets by table, chain and handle.
pub(super) type Counts = BTreeMap<(String, String, u64), u64>;

/// What nft lists of its own tables, and what their rules have counted.
pub(super) fn read(listed: &str) -> Result<(Ruleset, Counts)> {
    let mut ruleset = Ruleset::read(listed)?;
    ruleset
        .tables
        .retain(|table| TABLES.iter().any(|(_, name)| *name == table.name));
    let mut counts = Counts::new();
    for table in &ruleset.tables {
        for chain in &table.chains {
            for rule in &chain.rules {
                let packets = rule.statements.iter().find_map(packets);
                if let (Some(packets), Some(handle)) = (packets, rule.handle) {
                    counts.insert((table.name.clone(), chain.name.clone(), handle), packets);
                }
            }
        }
    }
    Ok((ruleset, counts))
}

fn packets(statement: &Statement) -> Option<u64> {
    match statement {
        Statement::Counter(ValueOrName::Value(counter)) => counter.counted.map(|(packets, _)| packets),
        _ => None,
    }
}

/// What has counted between.
pub(super) fn moved(before: &Counts, after: &Counts) -> Counts {
    let moved = after
        .iter()
        .map(|(place, packets)| (place.clone(), packets - before.get(place).unwrap_or(&0)));
    moved.filter(|(_, packets)| *packets > 0).collect()
}

/// Whether the kernel may have gone this way, by what rules of nft have counted.
pub(super) fn fits(way: &Way, nft: &Evaluator<'_>, moved: &Counts, is_open: bool) -> bool {
    let mut left = moved.clone();
    let mut maybe = Vec::new();
    // What is redirected where there is no address dies there (`nf_nat_redirect_ipv4`), and the evaluator does not know.
    let lost = way.stops.iter().position(is_lost);
    let is_open = is_open || lost.is_some();
    let known = lost.map_or(way.stops.as_slice(), |at| &way.stops[..=at]);
    for step in known.iter().flat_map(steps) {
        let Some(place) = counted(nft, step.place) else {
            continue;
        };
        match step.kind {
            StepKind::Matched | StepKind::Assumed if !take(&mut left, &place) => return false,
            StepKind::MayMatch | StepKind::Unknown => maybe.push(place),
            _ => {}
        }
    }
    for place in maybe {
        take(&mut left, &place);
    }
    is_open || left.is_empty()
}

/// Whether it is not known where it goes to from here on.
fn is_lost(stop: &Stop) -> bool {
    match stop {
        Stop::Chain(passage) => passage.before.dst.is_some() && passage.after.dst.is_none(),
        Stop::Table(passage) => passage.before.dst.is_some() && passage.after.dst.is_none(),
    }
}

fn steps(stop: &Stop) -> &[Step] {
    match stop {
        Stop::Chain(passage) => passage.path.steps.as_slice(),
        Stop::Table(_) => &[],
    }
}

/// The place of a rule that counts.
fn counted(nft: &Evaluator<'_>, place: Place) -> Option<(String, String, u64)> {
    let rule = nft.rule(place)?;
    rule.statements.iter().find_map(packets)?;
    Some((
        nft.table(place)?.name.clone(),
        nft.chain(place)?.name.clone(),
        rule.handle?,
    ))
}

fn take(left: &mut Counts, place: &(String, String, u64)) -> bool {
    match left.get_mut(place) {
        Some(1) => left.remove(place).is_some(),
        Some(packets) => {
            *packets -= 1;
            true
        }
        None => false,
    }
}

/// The rules on a way.
pub(super) fn way_text(way: &Way, nft: &Evaluator<'_>) -> String {
    let step = |step: &Step| {
        let (table, chain) = (nft.table(step.place)?, nft.chain(step.place)?);
        let family = if table.family == Of::Inet { "inet " } else { "" };
        let handle = nft.rule(step.place).and_then(|rule| rule.handle);
        let handle = handle.map_or("policy".to_owned(), |handle| handle.to_string());
        Some(format!(
            "{family}{} {} {handle} ({:?})",
            table.name, chain.name, step.kind
        ))
    };
    way.stops
        .iter()
        .flat_map(steps)
        .filter_map(step)
        .collect::<Vec<_>>()
        .join(", ")
}
