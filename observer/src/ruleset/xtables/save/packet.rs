//! Matches on the headers of transport protocols: ports, TCP flags, ICMP types.

use std::fmt;

use super::extension::Opt;
use super::header::{Signed, put, render};

/// A span of port numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// `--sport` and `--dport`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// `--sport`
    pub sport: Option<Signed<Span>>,
    /// `--dport`
    pub dport: Option<Signed<Span>>,
}

/// The match `tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Its ports.
    pub ports: Ports,
    /// `--tcp-option`
    pub option: Option<Signed<u8>>,
    /// `--tcp-flags`: those looked at, and those of them that must be set.
    pub flags: Option<Signed<(u8, u8)>>,
}

/// The matches `icmp` and `icmp6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Whether it is `icmp6`.
    pub is_v6: bool,
    /// Type, and code if it is asked for; `None` for any.
    pub kind: Signed<Option<(u8, Option<u8>)>>,
}

/// The match `multiport`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiport {
    /// Which ports.
    pub of: PortsOf,
    /// Spans; one of them must hold the port.
    pub spans: Signed<Vec<Span>>,
}

/// Which of a packet's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortsOf {
    /// The source's.
    Source,
    /// The destination's.
    Destination,
    /// Either.
    Either,
}

impl Span {
    /// Reads `80`, `80:90`, `:1023`, `1024:`.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((first, last)) = text.split_once(':') else {
            let port = text.parse().ok()?;
            return Some(Self {
                first: port,
                last: port,
            });
        };
        let first = if first.is_empty() { 0 } else { first.parse().ok()? };
        let last = if last.is_empty() {
            u16::MAX
        } else {
            last.parse().ok()?
        };
        Some(Self { first, last })
    }

    /// Whether it holds a number.
    pub fn holds(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

impl Ports {
    pub(super) fn read(options: &[Opt]) -> Option<Self> {
        let mut ports = Self::default();
        for option in options {
            ports.take(option)??;
        }
        Some(ports)
    }

    /// The outer `None`: not an option of ports. The inner one: not to be read.
    fn take(&mut self, option: &Opt) -> Option<Option<()>> {
        let place = match &*option.name {
            "--sport" | "--source-port" | "--sports" => &mut self.sport,
            "--dport" | "--destination-port" | "--dports" => &mut self.dport,
            _ => return None,
        };
        Some(put(place, option, option.only().and_then(Span::parse)))
    }

    pub(super) fn render(&self, out: &mut String) {
        render(out, "--sport", self.sport.as_ref(), Span::to_string);
        render(out, "--dport", self.dport.as_ref(), Span::to_string);
    }
}

/// In the order in which the tools print them.
const FLAGS: [(u8, &str); 6] = [
    (0x01, "FIN"),
    (0x02, "SYN"),
    (0x04, "RST"),
    (0x08, "PSH"),
    (0x10, "ACK"),
    (0x20, "URG"),
];
const ALL_FLAGS: u8 = 0x3f;
/// `--syn`: the first segment of a connection.
const SYN: (u8, u8) = (0x17, 0x02);

impl Tcp {
    pub(super) fn read(options: &[Opt]) -> Option<Self> {
        let mut tcp = Self::default();
        for option in options {
            match &*option.name {
                "--tcp-option" => put(&mut tcp.option, option, option.only()?.parse().ok())?,
                "--syn" if option.values.is_empty() => put(&mut tcp.flags, option, Some(SYN))?,
                "--tcp-flags" => {
                    let [mask, set] = option.values.as_slice() else {
                        return None;
                    };
                    let value = (flags(&mask.text)?, flags(&set.text)?);
                    put(&mut tcp.flags, option, Some(value))?;
                }
                _ => tcp.ports.take(option)??,
            }
        }
        Some(tcp)
    }

    pub(super) fn render(&self, out: &mut String) {
        self.ports.render(out);
        render(out, "--tcp-option", self.option.as_ref(), u8::to_string);
        render(out, "--tcp-flags", self.flags.as_ref(), |(mask, set)| {
            format!("{} {}", flag_names(*mask), flag_names(*set))
        });
    }
}

fn flags(text: &str) -> Option<u8> {
    let bit = |name: &str| match name {
        "ALL" => Some(ALL_FLAGS),
        "NONE" => Some(0),
        _ => FLAGS
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(bit, _)| *bit),
    };
    text.split(',').try_fold(0, |all, name| Some(all | bit(name)?))
}

