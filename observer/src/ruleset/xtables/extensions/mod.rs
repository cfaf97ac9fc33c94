//! What extensions of x_tables ask and do, out of the bytes that the kernel keeps of them: the same model as of what `iptables-save`
//! prints of them. (include/uapi/linux/netfilter/xt_*.h, netfilter_ipv4/ipt_*.h, netfilter_ipv6/ip6t_*.h: the layouts are user
//! API.)
//!
//! Nothing is read in part: an extension, a revision or a flag that is not known here gives `None`.

mod body;
mod conntrack;
mod nat;
mod packet;
mod ports;
mod rates;
mod sets;
mod surroundings;
mod targets;

use body::{Body, Options};
pub use sets::{KernelSets, SetNames};

use super::save::{Extension, Family};

/// An extension as the kernel keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which layout its bytes have.
    pub revision: u32,
    /// They.
    pub info: &'a [u8],
    /// Whose rule it is of.
    pub family: Family,
}

/// A match as it is written; `None` if it is not known.
pub fn matching(kept: Kept<'_>, sets: &mut dyn SetNames) -> Option<Extension> {
    let body = Body(kept.info);
    let mut options = Options::default();
    let mut name = kept.name;
    let is_v6 = kept.family == Family::Ip6;
    match (name, kept.revision) {
        ("tcp", 0) => ports::tcp(&body, &mut options),
        ("udp" | "udplite", 0) => ports::udp(&body, &mut options),
        ("sctp", 0) => ports::sctp(&body, &mut options),
        ("rt", 0) if is_v6 => ports::rt(&body, &mut options),
        ("icmp", 0) => ports::icmp(&body, "--icmp-type", &mut options),
        ("icmp6", 0) => ports::icmp(&body, "--icmpv6-type", &mut options),
        ("multiport", 1) => ports::multiport(&body, &mut options),
        ("esp", 0) => ports::spis(&body, "--espspi", &mut options),
        ("ah", 0) if !is_v6 => ports::spis(&body, "--ahspi", &mut options),
        ("conntrack", 3) => {
            if conntrack::is_state(&body)? {
                name = "state";
            }
            conntrack::conntrack(&body, is_v6, &mut options)
        }
        ("connmark" | "mark", 1) => packet::mark(&body, &mut options),
        ("connlimit", 1) => conntrack::connlimit(&body, is_v6, &mut options),
        ("connbytes", 0) => conntrack::connbytes(&body, &mut options),
        ("helper", 0) => conntrack::helper(&body, &mut options),
        ("addrtype", 1) => surroundings::addrtype(&body, &mut options),
        ("comment", 0) => packet::comment(&body, &mut options),
        ("iprange", 1) => packet::iprange(&body, is_v6, &mut options),
        ("length", 0) => packet::length(&body, &mut options),
        ("pkttype", 0) => packet::pkttype(&body, &mut options),
        ("ttl" | "hl", 0) => packet::ttl(&body, name, &mut options),
        ("dscp", 0) => packet::dscp(&body, &mut options),
        ("tos", 1) => packet::tos(&body, &mut options),
        ("ecn", 0) => packet::ecn(&body, &mut options),
        ("tcpmss", 0) => packet::tcpmss(&body, &mut options),
        ("mac", 0) => packet::mac(&body, &mut options),
        ("eui64", 0) => Some(()),
        ("limit", 0) => rates::limit(&body, &mut options),
        ("hashlimit", 3) => rates::hashlimit(&body, is_v6, &mut options),
        ("statistic", 0) => rates::statistic(&body, &mut options),
        ("recent", 1) => rates::recent(&body, is_v6, &mut options),
        ("quota", 0) => rates::quota(&body, &mut options),
        ("set", 1 | 3 | 4) => sets::set(&body, kept.revision, sets, &mut options),
        ("physdev", 0) => surroundings::physdev(&body, &mut options),
        ("owner", 1) => surroundings::owner(&body, &mut options),
        ("socket", 0..=3) => surroundings::socket(&body, kept.revision, &mut options),
        ("rpfilter", 0) => surroundings::rpfilter(&body, &mut options),
        ("cpu", 0) => surroundings::cpu(&body, &mut options),
        _ => None,
    }?;
    Some(options.of(name))
}

/// The match `limit`, of so many packets in so many seconds; `None` if there is no such rate.
pub fn limit(packets: u64, seconds: u64, burst: u64) -> Option<Extension> {
    let mut options = Options::default();
    rates::limit_of(packets, seconds, burst, &mut options)?;
    Some(options.of("limit"))
}

/// A target as it is written; `None` if it is not known.
pub fn target(kept: Kept<'_>, sets: &mut dyn SetNames) -> Option<Extension> {
    let body = Body(kept.info);
    let mut options = Options::default();
    let mut name = kept.name;
    let is_v6 = kept.family == Family::Ip6;
    match (name, kept.revision) {
        ("REJECT", 0) => targets::reject(&body, is_v6, &mut options),
        ("MARK", 2) => targets::mark(&body, &mut options),
        ("CONNMARK", 1 | 2) => targets::connmark(&body, kept.revision, &mut options),
        ("LOG", 0) => targets::log(&body, &mut options),
        ("TCPMSS", 0) => targets::tcpmss(&body, &mut options),
        ("DSCP", 0) => options.put("--set-dscp", format!("{:#04x}", body.u8(0)?)),
        ("TOS", 1) => options.put("--set-tos", format!("{:#04x}/{:#04x}", body.u8(0)?, body.u8(1)?)),
        ("TTL" | "HL", 0) => targets::ttl(&body, name, &mut options),
        ("CLASSIFY", 0) => targets::classify(&body, &mut options),
        ("TEE", 1) => targets::tee(&body, is_v6, &mut options),
        ("CHECKSUM", 0) => (body.u8(0)? == 1).then(|| options.flag("--checksum-fill")),
        ("NFQUEUE", 3) => targets::nfqueue(&body, &mut options),
        ("AUDIT", 0) => targets::audit(&body, &mut options),
        ("CT", 1 | 2) => {
            if targets::is_notrack(&body)? {
                name = "NOTRACK";
                Some(())
            } else {
                targets::ct(&body, &mut options)
            }
        }
        ("NOTRACK", 0) => Some(()),
        ("SET", 1..=3) => sets::change(&body, kept.revision, sets, &mut options),
        ("TPROXY", 1) => targets::tproxy(&body, is_v6, &mut options),
        ("SYNPROXY", 0) => targets::synproxy(&body, &mut options),
        ("DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP", revision) => {
            nat::translation(&body, name, revision, is_v6, &mut options)
        }
        _ => None,
    }?;
    Some(options.of(name))
}
