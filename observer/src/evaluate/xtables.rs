//! Tables of iptables as they are evaluated: what each match asks (`ip_packet_match`, the matches in net/netfilter/xt_*.c),
//! what each target does.

use std::ops::RangeInclusive;

use super::condition::{Ask, AskConn, Condition, End, OfConn, Open, Side, Spans, TimeAsk};
use super::packet::Kinds;
use super::table::{Action, Base, Chain, OpenTarget, Rule, Table};
use super::translation::Translation;
use crate::report::record::Hook;
use crate::ruleset::ipset::Sets;
use crate::ruleset::xtables::save::{
    self, AddrType, Conntrack, CtTuple, Extension, Family, Header, Icmp, Match, Multiport, Nat, Ports,
    PortsOf, Signed, Span, Tcp,
};

mod sets;

/// The built-in chains.
const HOOKS: [Hook; 5] = [
    Hook::Prerouting,
    Hook::Input,
    Hook::Forward,
    Hook::Output,
    Hook::Postrouting,
];

/// Makes a saved table ready. `sets`: those that its rules may ask.
pub fn table(saved: &save::Table, sets: &Sets) -> Table {
    let mut table = Table {
        name: saved.name.to_string(),
        is_v6: saved.family.map(|family| family == Family::Ip6),
        chains: saved
            .chains
            .iter()
            .map(|one| chain(&saved.name, one, sets))
            .collect(),
    };
    table.find_inert();
    table
}

fn chain(table: &str, saved: &save::Chain, sets: &Sets) -> Chain {
    let hook = HOOKS.into_iter().find(|hook| hook.name() == &*saved.name);
    let base = hook.zip(saved.policy).map(|(hook, policy)| Base {
        hook,
        priority: priority(table, hook),
        accepts: policy == save::Policy::Accept,
        is_nat: table == "nat",
    });
    Chain {
        name: saved.name.to_string(),
        base,
        rules: saved.rules.iter().map(|one| rule(one, sets)).collect(),
        is_inert: false,
    }
}

/// `enum nf_ip_hook_priorities`, include/uapi/linux/netfilter_ipv4.h.
fn priority(table: &str, hook: Hook) -> i32 {
    match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", Hook::Prerouting | Hook::Output) => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    }
}

/// Makes a rule ready. `sets`: those that it may ask.
pub fn rule(saved: &save::Rule, sets: &Sets) -> Rule {
    let mut conditions = Vec::new();
    header(&saved.header, &mut conditions);
    for found in &saved.matches {
        of_match(found, sets, &mut conditions);
    }
    Rule {
        conditions: conditions.into(),
        action: action(&saved.action),
    }
}

fn push<T>(out: &mut Vec<Condition>, signed: Option<&Signed<T>>, ask: impl FnOnce(&T) -> Ask) {
    out.extend(signed.map(|signed| Condition {
        negated: signed.negated,
        ask: ask(&signed.value),
    }));
}

/// The cheapest first, and what a person looks at first: a rule that misses is said to miss by these.
fn header(header: &Header, out: &mut Vec<Condition>) {
    push(out, header.src.as_ref(), |net| Ask::in_net(End::Source, net));
    push(out, header.dst.as_ref(), |net| Ask::in_net(End::Destination, net));
    push(out, header.in_dev.as_ref(), |device| {
        Ask::Dev(Side::In, Box::new(device.clone()))
    });
    push(out, header.out_dev.as_ref(), |device| {
        Ask::Dev(Side::Out, Box::new(device.clone()))
    });
    if let Some(proto) = &header.proto {
        match proto.value.number {
            // `-p all`
            Some(0) if !proto.negated => {}
            Some(number) => push(out, Some(proto), |_| Ask::Proto(number)),
            None => out.push(open(
                format!("-p {}", proto.value.name),
                "this protocol's name is not known",
                true,
            )),
        }
    }
    push(out, header.fragment.as_ref(), |()| Ask::Fragment);
    for option in &header.unread {
        let text = written(&Extension {
            name: "".into(),
            options: vec![option.clone()],
        });
        out.push(open(text, "this option could not be read", true));
    }
}

