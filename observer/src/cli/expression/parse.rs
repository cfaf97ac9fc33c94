//! Words into an expression, by the grammar of pcap-filter(7): `and` and `or` bind alike, from left to right; `not` binds before both; an
//! address or number that stands alone takes the words before the last one.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::super::filter;
use super::words::{Word, words};
use super::{MOST_BYTES, MOST_DEPTH, MOST_TESTS, Node, Side, Test};
use crate::report::record::Proto;

/// What cannot be used, and what to do.
type Refused = String;

/// # Errors
/// The first word that cannot be used, in one line.
pub(super) fn parse(text: &str, warnings: &mut Vec<String>) -> Result<Node, Refused> {
    if text.len() > MOST_BYTES {
        return Err(format!("longer than {MOST_BYTES} bytes; ask for wider networks"));
    }
    let words = words(text);
    let mut parser = Parser {
        words: &words,
        at: 0,
        depth: 0,
        tests: 0,
        last: None,
        warnings,
    };
    let root = parser.expression()?;
    match parser.next() {
        None => Ok(root),
        Some(word) if word.text == ")" => Err(refuse(word, "closes no bracket")),
        Some(word) => Err(refuse(word, "\"and\" or \"or\" is missing before it")),
    }
}

struct Parser<'a, 'w> {
    words: &'a [Word<'a>],
    at: usize,
    depth: usize,
    tests: usize,
    /// What an address or number alone takes.
    last: Option<Qualifiers>,
    warnings: &'w mut Vec<String>,
}

/// The words before an address or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Qualifiers {
    proto: Option<Which>,
    side: Option<Ends>,
    kind: Option<Kind>,
}

