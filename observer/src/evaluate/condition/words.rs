//! Conditions in words: what is needed, and what the packet has.

use super::super::packet::{Dev, Packet};
use super::{Ask, AskConn, Condition, End, TimeAsk};
use crate::report::record::{Proto, TcpFlags};
use crate::ruleset::xtables::save::{PortsOf, Span, flag_names};

/// Which device of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that it came in by.
    In,
    /// The one that it leaves by.
    Out,
}

impl Condition {
    /// What must be so: `dst 10.244.0.0/16`, `not in eth0`.
    pub fn needs(&self) -> String {
        let not = if self.negated { "not " } else { "" };
        match &self.ask {
            ask @ (Ask::Net4(end, ..) | Ask::Net6(end, _)) => {
                let net = ask.net().map(|(_, net)| net.short()).unwrap_or_default();
                format!("{} {not}{net}", end.name())
            }
            Ask::Range(end, range) => format!("{} {not}{range}", end.name()),
            Ask::Kind(end, kinds) => {
                let kinds = kinds.text().unwrap_or_else(|| "any".to_owned());
                format!("{} {not}of type {kinds}", end.name())
            }
            Ask::Dev(side, device) => format!("{} {not}{}", side.name(), device.text()),
            Ask::Proto(number) => format!("protocol {not}{}", Proto(*number)),
            Ask::Fragment if self.negated => "a whole packet or a first fragment".to_owned(),
            Ask::Fragment => "a later fragment".to_owned(),
            Ask::Port(of, span) => format!("{} {not}{span}", port_name(*of)),
            Ask::Ports(of, spans) => format!("{} {not}{}", port_name(*of), spans_text(&spans.0)),
            Ask::TcpFlags(mask, set) => {
                format!("TCP flags {not}{} of {}", flag_names(*set), flag_names(*mask))
            }
            Ask::Icmp(kind, None) => format!("ICMP type {not}{kind}"),
            Ask::Icmp(kind, Some(code)) => format!("ICMP type {not}{kind} code {code}"),
            Ask::AnyIcmp => "a whole ICMP message".to_owned(),
            Ask::Length(span) => format!("length {not}{}", span_text(*span.start(), *span.end())),
            Ask::Ttl(span) => format!("ttl {not}{}", span_text(*span.start(), *span.end())),
            Ask::Mark(value, mask) => format!("mark {not}{}", mark_text(*value, *mask)),
            Ask::Connmark(value, mask) => format!("connmark {not}{}", mark_text(*value, *mask)),
            Ask::State(states) => format!("ctstate {not}{}", states.text().replace(',', " or ")),
            Ask::Conn(of_conn) => format!("{not}{}", conn_needs(&of_conn.ask)),
            Ask::Set(set) => set.needs(not),
            Ask::Time(ask) => format!("{not}{ask}"),
            Ask::Open(open) => open.text.to_string(),
        }
    }

    /// What the packet has there; `None` where that is not known.
    pub fn has(&self, packet: &Packet) -> Option<String> {
        let has = |text: String| format!("packet has {text}");
        match &self.ask {
            Ask::Net4(end, ..) | Ask::Net6(end, _) | Ask::Range(end, _) => {
                end.address(packet).map(|addr| has(addr.to_string()))
            }
            Ask::Kind(end, _) => {
                let kinds = match end {
                    End::Source => packet.src_kinds,
                    End::Destination => packet.dst_kinds,
                };
                let addr = end.address(packet)?;
                Some(match kinds.text() {
                    Some(kinds) => format!("{addr} is {kinds}"),
                    None => format!("{addr} is not"),
                })
            }
            Ask::Dev(side, _) => match (side, side.of(packet)) {
                (_, Dev::Unknown) => None,
                (Side::In, Dev::Absent) => Some("packet comes from this host".to_owned()),
                (Side::Out, Dev::Absent) => Some("packet is not on its way out here".to_owned()),
                (Side::In, Dev::Named(name)) => Some(format!("packet came in by {name}")),
                (Side::Out, Dev::Named(name)) => Some(format!("packet leaves by {name}")),
            },
            Ask::Proto(_) => packet.proto.map(|proto| format!("packet is {}", Proto(proto))),
            Ask::Fragment | Ask::AnyIcmp => packet.is_fragment.map(fragment_text),
            Ask::Port(..) | Ask::Ports(..) | Ask::TcpFlags(..) | Ask::Icmp(..)
                if packet.is_fragment == Some(true) =>
            {
                Some(fragment_text(true))
            }
            Ask::Port(of, _) | Ask::Ports(of, _) => match of {
                PortsOf::Source => packet.sport.map(|port| has(port.to_string())),
                PortsOf::Destination => packet.dport.map(|port| has(port.to_string())),
                PortsOf::Either => Some(has(format!("{} and {}", packet.sport?, packet.dport?))),
            },
            Ask::TcpFlags(..) => packet.tcp_flags.map(|flags| {
                let names: Vec<&str> = TcpFlags(flags).names().collect();
                has(if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(",")
                })
            }),
            Ask::Icmp(..) => packet.icmp_type.map(|kind| match packet.icmp_code {
                Some(code) => has(format!("type {kind} code {code}")),
                None => has(format!("type {kind}")),
            }),
            Ask::Length(_) => packet.len_bytes.map(|len| has(format!("{len} bytes"))),
            Ask::Ttl(_) => packet.ttl.map(|ttl| has(ttl.to_string())),
            Ask::Mark(..) => packet.mark.map(|mark| has(format!("{mark:#x}"))),
            Ask::Connmark(..) => packet.conn.mark.map(|mark| format!("connection has {mark:#x}")),
            Ask::State(_) => packet
                .conn
                .state
                .map(|state| format!("packet is {}", state.name())),
            Ask::Conn(of_conn) => conn_has(&of_conn.ask, packet),
            Ask::Set(set) if set.returns_nomatch => set.has(packet).map(has),
            Ask::Set(set) => set.has(packet).map(|member| {
                let not = if self.negated { "" } else { "not " };
                format!("{member} is {not}in it")
            }),
            Ask::Time(_) => packet.at.map(TimeAsk::words),
            Ask::Open(_) => None,
        }
    }
}

