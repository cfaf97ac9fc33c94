//! Random rulesets, in the syntax of nft. Values come from small pools, so that packets meet them often.

use std::fmt::Write as _;

use super::random::Random;

/// Addresses that packets have, and rules ask for.
pub const V4: [&str; 6] = [
    "10.9.0.2",
    "10.1.0.1",
    "10.1.0.2",
    "10.1.1.1",
    "10.2.0.1",
    "192.0.2.7",
];
/// The same of IPv6.
pub const V6: [&str; 5] = ["fd09::2", "fd01::1", "fd01::2", "fd01:0:0:1::1", "2001:db8::7"];
/// Ports.
pub const PORTS: [u16; 6] = [22, 53, 80, 443, 1000, 8080];

pub(super) const V4_NETS: [&str; 6] = [
    "10.3.0.0/24",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.0.0/24",
    "0.0.0.0/1",
    "192.0.2.0/30",
];
pub(super) const V6_NETS: [&str; 5] = [
    "fd00::/8",
    "fd03::/64",
    "fd01::/64",
    "fd01:0:0:1::/64",
    "2001:db8::/32",
];

/// A table under construction.
pub(super) struct Table<'a> {
    pub(super) random: &'a mut Random,
    pub(super) family: &'static str,
    /// Chains that a rule may lead to: those after its own.
    targets: Vec<String>,
    hook: &'static str,
}

/// A whole ruleset.
pub fn ruleset(random: &mut Random) -> String {
    let mut text = String::new();
    let count = 1 + random.below(3);
    // No two base chains of a hook have the same priority: their order would not be known.
    let mut priorities: Vec<(&str, i32)> = Vec::new();
    for index in 0..count {
        let family = *random.pick(&["ip", "inet", "ip6", "inet"]);
        table(random, &mut text, index, family, &mut priorities);
    }
    text
}

