//! Random sets of ipset: one of each type that this kernel has, with other members for each ruleset.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use observer::ruleset::ipset::{self, Sets};

use super::random::Random;
use super::world::World;
use crate::cluster::Family;

/// Most members of a set.
const MOST_MEMBERS: usize = 7;

/// A set: its name, its type with what it is created with, how many parts it has. `{net}` stands for a span of addresses.
const KINDS: [(&str, &str, usize); 20] = [
    ("ip", "hash:ip {family}", 1),
    ("ip-mask", "hash:ip {family} netmask {mask}", 1),
    ("ip-count", "hash:ip {family} counters timeout 600", 1),
    ("ip-other", "hash:ip {other}", 1),
    ("ip-changed", "hash:ip {family}", 1),
    ("ip-port", "hash:ip,port {family}", 2),
    ("ip-port-ip", "hash:ip,port,ip {family}", 3),
    ("ip-port-net", "hash:ip,port,net {family}", 3),
    ("ip-mark", "hash:ip,mark {family} markmask 0xff", 2),
    ("ip-mac", "hash:ip,mac {family}", 2),
    ("mac", "hash:mac", 1),
    ("net", "hash:net {family}", 1),
    ("net-comment", "hash:net {family} comment skbinfo", 1),
    ("net-port", "hash:net,port {family}", 2),
    ("net-net", "hash:net,net {family}", 2),
    ("net-port-net", "hash:net,port,net {family}", 3),
    ("net-iface", "hash:net,iface {family}", 2),
    ("bits-ip", "bitmap:ip range 203.0.113.0/24", 1),
    ("bits-mask", "bitmap:ip range 203.0.0.0/16 netmask 28", 1),
    ("bits-port", "bitmap:port range 0-1024", 1),
];
/// Lists of the sets above.
const LISTS: [(&str, [&str; 3]); 2] = [
    ("list", ["ip", "net-port", "net-iface"]),
    ("list-changed", ["ip-other", "ip-changed", "bits-ip"]),
];
/// Targets may add to this one and delete from it.
const CHANGED: &str = "ip-changed";

const PORTS: [&str; 8] = [
    "tcp:80", "tcp:443", "udp:53", "udp:443", "tcp:53", "sctp:80", "{echo}", "gre:0",
];
const ADDRESSES: [&str; 6] = [
    "203.0.113.4",
    "203.0.113.7",
    "198.18.0.1",
    "198.18.0.77",
    "198.19.7.5",
    "10.9.0.1",
];
const ADDRESSES_IP6: [&str; 6] = [
    "2001:db8:113::4",
    "2001:db8:113::7",
    "fd18::1",
    "fd18::77",
    "fd19::5",
    "fd09::1",
];
const NETWORKS: [&str; 8] = [
    "203.0.113.0/24",
    "203.0.113.0/29",
    "203.0.113.4",
    "198.18.0.0/15",
    "198.18.0.0/16",
    "198.19.7.0/28",
    "10.0.0.0/8",
    "128.0.0.0/1",
];
const NETWORKS_IP6: [&str; 8] = [
    "2001:db8:113::/64",
    "2001:db8:113::/125",
    "2001:db8:113::4",
    "fd18::/15",
    "fd18::/64",
    "fd19::/124",
    "fd00::/8",
    "8000::/1",
];
const DEVICES: [&str; 6] = ["in0", "in1", "out0", "out1", "in", "physdev:in0"];

/// The kinds of sets that this kernel has, each with a set of its name.
pub(super) struct Kinds {
    known: Vec<(&'static str, &'static str, usize)>,
    family: Family,
}

impl Kinds {
    /// Creates the sets.
    ///
    /// # Errors
    /// ipset cannot make the simplest one.
    pub(super) fn create(world: &World, family: Family) -> Result<Self> {
        let mut kinds = Vec::new();
        for (name, kind, parts) in KINDS {
            let created = format!("create {name} {}\n", filled(kind, family));
            match world.ipset(&created) {
                Ok(()) => kinds.push((name, kind, parts)),
                Err(error) if kinds.is_empty() => return Err(error).context("ipset"),
                // A kernel may lack some types.
                Err(error) => eprintln!("{name} is left out: {error:#}"),
            }
        }
        for (name, sets) in LISTS {
            let mut text = format!("create {name} list:set\n");
            for set in sets {
                let _ = writeln!(text, "add {name} {set}");
            }
            world.ipset(&text)?;
            kinds.push((name, "list:set", 2));
        }
        Ok(Self { known: kinds, family })
    }

