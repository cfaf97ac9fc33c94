//! A drop in words: what died, where, and what decided. No escapes, no colour: that is the writer's part.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::icmp;
use super::record::{
    Backend, Cause, Confidence, CounterInfo, CounterLine, DropInfo, DropLine, Evidence, Flow, Layer, Matched,
    Named, Names, Packet, Tuple,
};

/// What decided, in a few words: `policy DROP of filter FORWARD`. Drops with the same words have the same cause.
pub fn cause(drop: &DropInfo) -> String {
    if drop.layer != Layer::Netfilter {
        return match &drop.symbol {
            Some(symbol) => format!("{}: {} in {symbol}", drop.layer.name(), drop.reason),
            None => format!("{}: {}", drop.layer.name(), drop.reason),
        };
    }
    match drop.cause {
        Some(Cause::Policy) => format!(
            "policy {} of {}",
            drop.policy.as_deref().unwrap_or("DROP"),
            place(drop)
        ),
        Some(Cause::Rule) => rule_words(drop),
        Some(Cause::Hook) => format!(
            "hook function {} at {}, no ruleset",
            drop.function.as_deref().unwrap_or("(unknown)"),
            drop.hook.map_or("an unknown hook", |hook| hook.name())
        ),
        None => match drop.hook {
            Some(hook) => format!("netfilter at {}, rule not known", hook.name()),
            None => "netfilter, rule not known".to_owned(),
        },
    }
}

/// Whose counter it is, in a few words, as [`cause`] says it of a drop.
pub fn counter(info: &CounterInfo) -> String {
    match (info.cause, &info.function, &info.statistic) {
        (Cause::Hook, Some(function), Some(statistic)) => format!("{function} ({statistic})"),
        _ => cause(&info.as_drop()),
    }
}

/// `FORWARD in node02`.
pub fn counter_place(line: &CounterLine, node: &str) -> String {
    let like = DropLine {
        netns: line.netns.clone(),
        drop: line.counter.as_drop(),
        ..DropLine::default()
    };
    whereabouts(&like, node)
}

fn rule_words(drop: &DropInfo) -> String {
    let rule = drop.rule.as_ref();
    let mut words = "rule".to_owned();
    if let Some(number) = rule.and_then(|rule| rule.number) {
        let _ = write!(words, " {number}");
    }
    if let Some(handle) = rule.and_then(|rule| rule.handle) {
        let _ = write!(words, " (handle {handle})");
    }
    let _ = write!(words, " of {}", place(drop));
    words
}

/// Table and chain; nf_tables' tables have the family in their name, legacy ones are IPv4's unless said.
fn place(drop: &DropInfo) -> String {
    let family = match (drop.backend, drop.family) {
        (Some(Backend::Legacy), Some(super::record::TableFamily::Ip)) | (_, None) => None,
        (_, Some(family)) => Some(family.name()),
    };
    let parts = [family, drop.table.as_deref(), drop.chain.as_deref()];
    let words: Vec<&str> = parts.into_iter().flatten().collect();
    if words.is_empty() {
        "an unknown chain".to_owned()
    } else {
        words.join(" ")
    }
}

/// How sure the answer is, and for what is not exact, on what it rests.
pub fn confidence(drop: &DropInfo) -> String {
    if drop.confidence != Confidence::Inferred || drop.evidence.is_empty() {
        return drop.confidence.name().to_owned();
    }
    let grounds: Vec<&str> = drop.evidence.iter().map(ground).collect();
    format!("{} from {}", drop.confidence.name(), grounds.join(", "))
}

fn ground(evidence: &Evidence) -> &str {
    match evidence {
        Evidence::XtCounter | Evidence::NftCounter => "counters",
        Evidence::XtJumpstack => "the table's jumps",
        Evidence::NftTrace => "the trace hook",
        Evidence::NftVerdict => "the verdict",
        Evidence::HookEntry => "the hooks in force",
        Evidence::Replay => "a replay",
        Evidence::Reason => "the kernel's reason",
        Evidence::Symbol => "the place in the kernel",
        Evidence::Other(name) => name,
    }
}

/// `tcp 10.224.0.0:41234 (web/client) → 10.224.2.16:80 (nginx-test/nginx-0)`, the names where they are known.
pub fn endpoints(packet: &Packet, names: Option<&Names>) -> String {
    let mut words = match (packet.proto, &packet.ethertype) {
        (Some(proto), _) => proto.to_string(),
        (None, Some(ethertype)) => format!("ethertype {ethertype}"),
        (None, None) => family_word(packet).to_owned(),
    };
    if let (Some(src), Some(dst)) = (packet.src, packet.dst) {
        let _ = write!(
            words,
            " {}{} → {}{}",
            endpoint(src, packet.sport),
            in_brackets(names.and_then(|names| names.src.as_ref())),
            endpoint(dst, packet.dport),
            in_brackets(names.and_then(|names| names.dst.as_ref()))
        );
    }
    words
}

/// ` (nginx-test/nginx-0)`, or nothing; with a question mark where the name may be out of date.
fn in_brackets(named: Option<&Named>) -> String {
    let words = named.and_then(|named| Some((who(named)?, if named.stale { "?" } else { "" })));
    words
        .map(|(who, doubt)| format!(" ({who}{doubt})"))
        .unwrap_or_default()
}

/// The pod, else the service, else the node.
fn who(named: &Named) -> Option<String> {
    let service = || Some(format!("service {}", named.service.as_ref()?));
    let node = || Some(format!("node {}", named.node.as_ref()?));
    named.pod.clone().or_else(service).or_else(node)
}

/// `tcp 10.224.0.0:41234 → 10.224.2.16:80 SYN 60 bytes`.
pub fn packet(packet: &Packet, names: Option<&Names>) -> String {
    let mut words = without_mark(packet, names);
    let _ = write!(words, " {} bytes", packet.len);
    words.push_str(&mark(packet));
    words
}

