//! A rule's matches, in the order in which the kernel asks them.

use std::fmt::Write as _;

use super::address::Range;
use super::conntrack::{Conntrack, CtStates, read_state};
use super::extension::{Extension, Opt};
use super::header::{Signed, put, render};
use super::packet::{Icmp, Multiport, Ports, Tcp};
use super::words::push_text;

/// A match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `tcp`
    Tcp(Tcp),
    /// `udp`, `udplite`, `sctp`, `dccp`, when only ports are asked for.
    Ports(&'static str, Ports),
    /// `icmp`, `icmp6`
    Icmp(Icmp),
    /// `multiport`
    Multiport(Multiport),
    /// `conntrack`
    Conntrack(Box<Conntrack>),
    /// `state`
    State(Signed<CtStates>),
    /// `mark`: value and mask.
    Mark(Signed<(u32, u32)>),
    /// `connmark`: value and mask.
    Connmark(Signed<(u32, u32)>),
    /// `addrtype`
    AddrType(AddrType),
    /// `comment`
    Comment(Box<str>),
    /// `iprange`: of the source, of the destination.
    IpRange(Option<Signed<Range>>, Option<Signed<Range>>),
    /// `length`: a span of lengths in bytes.
    Length(Signed<(u16, u16)>),
    /// `pkttype`, as it is written.
    PktType(Signed<Box<str>>),
    /// `ttl` and `hl`.
    Ttl {
        /// Whether it is `hl`.
        is_hl: bool,
        /// `eq`, `lt` or `gt`.
        relation: &'static str,
        /// The number compared with.
        value: Signed<u8>,
    },
    /// Everything else, word for word.
    Other(Extension),
}

/// The match `addrtype`. Types are words such as `LOCAL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddrType {
    /// `--src-type`
    pub src: Option<Signed<Vec<Box<str>>>>,
    /// `--dst-type`
    pub dst: Option<Signed<Vec<Box<str>>>>,
    /// Whether only the device that the packet came in by counts.
    pub limit_iface_in: bool,
    /// Whether only the device that it leaves by counts.
    pub limit_iface_out: bool,
}

const PORTS: [&str; 4] = ["udp", "udplite", "sctp", "dccp"];
const RELATIONS: [&str; 3] = ["eq", "lt", "gt"];

impl Match {
    pub(super) fn read(name: &str, options: Vec<Opt>) -> Self {
        Self::typed(name, &options).unwrap_or_else(|| {
            Self::Other(Extension {
                name: name.into(),
                options,
            })
        })
    }

    fn typed(name: &str, options: &[Opt]) -> Option<Self> {
        Some(match name {
            "tcp" => Self::Tcp(Tcp::read(options)?),
            "icmp" => Self::Icmp(Icmp::read(false, options)?),
            "icmp6" | "icmpv6" => Self::Icmp(Icmp::read(true, options)?),
            "multiport" => Self::Multiport(Multiport::read(options)?),
            "conntrack" => Self::Conntrack(Box::new(Conntrack::read(options)?)),
            "state" => Self::State(read_state(options)?),
            "mark" => Self::Mark(read_mark(options)?),
            "connmark" => Self::Connmark(read_mark(options)?),
            "addrtype" => Self::AddrType(AddrType::read(options)?),
            "comment" => Self::Comment(one(options, "--comment").filter(|(not, _)| !not)?.1.into()),
            "iprange" => read_ranges(options)?,
            "length" => {
                let (negated, text) = one(options, "--length")?;
                let value = lengths(text)?;
                Self::Length(Signed { negated, value })
            }
            "pkttype" => {
                let (negated, text) = one(options, "--pkt-type")?;
                let value = text.into();
                Self::PktType(Signed { negated, value })
            }
            "ttl" | "hl" => read_ttl(name, options)?,
            _ => {
                let name = PORTS.into_iter().find(|known| *known == name)?;
                Self::Ports(name, Ports::read(options)?)
            }
        })
    }

