//! Types of sets: what a member of each consists of.

/// A part of a member. The first of a type is looked for by the first direction of a match, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An address.
    Address,
    /// A network.
    Network,
    /// A protocol and a port, or an ICMP type and code.
    Port,
    /// A port of TCP or UDP, whichever.
    BarePort,
    /// A link-layer address.
    Mac,
    /// A packet mark.
    Mark,
    /// The device that a packet came in by (`src`) or leaves by (`dst`).
    Device,
    /// A set.
    Set,
}

/// The parts of a type such as `hash:ip,port,net`, if it is known.
pub(super) fn parts(type_name: &str) -> Option<Box<[Part]>> {
    let (method, names) = type_name.split_once(':')?;
    let part = |name| {
        Some(match (method, name) {
            ("hash" | "bitmap", "ip") => Part::Address,
            ("hash", "net") => Part::Network,
            ("hash", "port") => Part::Port,
            ("bitmap", "port") => Part::BarePort,
            ("hash" | "bitmap", "mac") => Part::Mac,
            ("hash", "mark") => Part::Mark,
            ("hash", "iface") => Part::Device,
            ("list", "set") => Part::Set,
            _ => return None,
        })
    };
    KNOWN
        .contains(&type_name)
        .then(|| names.split(',').map(part).collect())?
}

/// net/netfilter/ipset/ip_set_*.c
const KNOWN: [&str; 16] = [
    "bitmap:ip",
    "bitmap:ip,mac",
    "bitmap:port",
    "hash:ip",
    "hash:ip,mac",
    "hash:ip,mark",
    "hash:ip,port",
    "hash:ip,port,ip",
    "hash:ip,port,net",
    "hash:mac",
    "hash:net",
    "hash:net,iface",
    "hash:net,net",
    "hash:net,port",
    "hash:net,port,net",
    "list:set",
];