impl End {
    /// `src`, `dst`
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "src",
            Self::Destination => "dst",
        }
    }
}

impl Side {
    /// `in`, `out`
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

fn port_name(of: PortsOf) -> &'static str {
    match of {
        PortsOf::Source => "sport",
        PortsOf::Destination => "dport",
        PortsOf::Either => "sport or dport",
    }
}

fn spans_text(spans: &[Span]) -> String {
    spans.iter().map(Span::to_string).collect::<Vec<_>>().join(",")
}

fn span_text(first: impl std::fmt::Display + PartialEq, last: impl std::fmt::Display + PartialEq) -> String {
    let (first, last) = (first.to_string(), last.to_string());
    if first == last {
        first
    } else {
        format!("{first} to {last}")
    }
}

fn mark_text(value: u32, mask: u32) -> String {
    if mask == u32::MAX {
        format!("{value:#x}")
    } else {
        format!("{value:#x}/{mask:#x}")
    }
}

fn fragment_text(is_fragment: bool) -> String {
    if is_fragment {
        "packet is a later fragment".to_owned()
    } else {
        "packet is none".to_owned()
    }
}

fn direction(is_reply: bool) -> &'static str {
    if is_reply { "reply" } else { "original" }
}

fn conn_needs(ask: &AskConn) -> String {
    match ask {
        AskConn::Proto(number) => format!("connection of {}", Proto(*number)),
        AskConn::Net(is_reply, end, net) => {
            format!("connection's {} {} {net}", direction(*is_reply), end.name())
        }
        AskConn::Port(is_reply, end, span) => {
            format!("connection's {} {} port {span}", direction(*is_reply), end.name())
        }
        AskConn::IsReply(is_reply) => format!("a packet in the {} direction", direction(*is_reply)),
        AskConn::Open(text) => text.to_string(),
    }
}

fn conn_has(ask: &AskConn, packet: &Packet) -> Option<String> {
    let conn = &packet.conn;
    if conn.exists() == Some(false) {
        return Some("packet has no connection".to_owned());
    }
    let tuple = |is_reply: bool| if is_reply { &conn.reply } else { &conn.original };
    Some(match ask {
        AskConn::Proto(_) => format!("it is of {}", Proto(packet.proto?)),
        AskConn::Net(is_reply, End::Source, _) => format!("it has {}", tuple(*is_reply).as_ref()?.src),
        AskConn::Net(is_reply, End::Destination, _) => format!("it has {}", tuple(*is_reply).as_ref()?.dst),
        AskConn::Port(is_reply, End::Source, _) => format!("it has {}", tuple(*is_reply).as_ref()?.sport?),
        AskConn::Port(is_reply, End::Destination, _) => {
            format!("it has {}", tuple(*is_reply).as_ref()?.dport?)
        }
        AskConn::IsReply(_) => format!("it goes in the {} direction", direction(conn.is_reply?)),
        AskConn::Open(_) => return None,
    })
}
