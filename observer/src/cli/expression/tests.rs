//! Expressions as people type them to tcpdump.

use super::super::filter::RawFilter;
use super::*;
use crate::report::record::{Matched, Packet, Proto, Tuple};

fn parse(text: &str) -> Expression {
    let mut warnings = Vec::new();
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let parsed = Expression::parse(&words, &mut warnings).expect(text);
    assert_eq!(warnings, [""; 0], "{text}");
    parsed.expect("not empty")
}

fn refused(text: &str) -> String {
    let error = Expression::parse(&[text.to_owned()], &mut Vec::new()).expect_err(text);
    error.to_string()
}

fn tuple(src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple {
        src: src.parse().expect("an address"),
        sport: Some(sport),
        dst: dst.parse().expect("an address"),
        dport: Some(dport),
        icmp_id: None,
    }
}

fn packet(proto: u8, tuple: &Tuple) -> Packet {
    Packet {
        proto: Some(Proto(proto)),
        src: Some(tuple.src),
        sport: tuple.sport,
        dst: Some(tuple.dst),
        dport: tuple.dport,
        len: 60,
        ..Packet::default()
    }
}

/// To a pod's port 8080, from port 40,000 of a client that asked for port 80 of its service.
fn translated(expression: &Expression) -> Option<Matched> {
    let now = tuple("10.0.0.10", 40_000, "10.224.2.16", 8080);
    let original = tuple("10.0.0.10", 40_000, "10.96.0.1", 80);
    let reply = tuple("10.224.2.16", 8080, "10.0.0.10", 40_000);
    let packet = packet(6, &now);
    let seen = Seen::headers(&packet).in_connection(&original, &reply, 6);
    expression.matched(&seen.within(7).at(Some("cni0")))
}

#[test]
fn what_holds_for_a_packet_whose_destination_was_translated() {
    let (headers, original, reply) = (
        Some(Matched::Headers),
        Some(Matched::Original),
        Some(Matched::Reply),
    );
    for (text, expected) in [
        ("dst net 10.224.0.0/16 and tcp port 8080", headers),
        ("dst 10.224.2.16", headers),
        ("10.224.2.16", headers),
        ("host 10.96.0.1", original),
        ("dst host 10.96.0.1 and tcp dst port 80", original),
        ("tcp dst port 80", original),
        ("tcp dst portrange 79-81", original),
        ("src net 10.224 and src port 8080", reply),
        ("dst host 10.96.0.1 and dst port 8080", None),
        ("udp port 80", None),
        ("not udp", headers),
        ("not port 80", None),
        ("!port 8080", None),
        ("not port 53 and not host 10.9.9.9", headers),
        ("not (dst host 10.96.0.1 and port 80)", None),
        ("not (dst host 10.96.0.1 and port 8080)", headers),
        ("ip", headers),
        ("ip6", None),
        ("ip6 or ip proto \\tcp", headers),
        ("proto 6", headers),
        ("ip host 10.0.0.10 and tcp", headers),
        ("src or dst host 10.0.0.10", headers),
        ("src and dst net 10.0.0.0/8", headers),
        ("src and dst net 10.224.0.0/16", None),
        ("net 10.224.0.0 mask 255.255.0.0", headers),
        ("net 10.225.0.0 mask 255.255.0.0", None),
        ("on cni0", headers),
        ("ifname eth0", None),
        ("netns 7", headers),
        ("netns 8 || on cni0", headers),
        ("less 60 and greater 60", headers),
        ("less 59", None),
        ("greater 61", None),
    ] {
        assert_eq!(translated(&parse(text)), expected, "{text}");
    }
}

#[test]
fn and_and_or_bind_alike_from_left_to_right() {
    // As pcap-filter(7) has it, unlike most languages.
    assert_eq!(translated(&parse("tcp or udp and port 53")), None);
    assert!(translated(&parse("tcp or (udp and port 53)")).is_some());
    assert!(translated(&parse("not udp and tcp")).is_some());
}

#[test]
fn a_value_alone_takes_the_words_before_the_last() {
    assert_eq!(
        parse("tcp dst port 80 or 443").root,
        parse("tcp dst port 80 or tcp dst port 443").root
    );
    assert_eq!(
        parse("dst host 10.0.0.1 or 10.0.0.2").root,
        parse("dst host 10.0.0.1 or dst host 10.0.0.2").root
    );
    assert_eq!(
        parse("port 53 and not 54").root,
        parse("port 53 and not port 54").root
    );
    assert_eq!(
        parse("(port 80 or 443) and udp").root,
        parse("(port 80 or port 443) and udp").root
    );
}