fn of_match(found: &Match, sets: &Sets, out: &mut Vec<Condition>) {
    match found {
        Match::Tcp(tcp) => of_tcp(tcp, out),
        Match::Ports(_, ports) => of_ports(ports, out),
        Match::Icmp(icmp) => out.push(of_icmp(icmp)),
        Match::Multiport(multiport) => out.push(of_multiport(multiport)),
        Match::Conntrack(conntrack) => of_conntrack(conntrack, out),
        Match::State(states) => push(out, Some(states), |states| Ask::State(*states)),
        Match::Mark(mark) => push(out, Some(mark), |(value, mask)| Ask::Mark(*value, *mask)),
        Match::Connmark(mark) => push(out, Some(mark), |(value, mask)| Ask::Connmark(*value, *mask)),
        Match::AddrType(types) => of_types(types, out),
        Match::Comment(_) => {}
        Match::IpRange(src, dst) => {
            push(out, src.as_ref(), |range| {
                Ask::Range(End::Source, Box::new(*range))
            });
            push(out, dst.as_ref(), |range| {
                Ask::Range(End::Destination, Box::new(*range))
            });
        }
        Match::Length(span) => push(out, Some(span), |(first, last)| {
            Ask::Length(u32::from(*first)..=u32::from(*last))
        }),
        Match::PktType(kind) => {
            let not = if kind.negated { "! " } else { "" };
            let text = format!("-m pkttype {not}--pkt-type {}", kind.value);
            out.push(open(text, "whom the frame was for is not known", true));
        }
        Match::Ttl { relation, value, .. } => {
            let bound = value.value;
            // Nothing is less than 0 or greater than 255.
            let nothing = || RangeInclusive::new(1, 0);
            push(out, Some(value), |_| {
                Ask::Ttl(match *relation {
                    "lt" => bound.checked_sub(1).map_or_else(nothing, |last| 0..=last),
                    "gt" => bound.checked_add(1).map_or_else(nothing, |first| first..=u8::MAX),
                    _ => bound..=bound,
                })
            });
        }
        Match::Other(extension) if &*extension.name == "set" => out.push(sets::of_set(extension, sets)),
        Match::Other(extension) if &*extension.name == "time" => {
            let known = TimeAsk::of(extension).map(|ask| Condition {
                negated: false,
                ask: Ask::Time(Box::new(ask)),
            });
            out.push(known.unwrap_or_else(|| of_extension(extension)));
        }
        Match::Other(extension) => out.push(of_extension(extension)),
    }
}

fn of_ports(ports: &Ports, out: &mut Vec<Condition>) {
    let one = |of| move |span: &Span| Ask::Port(of, *span);
    push(out, ports.sport.as_ref(), one(PortsOf::Source));
    push(out, ports.dport.as_ref(), one(PortsOf::Destination));
    if ports.sport.is_none() && ports.dport.is_none() {
        out.push(has_transport_header());
    }
}

/// A match that asks for nothing still needs the header that it looks at.
fn has_transport_header() -> Condition {
    Condition {
        negated: true,
        ask: Ask::Fragment,
    }
}

fn of_tcp(tcp: &Tcp, out: &mut Vec<Condition>) {
    of_ports(&tcp.ports, out);
    push(out, tcp.flags.as_ref(), |(mask, set)| Ask::TcpFlags(*mask, *set));
    if let Some(option) = &tcp.option {
        let not = if option.negated { "! " } else { "" };
        let text = format!("-m tcp {not}--tcp-option {}", option.value);
        out.push(open(text, "TCP options are not known", true));
    }
}