/// A protocol as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    V4,
    V6,
    Transport(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    One(Side),
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

/// What tcpdump knows and observer does not, and why.
const UNKNOWN: [(&[&str], &str); 6] = [
    (
        &["ether", "link", "wlan", "fddi", "tr"],
        "observer compares no hardware addresses; use host or net",
    ),
    (
        &["arp", "rarp", "vlan", "mpls", "pppoes", "stp", "lldp"],
        "observer's filter compares IP packets only",
    ),
    (
        &["broadcast", "multicast"],
        "give its network instead, such as net 224.0.0.0/4",
    ),
    (
        &["gateway"],
        "observer compares no hardware addresses; use on DEVICE",
    ),
    (&["inbound", "outbound"], "use on DEVICE"),
    (&["len"], BYTES),
];
const BYTES: &str = "observer compares no bytes; use less N or greater N for lengths";

impl<'a> Parser<'a, '_> {
    fn expression(&mut self) -> Result<Node, Refused> {
        let mut left = self.term()?;
        loop {
            let join = match self.peek() {
                Some("and" | "&&") => Node::And,
                Some("or" | "||") => Node::Or,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.term()?;
            left = join(Box::new(left), Box::new(right));
        }
    }

    fn term(&mut self) -> Result<Node, Refused> {
        let Some(word) = self.next() else {
            return Err(self.ends("a host, net, port or protocol"));
        };
        match word.text {
            "not" | "!" => {
                self.deeper(word)?;
                let node = self.term()?;
                self.depth -= 1;
                Ok(Node::Not(Box::new(node)))
            }
            "(" => {
                self.deeper(word)?;
                let node = self.expression()?;
                self.depth -= 1;
                match self.next() {
                    Some(close) if close.text == ")" => Ok(node),
                    Some(other) => Err(refuse(other, "\"and\", \"or\" or \")\" is missing before it")),
                    None => Err(self.ends("\")\"")),
                }
            }
            _ => {
                self.at -= 1;
                self.primitive()
            }
        }
    }

    fn deeper(&mut self, word: Word<'_>) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(refuse(
                word,
                &format!("deeper than {MOST_DEPTH}; write it plainer"),
            ));
        }
        Ok(())
    }

    fn primitive(&mut self) -> Result<Node, Refused> {
        if let Some(node) = self.special()? {
            self.last = None;
            return Ok(node);
        }
        let begin = self.at;
        let mut qualifiers = self.qualifiers()?;
        let is_alone = self.at == begin;
        if is_alone {
            qualifiers = self.last.unwrap_or_default();
        }
        if let Some(word) = self.words.get(self.at)
            && let Some(why) = why_unknown(word.text)
        {
            return Err(refuse(*word, why));
        }
        let needs_value = qualifiers.side.is_some() || qualifiers.kind.is_some() || is_alone;
        let value = self.peek().filter(|text| !is_joint(text));
        if !needs_value && value.is_none_or(|text| !looks_like_a_host(text)) {
            // A protocol by itself.
            self.last = None;
            return match qualifiers.proto {
                Some(proto) => self.test(test_of(proto)),
                None => Err(self.ends("a host, net, port or protocol")),
            };
        }
        if value.is_none() {
            return Err(match self.words.get(self.at) {
                Some(word) => refuse(*word, "a value is missing before it"),
                None => self.ends("a value"),
            });
        }
        let Some(word) = self.next() else {
            return Err(self.ends("a value"));
        };
        self.last = Some(qualifiers);
        self.valued(qualifiers, word)
    }

    /// Tests of one word that are observer's own, or whose value is of their own kind.
    fn special(&mut self) -> Result<Option<Node>, Refused> {
        let Some(key) = self.words.get(self.at).copied() else {
            return Ok(None);
        };
        if !["on", "ifname", "iface", "netns", "less", "greater"].contains(&key.text) {
            return Ok(None);
        }
        self.at += 1;
        let Some(word) = self.next() else {
            return Err(self.ends(&format!("what {} takes", key.text)));
        };
        let bytes = || word.text.parse().map_err(|_| refuse(word, "no number of bytes"));
        let or_refused = |advice: String| refuse(word, &advice);
        let test = match key.text {
            "netns" => Test::Netns(filter::netns(word.text).map_err(or_refused)?),
            "less" => Test::AtMost(bytes()?),
            "greater" => Test::AtLeast(bytes()?),
            _ => Test::Iface(filter::iface(word.text).map_err(or_refused)?),
        };
        self.test(test).map(Some)
    }

    fn qualifiers(&mut self) -> Result<Qualifiers, Refused> {
        let mut found = Qualifiers::default();
        if let Some(proto) = self.peek().and_then(which) {
            found.proto = Some(proto);
            self.at += 1;
        }
        if let Some(side) = self.peek().and_then(side) {
            self.at += 1;
            found.side = Some(self.other_side(side)?);
        }
        if let Some(kind) = self.peek().and_then(kind) {
            found.kind = Some(kind);
            self.at += 1;
        }
        Ok(found)
    }

    /// `src or dst`, `src and dst`
    fn other_side(&mut self, one: Side) -> Result<Ends, Refused> {
        let joint = self.peek();
        let other = self.words.get(self.at + 1).copied();
        let ends = match (joint, other.and_then(|word| side(word.text))) {
            (Some("or" | "||"), Some(other)) if other != one => Ends::One(Side::Either),
            (Some("and" | "&&"), Some(other)) if other != one => Ends::Both,
            (Some("or" | "and" | "&&" | "||"), Some(_)) => {
                return Err(other.map_or_else(String::new, |word| refuse(word, "says the same side again")));
            }
            _ => return Ok(Ends::One(one)),
        };
        self.at += 2;
        Ok(ends)
    }

    /// A value with what stands before it.
    fn valued(&mut self, qualifiers: Qualifiers, word: Word<'a>) -> Result<Node, Refused> {
        let make: Box<dyn Fn(Side) -> Test> = match qualifiers.kind {
            Some(Kind::Proto) => {
                let text = word.text.strip_prefix('\\').unwrap_or(word.text);
                let number = filter::proto(text).map_err(|advice| refuse(word, &advice))?;
                Box::new(move |_| Test::Proto(number))
            }
            Some(Kind::Port | Kind::PortRange) => {
                if let Some(Which::Transport(number)) = qualifiers.proto
                    && !has_ports(number)
                {
                    return Err(refuse(word, &format!("{} has no ports", Proto(number))));
                }
                let (first, last) = ports(word, qualifiers.kind == Some(Kind::PortRange))?;
                Box::new(move |side| Test::Ports(side, first, last))
            }
            kind => {
                let net = self.network(kind, word)?;
                let is_v6 = net.addr().is_ipv6();
                if (qualifiers.proto == Some(Which::V4) && is_v6)
                    || (qualifiers.proto == Some(Which::V6) && !is_v6)
                {
                    return Err(refuse(word, "an address of the other family"));
                }
                Box::new(move |side| Test::Net(side, net))
            }
        };
        let node = match qualifiers.side {
            Some(Ends::One(side)) => self.test(make(side))?,
            Some(Ends::Both) => and(self.test(make(Side::Src))?, self.test(make(Side::Dst))?),
            None => self.test(make(Side::Either))?,
        };
        match qualifiers.proto {
            Some(proto) => Ok(and(self.test(test_of(proto))?, node)),
            None => Ok(node),
        }
    }

    fn network(&mut self, kind: Option<Kind>, word: Word<'_>) -> Result<IpNet, Refused> {
        if kind == Some(Kind::Net) {
            if self.peek() == Some("mask") {
                self.at += 1;
                let Some(mask) = self.next() else {
                    return Err(self.ends("a mask"));
                };
                return masked(word, mask);
            }
            if let Some(net) = of_some_bytes(word.text) {
                return Ok(net);
            }
        }
        let key = match kind {
            Some(Kind::Net) => "net",
            _ => "host",
        };
        filter::network(key, word.text, self.warnings).map_err(|advice| refuse(word, &advice))
    }

    fn test(&mut self, test: Test) -> Result<Node, Refused> {
        self.tests += 1;
        if self.tests > MOST_TESTS {
            return Err(format!(
                "more than {MOST_TESTS} tests; ask for wider networks or ranges of ports"
            ));
        }
        Ok(Node::Test(test))
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(|word| word.text)
    }

    fn next(&mut self) -> Option<Word<'a>> {
        let word = self.words.get(self.at).copied();
        self.at += usize::from(word.is_some());
        word
    }

    fn ends(&self, wanted: &str) -> Refused {
        let after = self.words.last().map_or("nothing", |word| word.text);
        format!("ends after {after:?}, where {wanted} is missing; see: man 7 pcap-filter")
    }
}