    /// Its name, as `-m` takes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Ports(name, _) => name,
            Self::Icmp(icmp) if icmp.is_v6 => "icmp6",
            Self::Icmp(_) => "icmp",
            Self::Multiport(_) => "multiport",
            Self::Conntrack(_) => "conntrack",
            Self::State(_) => "state",
            Self::Mark(_) => "mark",
            Self::Connmark(_) => "connmark",
            Self::AddrType(_) => "addrtype",
            Self::Comment(_) => "comment",
            Self::IpRange(..) => "iprange",
            Self::Length(_) => "length",
            Self::PktType(_) => "pkttype",
            Self::Ttl { is_hl: true, .. } => "hl",
            Self::Ttl { .. } => "ttl",
            Self::Other(extension) => &extension.name,
        }
    }

    /// Appends ` -m name` and its options.
    pub(super) fn render(&self, out: &mut String) {
        let _ = write!(out, " -m {}", self.name());
        match self {
            Self::Tcp(tcp) => tcp.render(out),
            Self::Ports(_, ports) => ports.render(out),
            Self::Icmp(icmp) => icmp.render(out),
            Self::Multiport(multiport) => multiport.render(out),
            Self::Conntrack(conntrack) => conntrack.render(out),
            Self::State(states) => render(out, "--state", Some(states), CtStates::text),
            Self::Mark(mark) | Self::Connmark(mark) => render(out, "--mark", Some(mark), mark_text),
            Self::AddrType(types) => types.render(out),
            Self::Comment(text) => {
                out.push_str(" --comment ");
                push_text(out, text);
            }
            Self::IpRange(src, dst) => {
                render(out, "--src-range", src.as_ref(), Range::to_string);
                render(out, "--dst-range", dst.as_ref(), Range::to_string);
            }
            Self::Length(span) => render(out, "--length", Some(span), |(first, last)| {
                if first == last {
                    first.to_string()
                } else {
                    format!("{first}:{last}")
                }
            }),
            Self::PktType(kind) => render(out, "--pkt-type", Some(kind), |kind| kind.to_string()),
            Self::Ttl {
                is_hl,
                relation,
                value,
            } => {
                let name = format!("--{}-{relation}", if *is_hl { "hl" } else { "ttl" });
                render(out, &name, Some(value), u8::to_string);
            }
            Self::Other(extension) => extension.render(out),
        }
    }
}

impl AddrType {
    fn read(options: &[Opt]) -> Option<Self> {
        let mut found = Self::default();
        let types = |option: &Opt| Some(option.only()?.split(',').map(Box::from).collect());
        for option in options {
            match &*option.name {
                "--src-type" => put(&mut found.src, option, types(option))?,
                "--dst-type" => put(&mut found.dst, option, types(option))?,
                "--limit-iface-in" if option.values.is_empty() => found.limit_iface_in = true,
                "--limit-iface-out" if option.values.is_empty() => found.limit_iface_out = true,
                _ => return None,
            }
        }
        Some(found)
    }

    fn render(&self, out: &mut String) {
        render(out, "--src-type", self.src.as_ref(), |types| types.join(","));
        render(out, "--dst-type", self.dst.as_ref(), |types| types.join(","));
        if self.limit_iface_in {
            out.push_str(" --limit-iface-in");
        }
        if self.limit_iface_out {
            out.push_str(" --limit-iface-out");
        }
    }
}

/// The only option, of this name and with one value: whether it is negated, and the value.
fn one<'o>(options: &'o [Opt], name: &str) -> Option<(bool, &'o str)> {
    match options {
        [option] if &*option.name == name => Some((option.negated, option.only()?)),
        _ => None,
    }
}

/// `0x4000/0x4000`, `0x1`, `7`.
pub(super) fn masked(text: &str) -> Option<(u32, u32)> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, number(mask)?),
        None => (text, u32::MAX),
    };
    Some((number(value)?, mask))
}

pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn read_mark(options: &[Opt]) -> Option<Signed<(u32, u32)>> {
    let (negated, text) = one(options, "--mark")?;
    let value = masked(text)?;
    Some(Signed { negated, value })
}

fn mark_text((value, mask): &(u32, u32)) -> String {
    if *mask == u32::MAX {
        format!("{value:#x}")
    } else {
        format!("{value:#x}/{mask:#x}")
    }
}

fn read_ranges(options: &[Opt]) -> Option<Match> {
    let (mut src, mut dst) = (None, None);
    for option in options {
        let range = Range::parse(option.only()?);
        match &*option.name {
            "--src-range" => put(&mut src, option, range)?,
            "--dst-range" => put(&mut dst, option, range)?,
            _ => return None,
        }
    }
    Some(Match::IpRange(src, dst))
}

fn lengths(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let first = if first.is_empty() { 0 } else { first.parse().ok()? };
    let last = if last.is_empty() {
        u16::MAX
    } else {
        last.parse().ok()?
    };
    Some((first, last))
}

fn read_ttl(name: &str, options: &[Opt]) -> Option<Match> {
    let [option] = options else { return None };
    let relation = option
        .name
        .strip_prefix("--")?
        .strip_prefix(name)?
        .strip_prefix('-')?;
    Some(Match::Ttl {
        is_hl: name == "hl",
        relation: RELATIONS.into_iter().find(|known| *known == relation)?,
        value: Signed {
            negated: option.negated,
            value: option.only()?.parse().ok()?,
        },
    })
}