#[test]
fn what_cannot_be_used_is_said_in_one_line() {
    for (text, says) in [
        (
            "dst net 10.224.0.0/33",
            "word 3, \"10.224.0.0/33\": the prefix length goes from 0 to 32",
        ),
        ("host example.com", "names are not looked up"),
        ("port http", "word 2, \"http\": no port"),
        ("portrange 90-80", "the first port is above the last"),
        ("icmp port 80", "icmp has no ports"),
        ("ip6 host 10.0.0.1", "an address of the other family"),
        (
            "tcp port 80 host 10.0.0.1",
            "word 4, \"host\": \"and\" or \"or\" is missing before it",
        ),
        ("tcp and", "ends after \"and\""),
        ("dst", "ends after \"dst\""),
        ("port and tcp", "word 2, \"and\": a value is missing before it"),
        ("(tcp or udp", "ends after \"udp\", where \")\" is missing"),
        ("tcp)", "word 2, \")\": closes no bracket"),
        ("src or src host 10.0.0.1", "says the same side again"),
        ("arp", "observer's filter compares IP packets only"),
        ("ether host 02:00:00:00:00:01", "no hardware addresses"),
        ("tcp[tcpflags] & tcp-syn != 0", "observer compares no bytes"),
        (
            "net 10.0.0.1 mask 255.0.0.0",
            "has bits that the mask does not cover",
        ),
        ("net 10.0.0.0 mask 255.0.255.0", "a mask with holes"),
        ("on sixteen-bytes-xx", "1 to 15 bytes"),
        ("netns ../x", "give a name from ip netns"),
        ("less x", "no number of bytes"),
        ("wibble", "names are not looked up"),
        ("\u{1b}[2J", "word 1"),
    ] {
        let error = refused(text);
        assert!(
            error.contains(says) && !error.contains(['\n', '\u{1b}']),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_network_with_bits_of_a_host_is_put_right_and_said() {
    let mut warnings = Vec::new();
    let words = ["dst".to_owned(), "net".to_owned(), "10.224.2.16/16".to_owned()];
    let parsed = Expression::parse(&words, &mut warnings)
        .expect("parses")
        .expect("one");
    assert_eq!(parsed.root, parse("dst net 10.224.0.0/16").root);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn no_expression_is_too_long_too_deep_or_too_wide() {
    assert!(refused(&"(".repeat(5000)).contains("longer than"));
    assert!(refused(&"(".repeat(100)).contains("deeper than"));
    assert!(refused(&"not ".repeat(100)).contains("deeper than"));
    let many: Vec<String> = (0..65).map(|port| format!("port {port}")).collect();
    assert!(refused(&many.join(" or ")).contains("more than 64 tests"));
    assert!(Expression::parse(&[many[..64].join(" or ")], &mut Vec::new()).is_ok());
    assert_eq!(Expression::parse(&[" ".to_owned()], &mut Vec::new()), Ok(None));
}

#[test]
fn what_the_kernel_tests_first_is_never_narrower() {
    for (text, first) in [
        (
            "dst net 10.224.0.0/16 and tcp port 80",
            "dst 10.224.0.0/16 and port 80 and proto tcp",
        ),
        ("host 10.0.0.1 or 10.0.0.2", "host 10.0.0.1 or 10.0.0.2"),
        (
            "src host 10.0.0.1 or dst host 10.0.0.2",
            "host 10.0.0.1 or 10.0.0.2",
        ),
        (
            "src host 10.0.0.1 or src host 10.0.0.2",
            "src 10.0.0.1 or 10.0.0.2",
        ),
        (
            "dst net 10.0.0.0/8 and dst net 10.224.0.0/16",
            "dst 10.224.0.0/16",
        ),
        ("host 10.0.0.1 or port 80", ""),
        ("not host 10.0.0.1", ""),
        ("tcp and not port 22", "proto tcp"),
        (
            "tcp dst portrange 80-83 or udp dst port 53",
            "port 80 or 81 or 82 or 83 or 53 and proto tcp or udp",
        ),
        ("portrange 1-1024", ""),
        ("on cni0 and netns node02", "iface cni0 and netns node02"),
        ("less 100", ""),
    ] {
        assert_eq!(parse(text).widened().to_string(), first, "{text}");
    }
}

/// Whatever an expression matches, the lists that the kernel side tests match, too: random ones, against random packets.
#[test]
fn random_expressions_match_nothing_that_their_lists_do_not() {
    let mut random = Random(20_261_127);
    let mut matched = 0;
    for _ in 0..4000 {
        let root = random.node(4);
        let expression = Expression {
            text: String::new(),
            root,
        };
        let lists = Expression {
            text: String::new(),
            root: Node::Test(Test::AtLeast(0)),
        }
        .and(&expression.widened());
        for _ in 0..8 {
            let now = random.tuple();
            let packet = packet(random.of([6, 17]), &now);
            let (original, reply) = (random.tuple(), random.tuple());
            let seen = Seen::headers(&packet)
                .in_connection(&original, &reply, random.of([6, 17]))
                .within(random.of([1, 2]))
                .at(Some(random.of(["a", "b"])));
            if expression.matched(&seen).is_some() {
                matched += 1;
                assert!(
                    lists.matched(&seen).is_some(),
                    "{expression:?} {seen:?} {lists:?}"
                );
            }
        }
    }
    assert!(matched > 1000, "only {matched} matched: nothing was tested");
}

#[test]
fn options_hold_as_well() {
    let options = RawFilter {
        dst: vec!["10.224.0.0/16".to_owned(), "10.225.0.0/16".to_owned()],
        ..RawFilter::default()
    };
    let spec = options.check().expect("checks").spec;
    let both = parse("tcp").and(&spec);
    assert!(translated(&both).is_some());
    assert_eq!(both.text, "dst 10.224.0.0/16 or 10.225.0.0/16 and (tcp)");
    assert_eq!(translated(&parse("udp").and(&spec)), None);
    let elsewhere = FilterSpec {
        netns: vec![NetnsSpec::Inode(9)],
        ..FilterSpec::default()
    };
    assert_eq!(translated(&parse("tcp").and(&elsewhere)), None);
    assert_eq!(parse("tcp").and(&FilterSpec::default()), parse("tcp"));
}

#[test]
fn namespaces_are_resolved_once() {
    let inode = |netns: &NetnsSpec| match netns {
        NetnsSpec::Name(name) if name == "node02" => Ok(7),
        other => anyhow::bail!("{other} is not there"),
    };
    let found = parse("tcp and not netns node02")
        .resolved(inode)
        .expect("is there");
    assert_eq!(translated(&found), None);
    assert!(parse("netns node03").resolved(inode).is_err());
}

/// xorshift64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn of<T: Copy, const N: usize>(&mut self, values: [T; N]) -> T {
        values[(self.next() % N as u64) as usize]
    }

    fn side(&mut self) -> Side {
        self.of([Side::Src, Side::Dst, Side::Either])
    }

    fn tuple(&mut self) -> Tuple {
        let hosts = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1"];
        let (src, dst) = (self.of(hosts), self.of(hosts));
        tuple(src, self.of([80, 81, 443]), dst, self.of([80, 81, 443]))
    }

    fn node(&mut self, depth: u32) -> Node {
        if depth == 0 || self.next().is_multiple_of(4) {
            return Node::Test(self.test());
        }
        let one = Box::new(self.node(depth - 1));
        match self.next() % 5 {
            0 | 1 => Node::And(one, Box::new(self.node(depth - 1))),
            2 | 3 => Node::Or(one, Box::new(self.node(depth - 1))),
            _ => Node::Not(one),
        }
    }

    fn test(&mut self) -> Test {
        let side = self.side();
        match self.next() % 7 {
            0..=2 => {
                let net = self.of([
                    "10.0.0.0/24",
                    "10.0.0.1/32",
                    "10.0.0.0/8",
                    "fd00::/64",
                    "0.0.0.0/0",
                ]);
                Test::Net(side, net.parse().expect("a network"))
            }
            3 => Test::Ports(side, self.of([80, 81]), self.of([81, 443])),
            4 => Test::Proto(self.of([6, 17])),
            5 => Test::Iface(self.of(["a", "b"]).to_owned()),
            _ => Test::Netns(NetnsSpec::Inode(self.of([1, 2]))),
        }
    }
}
