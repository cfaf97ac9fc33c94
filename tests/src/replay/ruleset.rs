//! A random ruleset: what its rules ask is near to what the packets have.

use std::fmt::Write as _;

use super::random::Random;
use super::sets::Kinds;
use crate::cluster::Family;

/// Chains of a table beside the built-in ones; each jumps to later ones only.
const USER_CHAINS: usize = 5;
/// Most rules of a chain.
const MOST_RULES: usize = 7;

const TABLES: [(&str, &[&str]); 4] = [
    ("raw", &["PREROUTING", "OUTPUT"]),
    (
        "mangle",
        &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    ),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
];

const NETS: [&str; 10] = [
    "203.0.113.0/24",
    "203.0.113.4",
    "203.0.0.0/8",
    "198.18.0.0/16",
    "198.18.0.0/15",
    "198.19.7.0/28",
    "198.18.0.1",
    "10.9.0.1",
    "203.0.113.1/255.255.255.3",
    "0.0.0.0/1",
];

/// What `iptables-restore` takes.
pub(super) fn make(random: &mut Random, family: Family, sets: Option<&Kinds>) -> String {
    let text = of_ip(random, sets);
    if family == Family::Ip { text } else { in_ip6(&text) }
}

/// IPv4's words and IPv6's, the longer ones first.
const IN_IP6: [(&str, &str); 29] = [
    ("203.0.113.1/255.255.255.3", "2001:db8:113::1/ffff:ffff:ffff::f"),
    ("203.0.113.0-203.0.113.", "2001:db8:113::-2001:db8:113::"),
    ("203.0.113.0/24", "2001:db8:113::/64"),
    ("203.0.113.200", "2001:db8:113::200"),
    ("203.0.113.4", "2001:db8:113::4"),
    ("203.0.0.0/8", "2001::/16"),
    ("198.18.0.0/16", "fd18::/64"),
    ("198.18.0.0/15", "fd10::/12"),
    ("198.19.7.0/28", "fd19::/124"),
    ("198.18.0.77", "fd18::77"),
    ("198.18.0.1", "fd18::1"),
    ("198.19.7.5:8080", "[fd19::5]:8080"),
    ("198.19.7.6", "fd19::6"),
    ("10.9.0.1", "fd09::1"),
    ("0.0.0.0/1", "::/1"),
    ("! -p icmp -m icmp", "! -p ipv6-icmp -m icmp6"),
    ("-p icmp -m icmp ", "-p ipv6-icmp -m icmp6 "),
    ("-p icmp", "-p ipv6-icmp"),
    ("--icmp-type 8/0", "--icmpv6-type 128/0"),
    ("--icmp-type 8", "--icmpv6-type 128"),
    ("--icmp-type 0", "--icmpv6-type 129"),
    ("--icmp-type 3/1", "--icmpv6-type 1/3"),
    ("--icmp-type any", "--icmpv6-type 2"),
    ("ttl --ttl-", "hl --hl-"),
    (" ! -f", ""),
    (" -f", ""),
    ("--dst-type BROADCAST,MULTICAST", "--dst-type MULTICAST"),
    ("length --length 0:40", "length --length 0:60"),
    ("length --length 28", "length --length 48"),
];

/// When it may be, or not. Whatever the hour, some hold and some do not; it is asked at which seconds that changes in `packets.rs`.
const TIMES: [&str; 10] = [
    "--timestart 06:00 --timestop 18:00",
    "--timestart 18:00 --timestop 06:00",
    "--timestart 21:00 --timestop 09:00 --contiguous --weekdays Mon,Wed,Fri,Sun",
    "--weekdays Mon,Tue,Wed",
    "! --weekdays Mon,Tue,Wed",
    "--monthdays 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31",
    "! --monthdays 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "--datestart 2026-01-01T00:00:00 --datestop 2026-12-31T12:00:00",
    "--datestart 2027-01-01",
    "--timestart 00:00 --timestop 12:00 --weekdays Thu,Fri,Sat,Sun",
];

fn in_ip6(text: &str) -> String {
    IN_IP6
        .iter()
        .fold(text.to_owned(), |text, (ip, ip6)| text.replace(ip, ip6))
}