/// `SYN,ACK`, as the tools write flags.
pub fn flag_names(flags: u8) -> String {
    let names = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    if names.is_empty() {
        "NONE".to_owned()
    } else {
        names.join(",")
    }
}

impl Multiport {
    pub(super) fn read(options: &[Opt]) -> Option<Self> {
        let [option] = options else { return None };
        let of = match &*option.name {
            "--sports" | "--source-ports" => PortsOf::Source,
            "--dports" | "--destination-ports" => PortsOf::Destination,
            "--ports" => PortsOf::Either,
            _ => return None,
        };
        let spans = option
            .only()?
            .split(',')
            .map(Span::parse)
            .collect::<Option<_>>()?;
        Some(Self {
            of,
            spans: Signed {
                negated: option.negated,
                value: spans,
            },
        })
    }

    pub(super) fn render(&self, out: &mut String) {
        let name = match self.of {
            PortsOf::Source => "--sports",
            PortsOf::Destination => "--dports",
            PortsOf::Either => "--ports",
        };
        render(out, name, Some(&self.spans), |spans| {
            spans.iter().map(Span::to_string).collect::<Vec<_>>().join(",")
        });
    }
}

impl Icmp {
    pub(super) fn read(is_v6: bool, options: &[Opt]) -> Option<Self> {
        let [option] = options else { return None };
        let name = if is_v6 { "--icmpv6-type" } else { "--icmp-type" };
        if &*option.name != name {
            return None;
        }
        let text = option.only()?;
        let kind = match (text.split_once('/'), is_v6) {
            (None, false) if text == "any" => None,
            (None, _) => Some((icmp_type(is_v6, text)?, None)),
            (Some((kind, code)), _) => Some((kind.parse().ok()?, Some(code.parse().ok()?))),
        };
        Some(Self {
            is_v6,
            kind: Signed {
                negated: option.negated,
                value: kind,
            },
        })
    }

    pub(super) fn render(&self, out: &mut String) {
        let name = if self.is_v6 {
            "--icmpv6-type"
        } else {
            "--icmp-type"
        };
        render(out, name, Some(&self.kind), |kind| match kind {
            None => "any".to_owned(),
            Some((kind, None)) => kind.to_string(),
            Some((kind, Some(code))) => format!("{kind}/{code}"),
        });
    }
}

/// A number, or a name that people write; the tools print numbers. Names that are types with a code are left unread.
fn icmp_type(is_v6: bool, text: &str) -> Option<u8> {
    const V4: [(&str, u8); 8] = [
        ("echo-reply", 0),
        ("destination-unreachable", 3),
        ("source-quench", 4),
        ("redirect", 5),
        ("echo-request", 8),
        ("time-exceeded", 11),
        ("ttl-exceeded", 11),
        ("parameter-problem", 12),
    ];
    const V6: [(&str, u8); 11] = [
        ("destination-unreachable", 1),
        ("packet-too-big", 2),
        ("time-exceeded", 3),
        ("parameter-problem", 4),
        ("echo-request", 128),
        ("echo-reply", 129),
        ("router-solicitation", 133),
        ("router-advertisement", 134),
        ("neighbour-solicitation", 135),
        ("neighbour-advertisement", 136),
        ("redirect", 137),
    ];
    let names: &[(&str, u8)] = if is_v6 { &V6 } else { &V4 };
    let named = names.iter().find(|(name, _)| *name == text);
    text.parse().ok().or(named.map(|(_, number)| *number))
}
