//! Random conditions of rules.

use super::generate::{PORTS, Table, V4, V4_NETS, V6, V6_NETS};

impl Table<'_> {
    /// One of the conditions that suit the table's family.
    pub(super) fn condition(&mut self) -> String {
        let with_v4 = self.family != "ip6";
        let with_v6 = self.family != "ip";
        match self.random.below(3) {
            0 if with_v4 => self.of_v4(),
            0 if with_v6 => self.of_v6(),
            1 => self.of_transport(),
            _ => self.of_meta(),
        }
    }

    fn negation(&mut self) -> &'static str {
        if self.random.one_in(4) { "!= " } else { "" }
    }

    fn of_v4(&mut self) -> String {
        let not = self.negation();
        let side = *self.random.pick(&["saddr", "daddr"]);
        let (one, other) = (*self.random.pick(&V4), *self.random.pick(&V4));
        match self.random.below(13) {
            0 => format!("ip {side} {not}{one}"),
            1 | 2 => format!("ip {side} {not}{}", self.random.pick(&V4_NETS)),
            3 => format!("ip {side} {not}{{ {one}, {other} }}"),
            4 => format!("ip {side} {not}@a4"),
            5 => format!("ip {side} {not}@n4"),
            6 => format!("ip {side} {not}10.1.0.0-10.1.0.9"),
            7 => format!("ip {side} & 0.0.0.255 == 0.0.0.1"),
            8 => format!("ip {side} . th dport {not}@pairs"),
            9 => format!("ip {side} . tcp dport {not}@wide"),
            10 => (*self.random.pick(&[
                "ip dscp af11",
                "ip dscp != cs0",
                "ip ecn ce",
                "ip version 4",
                "ip length > 48",
                "ip protocol tcp",
                "ip protocol != { tcp, udp }",
                "ip frag-off & 0x1fff == 0",
                "udp length > 8",
                "meta mark @seen",
            ]))
            .to_owned(),
            _ => format!(
                "ip ttl {}",
                self.random.pick(&["64", "> 60", "!= 63", "{ 10, 63 }"])
            ),
        }
    }

    fn of_v6(&mut self) -> String {
        let not = self.negation();
        let side = *self.random.pick(&["saddr", "daddr"]);
        match self.random.below(5) {
            0 => format!("ip6 {side} {not}{}", self.random.pick(&V6)),
            1 => format!("ip6 {side} {not}{}", self.random.pick(&V6_NETS)),
            2 => format!("ip6 {side} {not}@a6"),
            3 => format!("ip6 {side} {not}@n6"),
            _ => format!("ip6 hoplimit {}", self.random.pick(&["64", "< 64"])),
        }
    }

    fn of_transport(&mut self) -> String {
        let not = self.negation();
        let proto = *self.random.pick(&["tcp", "udp", "tcp"]);
        let side = *self.random.pick(&["dport", "dport", "sport"]);
        let (one, other) = (*self.random.pick(&PORTS), *self.random.pick(&PORTS));
        match self.random.below(12) {
            0 => format!("{proto} {side} {not}{one}"),
            1 => format!("{proto} {side} {not}{{ {one}, {} }}", u32::from(other) + 1),
            2 => format!("{proto} {side} {not}{}-{}", one.min(other), one.max(other)),
            3 => format!("{proto} {side} {not}@p"),
            4 => format!(
                "{proto} dport {} {one}",
                self.random.pick(&["<", ">", "<=", ">="])
            ),
            // Not `meta l4proto icmp`: nft 1.0.6 takes it for what `th sport` needs, and does not list it.
            5 if not.is_empty() => format!("meta l4proto {}", self.random.pick(&["tcp", "udp"])),
            5 => format!(
                "meta l4proto {not}{}",
                self.random.pick(&["tcp", "udp", "icmp", "ipv6-icmp"])
            ),
            6 => format!("meta l4proto {not}{{ tcp, udp }}"),
            7 => format!("th dport {not}{one}"),
            8 if self.family != "ip6" => format!(
                "icmp type {not}{}",
                self.random.pick(&["echo-request", "echo-reply"])
            ),
            8 => format!("icmpv6 type {not}echo-request"),
            9 => (*self.random.pick(&[
                "tcp flags syn",
                "tcp flags & (syn | ack) == syn",
                "tcp flags ! ack",
            ]))
            .to_owned(),
            10 => format!("meta l4proto . th dport {not}{{ tcp . {one}, udp . {other} }}"),
            _ => format!("tcp flags {not}{{ syn, syn | ack }}"),
        }
    }

    fn of_meta(&mut self) -> String {
        // Not `ct l3proto` nor `ct protocol`: nft 1.0.6 takes them for what another condition needs, and does not list them.
        let conditions = [
            "meta mark 0x1",
            "meta mark != 0x0",
            "meta mark & 0xf == 0x2",
            "meta mark & 0x10 != 0x0",
            "meta mark { 0x1, 0x10-0x20 }",
            "meta mark > 0x1",
            "ct state new",
            "ct state established,related",
            "ct state { new, invalid }",
            "ct state != invalid",
            "ct state invalid",
            "ct status dnat",
            "ct mark 0x2",
            "ct mark != 0x0",
            "ct direction original",
            "ct direction reply",
            "iifname \"in0\"",
            "iifname != \"in*\"",
            "iifname { \"in0\", \"other\" }",
            "oifname \"out0\"",
            "oifname \"in*\"",
            "meta length 1-40",
            "meta length > 60",
            "meta nfproto ipv4",
            "meta pkttype host",
            "meta random & 1 == 0",
            "numgen inc mod 3 < 2",
            "numgen inc mod 3 { 0, 1 }",
            "symhash mod 4 != 9",
            "limit rate 1/second",
            "fib daddr type local",
            "fib saddr type != local",
            "fib daddr type { unicast, broadcast }",
            "meta skuid 0",
            "meta cpu { 0, 1 }",
            "ct status & snat == 0",
            "ct original ip daddr 10.1.0.1",
            "ct reply ip saddr 10.3.0.1",
            "ct original proto-dst 80",
            "meta protocol ip",
            "meta protocol != ip6",
            "iif \"in0\"",
            "oif != \"in0\"",
            "oifname . iifname { \"out0\" . \"in0\" }",
            "meta mark . meta l4proto { 0x0 . tcp, 0x1 . udp }",
            "meta mark & 0x3 { 0x1, 0x2 }",
            "@th,16,16 80",
            "@th,0,16 != 22",
            "ct state . meta mark { new . 0x0, invalid . 0x1 }",
            "ct state != { new, established }",
            "ct state ! new",
            "ct status ! dnat,snat",
            "jhash meta mark mod 2 0",
            "meta l4proto tcp tcp option maxseg exists",
            "exthdr frag missing",
            "meta priority 0",
            "rt classid 0",
            "meta mark < 0x2",
            "th sport >= 20000",
            "th sport 20000-20010",
        ];
        let condition = *self.random.pick(&conditions);
        // nfproto is a question only where there are two.
        let is_moot = condition.contains("nfproto") && self.family != "inet";
        // nft 1.0.6 takes `meta protocol ip` for what `ip6 saddr` needs, and does not list it.
        let is_foreign = format!("{condition} ").contains(" ip ") && self.family == "ip6";
        if is_moot || is_foreign {
            "meta mark 0x0".to_owned()
        } else {
            condition.to_owned()
        }
    }
}