/// 255 is any type to IPv4's match (`icmp_type_code_match`, net/netfilter/xt_tcpudp.c).
fn of_icmp(icmp: &Icmp) -> Condition {
    let ask = match icmp.kind.value {
        None => Ask::AnyIcmp,
        Some((255, _)) if !icmp.is_v6 => Ask::AnyIcmp,
        Some((kind, code)) => Ask::Icmp(kind, code),
    };
    Condition {
        negated: icmp.kind.negated,
        ask,
    }
}

fn of_multiport(multiport: &Multiport) -> Condition {
    Condition {
        negated: multiport.spans.negated,
        ask: Ask::Ports(
            multiport.of,
            Box::new(Spans(multiport.spans.value.clone().into())),
        ),
    }
}

fn of_conntrack(conntrack: &Conntrack, out: &mut Vec<Condition>) {
    let beside_state = conntrack.states.is_some();
    push(out, conntrack.states.as_ref(), |states| Ask::State(*states));
    let conn = |ask| Ask::Conn(Box::new(OfConn { beside_state, ask }));
    push(out, conntrack.proto.as_ref(), |number| {
        conn(AskConn::Proto(*number))
    });
    of_tuple(&conntrack.original, false, &conn, out);
    of_tuple(&conntrack.reply, true, &conn, out);
    push(out, conntrack.is_reply.as_ref(), |is_reply| {
        conn(AskConn::IsReply(*is_reply))
    });
    push(out, conntrack.status.as_ref(), |text| {
        conn(AskConn::Open(format!("connection's status {text}").into()))
    });
    push(out, conntrack.expire.as_ref(), |text| {
        conn(AskConn::Open(format!("connection ends in {text} seconds").into()))
    });
    if *conntrack == Conntrack::default() {
        out.push(open("-m conntrack".to_owned(), "it asks for nothing", true));
    }
}

fn of_tuple(tuple: &CtTuple, is_reply: bool, conn: &dyn Fn(AskConn) -> Ask, out: &mut Vec<Condition>) {
    let net = |end| move |net: &save::Net| conn(AskConn::Net(is_reply, end, *net));
    push(out, tuple.src.as_ref(), net(End::Source));
    push(out, tuple.dst.as_ref(), net(End::Destination));
    let port = |end| move |span: &Span| conn(AskConn::Port(is_reply, end, *span));
    push(out, tuple.sport.as_ref(), port(End::Source));
    push(out, tuple.dport.as_ref(), port(End::Destination));
}

fn of_types(types: &AddrType, out: &mut Vec<Condition>) {
    for (end, asked) in [(End::Source, &types.src), (End::Destination, &types.dst)] {
        let Some(asked) = asked else { continue };
        let kinds = asked.value.iter().try_fold(None, |all: Option<Kinds>, name| {
            let kind = Kinds::of_name(name)?;
            Some(Some(all.map_or(kind, |all| all.with(kind))))
        });
        let on_one_device = types.limit_iface_in || types.limit_iface_out;
        match kinds.flatten() {
            Some(kinds) if !on_one_device => out.push(Condition {
                negated: asked.negated,
                ask: Ask::Kind(end, kinds),
            }),
            _ => {
                let text = format!("-m addrtype of {} {}", end.name(), asked.value.join(","));
                out.push(open(text, "addresses by device are not known", true));
            }
        }
    }
}

/// Matches that the packet alone does not decide, and why.
const WHY: &[(&str, &str, bool)] = &[
    ("limit", "it depends on how many packets came before", false),
    ("hashlimit", "it depends on how many packets came before", false),
    ("connlimit", "it depends on how many connections there are", false),
    ("quota", "it depends on how many packets came before", false),
    ("recent", "it depends on which addresses came before", false),
    ("statistic", "it is drawn by lot", false),
    ("rateest", "it depends on the rate of packets", false),
    ("nfacct", "it counts packets", false),
    ("time", "it depends on the clock", false),
    ("cpu", "it depends on the CPU", false),
    ("owner", "the process that sent it is not known", true),
    ("cgroup", "the process that sent it is not known", true),
    ("socket", "sockets are not known", true),
    ("physdev", "a bridge's ports are not known", true),
    ("rpfilter", "the way back is not known", true),
    ("mac", "its link-layer address is not known", true),
    ("string", "its contents are not known", true),
    ("u32", "its contents are not known", true),
    ("bpf", "its contents are not known", true),
    ("connbytes", "what the connection has carried is not known", true),
    ("policy", "IPsec's part in it is not known", true),
];