fn of_ip(random: &mut Random, sets: Option<&Kinds>) -> String {
    let mut text = String::new();
    for (table, bases) in TABLES {
        let _ = writeln!(text, "*{table}");
        for base in bases {
            // The nat table drops nothing.
            let policy = if table == "filter" && random.one_in(3) {
                "DROP"
            } else {
                "ACCEPT"
            };
            let _ = writeln!(text, ":{base} {policy} [0:0]");
        }
        for chain in 0..USER_CHAINS {
            let _ = writeln!(text, ":U{chain} - [0:0]");
        }
        for base in bases {
            rules(random, (table, sets), base, 0, &mut text);
        }
        for chain in 0..USER_CHAINS {
            rules(random, (table, sets), &format!("U{chain}"), chain + 1, &mut text);
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn rules(
    random: &mut Random,
    (table, sets): (&str, Option<&Kinds>),
    chain: &str,
    later: usize,
    text: &mut String,
) {
    for _ in 0..random.below(MOST_RULES + 1) {
        let mut rule = format!("-A {chain}");
        let (proto, action) = (proto(random), action(random, table, chain, later));
        header(random, chain, &mut rule);
        let needs_ports = action.contains("--to-ports") || action.contains(':');
        let proto = if needs_ports {
            Some(*random.pick(&["tcp", "udp"]))
        } else {
            proto
        };
        if let Some(proto) = proto {
            // A port is asked of a protocol, not of all others.
            let not = if proto == "icmp" && random.one_in(4) {
                "! "
            } else {
                ""
            };
            let _ = write!(rule, " {not}-p {proto}");
            if not.is_empty() {
                of_proto(random, proto, &mut rule);
            }
        }
        for _ in 0..random.below(3).saturating_sub(usize::from(random.one_in(2))) {
            of_match(random, table, &mut rule);
        }
        let mut action = action;
        if let Some(sets) = sets {
            if random.one_in(2) {
                let turned = not(random);
                let _ = write!(rule, " -m {}", sets.random_match(random, turned));
            }
            if action.is_empty() && random.one_in(8) {
                action = format!(" -j {}", Kinds::random_target(random));
            }
        }
        let _ = writeln!(text, "{rule}{action}");
    }
}

fn not(random: &mut Random) -> &'static str {
    if random.one_in(4) { "! " } else { "" }
}

fn header(random: &mut Random, chain: &str, rule: &mut String) {
    if random.one_in(3) {
        let _ = write!(rule, " {}-s {}", not(random), random.pick(&NETS));
    }
    if random.one_in(3) {
        let _ = write!(rule, " {}-d {}", not(random), random.pick(&NETS));
    }
    let (has_in, has_out) = match chain {
        "PREROUTING" | "INPUT" => (true, false),
        "OUTPUT" | "POSTROUTING" => (false, true),
        _ => (true, true),
    };
    if has_in && random.one_in(4) {
        let _ = write!(
            rule,
            " {}-i {}",
            not(random),
            random.pick(&["in0", "in1", "in+", "out0"])
        );
    }
    if has_out && random.one_in(4) {
        let _ = write!(
            rule,
            " {}-o {}",
            not(random),
            random.pick(&["out0", "out1", "out+", "in0"])
        );
    }
    if random.one_in(12) {
        let _ = write!(rule, " {}-f", not(random));
    }
}

fn proto(random: &mut Random) -> Option<&'static str> {
    random.one_in(2).then(|| *random.pick(&["tcp", "udp", "icmp"]))
}

fn of_proto(random: &mut Random, proto: &str, rule: &mut String) {
    let (port, span) = (
        *random.pick(&["80", "443", "53"]),
        *random.pick(&["80:90", "0:1023", "443:65535"]),
    );
    match proto {
        "icmp" if random.one_in(2) => {
            let kind = random.pick(&["8", "8/0", "0", "3/1", "any"]);
            let _ = write!(rule, " -m icmp {}--icmp-type {kind}", not(random));
        }
        "tcp" | "udp" if random.one_in(2) => {
            let ports = random.pick(&["80,443", "53", "1000:30000,80"]);
            let which = random.pick(&["--dports", "--sports", "--ports"]);
            let _ = write!(rule, " -m multiport {}{which} {ports}", not(random));
        }
        "tcp" | "udp" if random.one_in(2) => {
            let value = if random.one_in(2) { port } else { span };
            let _ = write!(rule, " -m {proto} {}--dport {value}", not(random));
        }
        "tcp" if random.one_in(2) => {
            let flags = random.pick(&["SYN,ACK SYN", "FIN,SYN,RST,ACK SYN", "ALL ACK", "RST RST"]);
            let _ = write!(rule, " -m tcp {}--tcp-flags {flags}", not(random));
        }
        _ => {}
    }
}

fn of_match(random: &mut Random, table: &str, rule: &mut String) {
    let turned = not(random);
    let text = match random.below(15) {
        0 | 1 => {
            let states = random.pick(&[
                "NEW",
                "RELATED,ESTABLISHED",
                "INVALID",
                "NEW,UNTRACKED",
                "DNAT",
                "SNAT,INVALID",
            ]);
            format!("conntrack {turned}--ctstate {states}")
        }
        2 => format!(
            "conntrack {turned}--ctorigdst {}",
            random.pick(&["198.18.0.0/16", "10.9.0.1"])
        ),
        3 => format!(
            "conntrack --ctstate NEW,INVALID {turned}--ctproto {}",
            random.pick(&["6", "17"])
        ),
        4 => format!("conntrack --ctdir {}", random.pick(&["ORIGINAL", "REPLY"])),
        5 => format!(
            "state {turned}--state {}",
            random.pick(&["NEW", "INVALID", "ESTABLISHED"])
        ),
        6 | 7 => format!(
            "mark {turned}--mark {}",
            random.pick(&["0x0", "0x1/0x1", "0x2/0x3", "0x10/0xf0"])
        ),
        8 => format!(
            "connmark {turned}--mark {}",
            random.pick(&["0x0", "0x1/0x1", "0x10"])
        ),
        9 => format!(
            "addrtype {turned}--dst-type {}",
            random.pick(&["LOCAL", "UNICAST", "BROADCAST,MULTICAST"])
        ),
        10 => format!(
            "iprange {turned}--src-range 203.0.113.0-203.0.113.{}",
            random.below(16)
        ),
        11 => format!(
            "length {turned}--length {}",
            random.pick(&["0:40", "41:60", "28"])
        ),
        12 => random
            .pick(&["ttl --ttl-eq 64", "ttl --ttl-lt 64", "ttl --ttl-gt 10"])
            .to_string(),
        13 => format!("time {}", random.pick(&TIMES)),
        // What cannot be known, and what is asked of nothing.
        _ if random.one_in(2) => format!("statistic --mode random {turned}--probability 0.5"),
        _ => format!("comment --comment \"of {table}\""),
    };
    let _ = write!(rule, " -m {text}");
}

fn action(random: &mut Random, table: &str, chain: &str, later: usize) -> String {
    if later < USER_CHAINS && random.one_in(3) {
        let to = later + random.below(USER_CHAINS - later);
        let jump = if random.one_in(4) { "-g" } else { "-j" };
        return format!(" {jump} U{to}");
    }
    let marks = [
        "--set-xmark 0x1/0x1",
        "--set-xmark 0x10/0xff",
        "--set-xmark 0x3/0x0",
        "--set-xmark 0x0/0xffffffff",
    ];
    match (table, random.below(8)) {
        ("mangle", 0) => format!(" -j MARK {}", random.pick(&marks)),
        ("mangle", 1) => format!(" -j CONNMARK {}", random.pick(&marks)),
        ("mangle", 2) => " -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf".to_owned(),
        ("mangle", 3) => " -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xff".to_owned(),
        ("raw", 0) => " -j NOTRACK".to_owned(),
        ("raw", 1) => " -j CT --notrack".to_owned(),
        ("nat", 0..=2) => nat(random, chain),
        ("nat", 3) | (_, 4) => " -j ACCEPT".to_owned(),
        (_, 5) => " -j RETURN".to_owned(),
        ("filter" | "mangle" | "raw", 6) => " -j DROP".to_owned(),
        (_, 7) => " -j NFLOG --nflog-group 7".to_owned(),
        _ => String::new(),
    }
}

/// Targets are good in some hooks only, and user chains are reached from all.
fn nat(random: &mut Random, chain: &str) -> String {
    let to = random.pick(&["198.18.0.77", "198.19.7.5:8080", "198.19.7.6"]);
    match chain {
        "PREROUTING" if random.one_in(4) => " -j REDIRECT --to-ports 443".to_owned(),
        "PREROUTING" | "OUTPUT" => format!(" -j DNAT --to-destination {to}"),
        "POSTROUTING" if random.one_in(2) => " -j MASQUERADE".to_owned(),
        "POSTROUTING" | "INPUT" => " -j SNAT --to-source 203.0.113.200".to_owned(),
        _ => " -j ACCEPT".to_owned(),
    }
}
