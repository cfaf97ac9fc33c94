//! Rules: restoring them, and reading back what the kernel counted for each.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::{Backend, Family};
use crate::exec;
use crate::netns::Netns;

/// A place in a ruleset that can end a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `filter`, `nat`, `mangle`, `raw`, `security`.
    pub table: String,
    /// The chain that holds the rule, or whose policy it is.
    pub chain: String,
    /// 1-based number in the chain; `None` is the policy.
    pub rule: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "{} {} rule {rule}", self.table, self.chain),
            None => write!(f, "{} {} policy", self.table, self.chain),
        }
    }
}

/// What iptables-save says about a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Packets counted so far.
    pub packets: u64,
    /// The rule as iptables-save prints it, or the policy's verdict.
    pub text: String,
}

impl Counted {
    /// Whether a packet that is counted here ends here.
    pub fn drops(&self) -> bool {
        self.text == "DROP" || self.text.ends_with("-j DROP") || self.text.contains("-j REJECT")
    }
}

/// All rules and policies of a namespace with their counters.
pub type Counters = BTreeMap<Place, Counted>;

/// Restores iptables-save text.
pub fn restore(netns: &Netns, backend: Backend, family: Family, text: &str, flush: bool) -> Result<()> {
    if backend == Backend::Native {
        bail!("native nftables takes no rules of iptables: use a step `nft`");
    }
    let program = format!("{}-restore", tool(backend, family));
    let args: &[&str] = if flush {
        &["-w", "30"]
    } else {
        &["-w", "30", "--noflush"]
    };
    exec::run(Some(netns), &program, args, text).map(drop)
}

/// Reads rules and counters back.
pub fn counters(netns: &Netns, backend: Backend, family: Family) -> Result<Counters> {
    if backend == Backend::Native {
        bail!("iptables-save does not show native nftables: use [[native]]");
    }
    let program = format!("{}-save", tool(backend, family));
    let text = exec::run(Some(netns), &program, &["-c"], "")?;
    parse_save(&text).with_context(|| format!("reading what {program} printed"))
}

/// The command of a backend and family, without `-save` or `-restore`.
pub fn tool(backend: Backend, family: Family) -> String {
    let program = if family == Family::Ip {
        "iptables"
    } else {
        "ip6tables"
    };
    format!("{program}-{}", backend.machinery())
}

/// Reads what `iptables-save -c` prints; counters may be left out.
pub fn parse_save(text: &str) -> Result<Counters> {
    let mut counters = Counters::new();
    let mut table = String::new();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
            numbers.clear();
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let (Some(chain), Some(policy), Some(count)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if policy != "-" {
                let place = Place {
                    table: table.clone(),
                    chain: chain.to_owned(),
                    rule: None,
                };
                counters.insert(
                    place,
                    Counted {
                        packets: packets(count)?,
                        text: policy.to_owned(),
                    },
                );
            }
        } else if let Some((count, rule)) = line
            .strip_prefix("-A ")
            .map(|rule| ("0", rule))
            .or_else(|| line.split_once("] -A "))
        {
            let chain = rule.split(' ').next().unwrap_or_default().to_owned();
            let number = numbers.entry(chain.clone()).or_default();
            *number += 1;
            let place = Place {
                table: table.clone(),
                chain,
                rule: Some(*number),
            };
            counters.insert(
                place,
                Counted {
                    packets: packets(count)?,
                    text: format!("-A {rule}"),
                },
            );
        }
    }
    Ok(counters)
}

fn packets(count: &str) -> Result<u64> {
    let packets = count
        .trim_start_matches('[')
        .split(':')
        .next()
        .unwrap_or_default();
    packets
        .parse()
        .with_context(|| format!("`{count}` is no counter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "# Generated\n*filter\n:INPUT ACCEPT [5:300]\n:FORWARD DROP [7:420]\n:WEB - [0:0]\n\
        [3:180] -A FORWARD -j WEB\n[0:0] -A WEB -p tcp -m comment --comment \"a ] -A b\" -j REJECT --reject-with x\n\
        [2:120] -A FORWARD -d 10.0.0.1/32 -j DROP\nCOMMIT\n";

    fn at(chain: &str, rule: Option<usize>) -> Place {
        Place {
            table: "filter".into(),
            chain: chain.into(),
            rule,
        }
    }

    #[test]
    fn rules_are_numbered_in_their_own_chain() {
        let counters = parse_save(SAVED).expect("parse");
        let second = &counters[&at("FORWARD", Some(2))];
        assert_eq!(
            (second.packets, second.text.as_str()),
            (2, "-A FORWARD -d 10.0.0.1/32 -j DROP")
        );
        assert_eq!(counters[&at("WEB", Some(1))].packets, 0);
        assert_eq!(counters.len(), 5);
    }

    #[test]
    fn policies_are_places_with_counters() {
        let counters = parse_save(SAVED).expect("parse");
        assert_eq!(counters[&at("FORWARD", None)].packets, 7);
        assert!(counters[&at("FORWARD", None)].drops());
        assert!(!counters[&at("INPUT", None)].drops());
        assert!(!counters.contains_key(&at("WEB", None)));
    }

    #[test]
    fn rules_that_end_a_packet_are_known() {
        let counters = parse_save(SAVED).expect("parse");
        assert!(counters[&at("WEB", Some(1))].drops());
        assert!(!counters[&at("FORWARD", Some(1))].drops());
    }
}