    /// Gives each set other members: what the kernel lists then, which must be what the tool prints.
    pub(super) fn fill(&self, random: &mut Random, world: &World) -> Result<(String, Sets)> {
        let family = self.family;
        let mut text = String::new();
        for (name, kind, _) in self.known.iter().filter(|(_, kind, _)| *kind != "list:set") {
            let _ = writeln!(text, "flush {name}");
            let kind = kind.split(' ').next().unwrap_or(kind);
            let other = if *name == "ip-other" {
                other(family)
            } else {
                family
            };
            for _ in 0..random.below(MOST_MEMBERS + 1) {
                let member = member(random, kind, other);
                let _ = writeln!(text, "add -exist {name} {member}");
            }
        }
        world.ipset(&text)?;
        let listed = world.sets()?;
        let mut printed = Sets::default();
        printed.add(ipset::parse(&world.ipset_saved()?)?);
        if listed != printed {
            bail!("the kernel lists other sets than ipset prints: {listed:?} {printed:?}");
        }
        Ok((text, listed))
    }

    /// A match, without its `-m`.
    pub(super) fn random_match(&self, random: &mut Random, not: &str) -> String {
        // Of the other family iptables takes no set by itself, only within a list.
        let takes = |(name, kind, _): &&(&str, &str, usize)| {
            *name != "ip-other" && (self.family == Family::Ip || !kind.starts_with("bitmap:ip "))
        };
        let kinds: Vec<_> = self.known.iter().filter(takes).collect();
        let (name, _, parts) = **random.pick(&kinds);
        let parts = if random.one_in(10) {
            1 + random.below(3)
        } else {
            parts
        };
        let ends: Vec<&str> = (0..parts).map(|_| *random.pick(&["src", "dst"])).collect();
        let more = match random.below(12) {
            0 | 1 => " --return-nomatch",
            2 => " ! --update-counters",
            3 => " --packets-gt 1",
            _ => "",
        };
        format!("set {not}--match-set {name} {}{more}", ends.join(","))
    }

    /// A target, without its `-j`.
    pub(super) fn random_target(random: &mut Random) -> String {
        let change = *random.pick(&["--add-set", "--del-set"]);
        let end = *random.pick(&["src", "dst"]);
        format!("SET {change} {CHANGED} {end}")
    }
}

fn other(family: Family) -> Family {
    match family {
        Family::Ip => Family::Ip6,
        Family::Ip6 => Family::Ip,
    }
}

fn member(random: &mut Random, kind: &str, family: Family) -> String {
    let (method, parts) = kind.split_once(':').unwrap_or_default();
    let has_nets = parts.contains("net");
    let mut words: Vec<String> = Vec::new();
    let mut wildcard = "";
    for part in parts.split(',') {
        let word = match (method, part) {
            ("bitmap", "ip") => format!("203.0.113.{}", random.below(12)),
            ("bitmap", _) => (*random.pick(&["80", "443", "53"])).to_owned(),
            (_, "ip") => address(random, family).to_owned(),
            // All addresses, which only some types take.
            (_, "net") if parts == "net,iface" && random.one_in(5) => all(family).to_owned(),
            (_, "net") => network(random, family).to_owned(),
            (_, "port") => (*random.pick(&PORTS)).to_owned(),
            (_, "mark") => (*random.pick(&["0x0", "0x1", "0x10", "0x11"])).to_owned(),
            (_, "iface") => {
                let device = *random.pick(&DEVICES);
                if device == "in" {
                    wildcard = " wildcard";
                }
                device.to_owned()
            }
            _ => format!("02:00:00:00:00:0{}", random.below(3)),
        };
        words.push(word);
    }
    let nomatch = if has_nets && random.one_in(4) {
        " nomatch"
    } else {
        ""
    };
    filled(&format!("{}{wildcard}{nomatch}", words.join(",")), family)
}

fn address(random: &mut Random, family: Family) -> &'static str {
    let all: &[&'static str] = match family {
        Family::Ip => &ADDRESSES,
        Family::Ip6 => &ADDRESSES_IP6,
    };
    random.pick::<&str>(all)
}

fn network(random: &mut Random, family: Family) -> &'static str {
    let all: &[&'static str] = match family {
        Family::Ip => &NETWORKS,
        Family::Ip6 => &NETWORKS_IP6,
    };
    random.pick::<&str>(all)
}

fn all(family: Family) -> &'static str {
    match family {
        Family::Ip => "0.0.0.0/0",
        Family::Ip6 => "::/0",
    }
}

fn filled(text: &str, family: Family) -> String {
    let (own, other, mask, echo) = match family {
        Family::Ip => ("inet", "inet6", "30", "icmp:echo-request"),
        Family::Ip6 => ("inet6", "inet", "126", "icmpv6:echo-request"),
    };
    text.replace("{family}", &format!("family {own}"))
        .replace("{other}", &format!("family {other}"))
        .replace("{mask}", mask)
        .replace("{echo}", echo)
}