fn table(
    random: &mut Random,
    text: &mut String,
    index: usize,
    family: &'static str,
    priorities: &mut Vec<(&'static str, i32)>,
) {
    let _ = writeln!(text, "table {family} t{index} {{");
    // Chains are declared first: maps and rules lead to them.
    let regular = random.below(5);
    for chain in 0..regular {
        let _ = writeln!(text, "\tchain c{chain} {{\n\t}}");
    }
    sets(random, text, regular);
    let mut table = Table {
        random,
        family,
        targets: Vec::new(),
        hook: "forward",
    };
    for _ in 0..1 + table.random.below(4) {
        table.base(text, regular, priorities);
    }
    for chain in 0..regular {
        table.targets = (chain + 1..regular).map(|one| format!("c{one}")).collect();
        table.hook = "forward";
        let _ = writeln!(text, "\tchain c{chain} {{");
        table.rules(text, false);
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
}

pub(super) fn sets(random: &mut Random, text: &mut String, regular: usize) {
    let mut some = |from: &[String]| {
        let mut chosen: Vec<String> = from.iter().filter(|_| random.one_in(2)).cloned().collect();
        if chosen.is_empty() {
            chosen.push(from[random.below(from.len())].clone());
        }
        chosen.join(", ")
    };
    let owned = |from: &[&str]| from.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let ports: Vec<String> = PORTS.iter().map(u16::to_string).collect();
    let pairs: Vec<String> = V4
        .iter()
        .zip(&ports)
        .map(|(address, port)| format!("{address} . {port}"))
        .collect();
    let wide = owned(&[
        "10.1.0.0/16 . 1-100",
        "10.2.0.0-10.2.0.9 . 443",
        "10.9.0.2 . 80-8080",
    ]);
    let mut verdicts = owned(&["22 : accept", "53 : drop", "80 : return", "443 : continue"]);
    if regular > 0 {
        verdicts.push(format!("8080 : jump c{}", regular - 1));
        verdicts.push(format!("1000 : goto c{}", regular - 1));
    }
    let _ = write!(
        text,
        "\tset a4 {{ type ipv4_addr; elements = {{ {} }}; }}
\tset n4 {{ type ipv4_addr; flags interval; elements = {{ {} }}; }}
\tset a6 {{ type ipv6_addr; elements = {{ {} }}; }}
\tset n6 {{ type ipv6_addr; flags interval; elements = {{ {} }}; }}
\tset p {{ type inet_service; elements = {{ {} }}; }}
\tset pairs {{ type ipv4_addr . inet_service; elements = {{ {} }}; }}
\tset wide {{ type ipv4_addr . inet_service; flags interval; elements = {{ {} }}; }}
\tmap v {{ type inet_service : verdict; elements = {{ {} }}; }}
\tset seen {{ type mark; size 8; flags dynamic; }}
\tmap m {{ type inet_service : mark; elements = {{ 22 : 1, 80 : 2, 443 : 0x10 }}; }}
",
        some(&owned(&V4)),
        some(&owned(&["10.1.0.0/24", "10.2.0.0-10.2.0.5", "192.0.2.7"])),
        some(&owned(&V6)),
        some(&owned(&V6_NETS[1..])),
        some(&ports),
        some(&pairs),
        some(&wide),
        some(&verdicts),
    );
}

impl<'a> Table<'a> {
    /// What rules of a family that sees frames can ask of IP.
    pub(super) fn of_frames(random: &'a mut Random) -> Self {
        Self {
            random,
            family: "inet",
            targets: Vec::new(),
            hook: "forward",
        }
    }
}

impl Table<'_> {
    fn base(&mut self, text: &mut String, regular: usize, priorities: &mut Vec<(&'static str, i32)>) {
        let hook = *self
            .random
            .pick(&["prerouting", "input", "forward", "forward", "postrouting"]);
        let nat = self.random.one_in(4) && matches!(hook, "prerouting" | "postrouting");
        let order = [-310, -290, -160, -150, -20, -5, 0, 10, 20, 60, 110, 150];
        let priority = if nat {
            *self.random.pick(&[-101, -100, -99, 99, 100, 101])
        } else {
            *self.random.pick(&order)
        };
        if priorities.contains(&(hook, priority)) {
            return;
        }
        priorities.push((hook, priority));
        let kind = if nat { "nat" } else { "filter" };
        let policy = if nat || !self.random.one_in(4) {
            "accept"
        } else {
            "drop"
        };
        self.targets = (0..regular).map(|one| format!("c{one}")).collect();
        self.hook = hook;
        let number = priorities.len();
        let _ = writeln!(
            text,
            "\tchain b{number} {{\n\t\ttype {kind} hook {hook} priority {priority}; policy {policy};"
        );
        self.rules(text, nat);
        text.push_str("\t}\n");
    }

    fn rules(&mut self, text: &mut String, nat: bool) {
        for _ in 0..self.random.below(7) {
            let mut words = Vec::new();
            for _ in 0..self.random.below(3) {
                let condition = self.condition();
                // nft 1.0.6 lists `tcp dport < 80 ip ttl > 60` as `ip ttl != 80-60`.
                let is_bound = |text: &String| text.contains(" < ") || text.contains(" > ");
                if !(is_bound(&condition) && words.iter().any(is_bound)) {
                    words.push(condition);
                }
            }
            words.push("counter".to_owned());
            if self.random.one_in(4) {
                words.push(self.change());
            }
            words.push(if nat && self.random.one_in(2) {
                self.translation()
            } else {
                self.end()
            });
            let rule = words.join(" ");
            let _ = writeln!(text, "\t\t{}", rule.trim());
        }
    }

    fn end(&mut self) -> String {
        let target = match self.targets.is_empty() {
            true => None,
            false => Some(self.random.pick(&self.targets).clone()),
        };
        match (self.random.below(16), target) {
            (0..=2, _) => String::new(),
            (3, _) => "drop".to_owned(),
            (4 | 5, _) => "accept".to_owned(),
            (6, _) => "return".to_owned(),
            (7 | 8, Some(target)) => format!("jump {target}"),
            (9, Some(target)) => format!("goto {target}"),
            (10, Some(target)) => format!("meta l4proto vmap {{ tcp : jump {target}, icmp : accept }}"),
            (11, _) => "tcp dport vmap @v".to_owned(),
            (12, _) => "reject".to_owned(),
            (13, Some(target)) => format!("numgen inc mod 3 vmap {{ 0 : accept, 1-2 : jump {target} }}"),
            (14, Some(target)) => {
                format!("meta mark . th dport vmap {{ 0x0 . 80 : goto {target}, 0x1 . 53 : drop }}")
            }
            (15, _) if self.hook == "prerouting" => "notrack".to_owned(),
            (15, _) => "ct state vmap { new : continue, invalid : drop }".to_owned(),
            (10, None) => "ip saddr vmap { 10.1.0.1 : drop, 10.9.0.0/24 : continue }".to_owned(),
            _ => "continue".to_owned(),
        }
    }

    fn translation(&mut self) -> String {
        let to = match (self.hook, self.family) {
            ("prerouting", "ip") => "dnat to 10.3.0.1",
            ("prerouting", "ip6") => "dnat to fd03::2",
            ("prerouting", _) => "dnat ip to 10.3.0.1",
            (_, "ip") => "snat to 10.8.0.1",
            (_, "ip6") => "masquerade",
            _ => "snat ip to 10.8.0.1",
        };
        if self.random.one_in(4) && self.family == "ip" && self.hook == "prerouting" {
            let maps = [
                "dnat to ip daddr map { 10.1.0.1 : 10.3.0.1, 10.2.0.1 : 10.3.0.2 }",
                "dnat to ip daddr . tcp dport map { 10.1.0.1 . 80 : 10.3.0.1 . 8080, 10.2.0.1 . 22 : 10.3.0.2 . 23 }",
                "dnat to numgen inc mod 2 map { 0 : 10.3.0.1, 1 : 10.3.0.2 }",
                "meta l4proto tcp dnat to 10.3.0.1:1000-1001",
            ];
            return (*self.random.pick(&maps)).to_owned();
        }
        let with_port = self.random.one_in(3) && self.hook == "prerouting";
        match (with_port, self.family) {
            (true, "ip6") => "meta l4proto tcp dnat to [fd03::2]:8080".to_owned(),
            (true, _) => format!("meta l4proto tcp {to}:8080"),
            (false, _) => to.to_owned(),
        }
    }

    fn change(&mut self) -> String {
        if self.family != "ip6" && self.random.one_in(5) {
            let of_packet = [
                "ip dscp set af11",
                "ip ttl set 10",
                "ip ecn set ce",
                "ip dscp set cs0",
            ];
            return (*self.random.pick(&of_packet)).to_owned();
        }
        let changes = [
            "meta mark set 0x1",
            "meta mark set meta mark | 0x10",
            "meta mark set meta mark & 0xfffffff0",
            "meta mark set meta mark ^ 0x3",
            "meta mark set tcp dport map @m",
            "ct mark set meta mark",
            "ct mark set 0x2",
            "meta mark set ct mark",
            "meta mark set numgen inc mod 4",
            "meta mark set meta mark << 4",
            "meta mark set meta mark >> 1 | 0x10",
            "meta mark set (meta mark & 0xf) << 4",
            "meta mark set ct mark & 0xff",
            "meta mark set jhash meta mark mod 8",
            "meta mark set jhash ip saddr mod 8",
            "meta mark set tcp dport map { 22 : 1, 80-443 : 2 }",
            "meta mark set ip saddr . th dport map { 10.1.0.1 . 80 : 0x5, 10.9.0.2 . 22 : 0x6 }",
            "add @seen { meta mark }",
            "update @seen { meta mark counter }",
            "limit rate 1/second",
        ];
        (*self.random.pick(&changes)).to_owned()
    }
}