fn and(one: Node, other: Node) -> Node {
    Node::And(Box::new(one), Box::new(other))
}

fn refuse(word: Word<'_>, advice: &str) -> Refused {
    format!("word {}, {:?}: {advice}", word.number, word.text)
}

/// `tcp[tcpflags]`, `ether`
fn why_unknown(text: &str) -> Option<&'static str> {
    if text.contains('[') {
        return Some(BYTES);
    }
    let known = UNKNOWN.iter().find(|(words, _)| words.contains(&text));
    known.map(|(_, why)| *why)
}

fn is_joint(text: &str) -> bool {
    ["and", "&&", "or", "||", ")", "(", "not", "!"].contains(&text)
}

/// Whether it begins as an address does, and no word does.
fn looks_like_a_host(text: &str) -> bool {
    text.contains(':') || text.starts_with(|c: char| c.is_ascii_digit())
}

fn which(text: &str) -> Option<Which> {
    match text {
        "ip" => Some(Which::V4),
        "ip6" => Some(Which::V6),
        "icmp6" => Some(Which::Transport(Proto::ICMPV6.0)),
        // A number is a value, not a word of the grammar.
        _ if looks_like_a_host(text) => None,
        _ => text.parse::<Proto>().ok().map(|proto| Which::Transport(proto.0)),
    }
}

fn test_of(which: Which) -> Test {
    match which {
        Which::V4 => Test::IsV6(false),
        Which::V6 => Test::IsV6(true),
        Which::Transport(number) => Test::Proto(number),
    }
}

fn side(text: &str) -> Option<Side> {
    match text {
        "src" => Some(Side::Src),
        "dst" => Some(Side::Dst),
        _ => None,
    }
}

fn kind(text: &str) -> Option<Kind> {
    match text {
        "host" => Some(Kind::Host),
        "net" => Some(Kind::Net),
        "port" => Some(Kind::Port),
        "portrange" => Some(Kind::PortRange),
        "proto" => Some(Kind::Proto),
        _ => None,
    }
}

fn has_ports(number: u8) -> bool {
    [
        libc::IPPROTO_TCP,
        libc::IPPROTO_UDP,
        libc::IPPROTO_SCTP,
        libc::IPPROTO_DCCP,
        libc::IPPROTO_UDPLITE,
    ]
    .contains(&i32::from(number))
}

fn ports(word: Word<'_>, is_range: bool) -> Result<(u16, u16), Refused> {
    let port = |text: &str| filter::port(text).map_err(|advice| refuse(word, &advice));
    let Some((first, last)) = word.text.split_once('-').filter(|_| is_range) else {
        let one = port(word.text)?;
        return Ok((one, one));
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(refuse(word, "the first port is above the last"));
    }
    Ok((first, last))
}

/// `net 10`, `net 10.224`, `net 192.168.1`: one to three bytes, the others are zero and not compared.
fn of_some_bytes(text: &str) -> Option<IpNet> {
    let parts: Vec<u8> = text
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let prefix = match parts.len() {
        count @ 1..=3 => count as u8 * 8,
        _ => return None,
    };
    let mut bytes = [0; 4];
    bytes[..parts.len()].copy_from_slice(&parts);
    Ipv4Net::new(Ipv4Addr::from(bytes), prefix).ok().map(IpNet::from)
}

fn masked(word: Word<'_>, mask: Word<'_>) -> Result<IpNet, Refused> {
    let addr: Ipv4Addr = word
        .text
        .parse()
        .map_err(|_| refuse(word, "a mask goes with an IPv4 address"))?;
    let bits: Ipv4Addr = mask
        .text
        .parse()
        .map_err(|_| refuse(mask, "no mask; give one like 255.255.0.0"))?;
    let net = IpNet::with_netmask(IpAddr::from(addr), IpAddr::from(bits))
        .map_err(|_| refuse(mask, "a mask with holes; give one like 255.255.0.0"))?;
    if net != net.trunc() {
        return Err(refuse(word, "has bits that the mask does not cover"));
    }
    Ok(net)
}