fn of_extension(extension: &Extension) -> Condition {
    let known = WHY.iter().find(|(name, ..)| *name == &*extension.name);
    let (why, is_steady) = known.map_or(("this extension is not known", false), |(_, why, steady)| {
        (*why, *steady)
    });
    open_extension(extension, why, is_steady)
}

fn open_extension(extension: &Extension, why: &'static str, is_steady: bool) -> Condition {
    open(format!("-m {}", written(extension)), why, is_steady)
}

fn open(text: String, why: &'static str, is_steady: bool) -> Condition {
    Condition {
        negated: false,
        ask: Ask::Open(Box::new(Open {
            text: text.trim().into(),
            why,
            is_steady,
        })),
    }
}

fn written(extension: &Extension) -> String {
    extension.to_string()
}

/// Targets after which the next rule is asked, and that change nothing that this evaluator knows of a packet.
const GO_ON: &[&str] = &[
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "ECN",
    "IDLETIMER",
    "LED",
    "LOG",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TRACE",
    "ULOG",
];

fn action(saved: &save::Action) -> Action {
    match saved {
        save::Action::None => Action::Continue,
        save::Action::Accept => Action::Accept,
        save::Action::Drop | save::Action::Reject(_) => Action::Drop,
        save::Action::Return => Action::Return,
        save::Action::Queue => open_target("QUEUE", QUEUED),
        save::Action::Jump(chain) => Action::Jump(*chain),
        save::Action::Goto(chain) => Action::Goto(*chain),
        save::Action::Mark(change, _) => Action::Mark(*change),
        save::Action::Connmark(change, _) => Action::Connmark(*change),
        save::Action::SaveMark(packet, conn, _) => Action::SaveMark(*packet, *conn),
        save::Action::RestoreMark(packet, conn, _) => Action::RestoreMark(*packet, *conn),
        save::Action::Notrack(_) => Action::Untrack,
        save::Action::Nat(nat) => translate(nat),
        save::Action::Other(extension) => target(extension),
    }
}

const QUEUED: &str = "a program in user space decides";

fn translate(nat: &Nat) -> Action {
    Action::Translate(Box::new(Translation {
        kind: nat.kind,
        to: nat.to.clone(),
        is_random: nat.written.has("--random") || nat.written.has("--random-fully"),
    }))
}

fn open_target(name: &str, why: &'static str) -> Action {
    Action::Open(Box::new(OpenTarget {
        name: name.into(),
        why,
    }))
}

fn target(extension: &Extension) -> Action {
    match &*extension.name {
        // With `--notrack` it is more than what goes on: which of its options win is not modelled.
        "CT" if extension.has("--notrack") => {
            open_target(&extension.name, "what it does to conntrack is not known")
        }
        "SET" if extension.has("--map-mark") => Action::ForgetMark,
        name if GO_ON.contains(&name) => Action::Continue,
        "HMARK" | "MARK" => Action::ForgetMark,
        "TTL" | "HL" => Action::ForgetTtl,
        "NFQUEUE" => open_target(&extension.name, QUEUED),
        "TPROXY" => open_target(&extension.name, "it depends on whether a proxy listens"),
        "SYNPROXY" => open_target(&extension.name, "it answers the client by itself"),
        _ => open_target(&extension.name, "this target is not known"),
    }
}