/// As [`packet`], where the length is not known.
pub fn headers(packet: &Packet) -> String {
    without_mark(packet, None) + &mark(packet)
}

fn mark(packet: &Packet) -> String {
    if packet.mark.0 == 0 {
        return String::new();
    }
    format!(" mark {}", packet.mark)
}

fn without_mark(packet: &Packet, names: Option<&Names>) -> String {
    let mut words = endpoints(packet, names);
    if let Some(flags) = packet.tcp_flags {
        let names: Vec<&str> = flags.names().collect();
        let _ = write!(
            words,
            " {}",
            if names.is_empty() {
                "no flags".to_owned()
            } else {
                names.join(",")
            }
        );
    }
    if let Some(kind) = packet.icmp_type {
        let _ = write!(words, " {}", icmp::message(packet.proto, kind, packet.icmp_code));
    }
    if let Some(offset) = packet.frag_offset {
        let _ = write!(words, " fragment at {offset}");
    }
    words
}

fn family_word(packet: &Packet) -> &'static str {
    match packet.family {
        super::record::PacketFamily::Ip => "ip",
        super::record::PacketFamily::Ip6 => "ip6",
        super::record::PacketFamily::Arp => "arp",
        super::record::PacketFamily::Other => "packet",
    }
}

/// An address and port, IPv6 in brackets where a port follows.
pub fn endpoint(addr: IpAddr, port: Option<u16>) -> String {
    match (addr, port) {
        (addr, None) => addr.to_string(),
        (IpAddr::V4(addr), Some(port)) => format!("{addr}:{port}"),
        (IpAddr::V6(addr), Some(port)) => format!("[{addr}]:{port}"),
    }
}

/// Who asks whom for what, whichever port the client has drawn: `tcp 10.224.0.0 → 10.224.2.16:80, service web/nginx`.
pub fn talk(line: &DropLine) -> String {
    let packet = Packet {
        sport: None,
        ..line.packet.clone()
    };
    let names = line.names.as_deref();
    let mut words = endpoints(&packet, names);
    if let Some(service) = service(line.flow.as_ref(), names) {
        let _ = write!(words, ", service {service}");
    }
    words
}

/// The service that the client addressed, as the rules name it, else as the cluster does.
fn service<'a>(flow: Option<&'a Flow>, names: Option<&'a Names>) -> Option<&'a str> {
    let of_rules = flow.and_then(|flow| flow.service.as_deref());
    let of_cluster = || names?.original_dst.as_ref()?.service.as_deref();
    of_rules.or_else(of_cluster)
}

/// `FORWARD in node02, flannel.1 → cni0`.
pub fn whereabouts(line: &DropLine, node: &str) -> String {
    let mut words = String::new();
    if let Some(hook) = line.drop.hook {
        let _ = write!(words, "{} in ", hook.name());
    }
    match line
        .netns
        .as_ref()
        .map(|netns| (netns.inode, netns.name.as_deref()))
    {
        Some((_, Some(name))) if name == node => words.push_str(node),
        Some((_, Some(name))) => {
            let _ = write!(words, "{name} on {node}");
        }
        Some((inode, None)) => {
            let whose = line.names.as_ref().and_then(|names| names.netns.as_ref());
            let whose = in_brackets(whose);
            let _ = write!(words, "netns {inode}{whose} on {node}");
        }
        None => words.push_str(node),
    }
    match (&line.in_dev, &line.out_dev) {
        (Some(in_dev), Some(out_dev)) => {
            let _ = write!(words, ", {in_dev} → {out_dev}");
        }
        (Some(in_dev), None) => {
            let _ = write!(words, ", in by {in_dev}");
        }
        (None, Some(out_dev)) => {
            let _ = write!(words, ", out by {out_dev}");
        }
        (None, None) => {}
    }
    words
}

/// The connection: its state, its service, the tuple before NAT where that is not the packet's own.
pub fn flow(
    flow: Option<&Flow>,
    packet: &Packet,
    names: Option<&Names>,
    matched: Option<Matched>,
) -> Option<String> {
    let flow = flow?;
    let mut parts: Vec<String> = Vec::new();
    parts.extend(flow.ct_state.map(|state| state.name().to_owned()));
    parts.extend(service(Some(flow), names).map(|service| format!("service {service}")));
    if !is_same(&flow.original, packet) {
        parts.push(nat_words(flow, names));
    }
    parts.extend(match matched {
        Some(Matched::Original) => Some("the filter matched it before NAT".to_owned()),
        Some(Matched::Reply) => Some("the filter matched its answers".to_owned()),
        _ => None,
    });
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn is_same(tuple: &Tuple, packet: &Packet) -> bool {
    Some(tuple.src) == packet.src
        && Some(tuple.dst) == packet.dst
        && tuple.sport == packet.sport
        && tuple.dport == packet.dport
}

fn nat_words(flow: &Flow, names: Option<&Names>) -> String {
    let tuple = &flow.original;
    // The service stands before it already.
    let dst = names.and_then(|names| names.original_dst.as_ref());
    let dst = dst.filter(|named| named.service.is_none());
    let mut words = format!(
        "{}{} → {}{}",
        endpoint(tuple.src, tuple.sport),
        in_brackets(names.and_then(|names| names.original_src.as_ref())),
        endpoint(tuple.dst, tuple.dport),
        in_brackets(dst)
    );
    let nat: Vec<&str> = flow.nat.iter().map(|nat| nat.name()).collect();
    if nat.is_empty() {
        words.push_str(" (the connection's first packet)");
    } else {
        let _ = write!(words, " before {}", nat.join("+"));
    }
    words
}
