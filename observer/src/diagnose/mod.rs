//! What a drop that is not netfilter's means: the kernel's reason and the function that freed the packet, in plain
//! words. The catalogue is data, one file a layer; this file looks things up in it.

mod device;
mod handled;
mod near_miss;
mod neighbour;
mod nft_near_miss;
mod other;
pub mod owners;
mod routing;
mod socket;
mod symbol;
mod tc;
mod tcp;
mod template;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::report::record::{Confidence, DropInfo, Evidence, Layer, Packet, PacketFamily, Proto, TcpFlags};

pub use near_miss::{Rules, hint_rule, near_miss, place, rule, target};
pub use nft_near_miss::{nft_near_miss, nft_never_asked, nft_then};
pub use symbol::plain as plain_symbol;

/// What is known of the packet that the meaning can depend on. All of it may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketFacts<'a> {
    /// Its headers.
    pub packet: Option<&'a Packet>,
    /// The device it came in by.
    pub in_dev: Option<&'a str>,
    /// The device it was to leave by.
    pub out_dev: Option<&'a str>,
    /// `skb->protocol` in host order; 0 is what sockets that are no network's put there (netlink, unix).
    pub ethertype: Option<u16>,
    /// `skb->pkt_type`.
    pub pkt_type: Option<PktType>,
}

/// Whom a frame is for, as the device saw it (include/uapi/linux/if_packet.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PktType {
    /// `PACKET_HOST`: this host; also every packet that starts here.
    Host,
    /// `PACKET_BROADCAST`.
    Broadcast,
    /// `PACKET_MULTICAST`.
    Multicast,
    /// `PACKET_OTHERHOST`: a frame for another host that a promiscuous device took in.
    OtherHost,
    /// `PACKET_OUTGOING`: a tap's copy of what leaves.
    Outgoing,
    /// `PACKET_LOOPBACK`: a multicast copy for this host.
    Loopback,
}

impl PktType {
    /// From the three bits in `skb->pkt_type`; `None` for those with no meaning here.
    pub fn from_bits(bits: u8) -> Option<Self> {
        let known = [
            Self::Host,
            Self::Broadcast,
            Self::Multicast,
            Self::OtherHost,
            Self::Outgoing,
            Self::Loopback,
        ];
        known.get(usize::from(bits & 7)).copied()
    }
}

/// What a drop means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The part of the kernel.
    pub layer: Layer,
    /// One plain sentence, and a command that shows more.
    pub text: String,
    /// Whether anybody misses this packet: false for a tap's copy, a duplicate, a frame for another host.
    pub loss: bool,
    /// Exact where the kernel gave the reason, inferred where only the freeing function tells.
    pub confidence: Confidence,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

impl Explanation {
    /// Puts what it says into a drop's own fields.
    pub fn fill(self, drop: &mut DropInfo) {
        drop.layer = self.layer;
        drop.text = Some(self.text);
        drop.confidence = self.confidence;
        drop.evidence = self.evidence;
    }
}

/// One line of the catalogue.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    layer: Layer,
    /// A sentence without its full stop. `{dst}` and the like stand for what [`template`] fills in.
    says: &'static str,
    /// A command that shows more; empty where there is none worth its place.
    check: &'static str,
    loss: Loss,
}

/// Whether a drop of this kind loses anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Yes,
    No,
    /// Not for what was sent to many: most of the many do not want it.
    UnlessToMany,
    /// Only for IP that this host sends or that was sent to it; not for noise that a promiscuous device took in.
    IfIpForUs,
    /// Only for IPv4 and IPv6.
    IfIp,
    /// Not for what hosts send of their own accord and repeat: IGMP, MLD, router solicitations, address checks.
    UnlessUpkeep,
}

/// A reason, without its prefix.
type ReasonRow = (&'static str, Meaning);
/// A reason that means something closer in some functions.
type RefinedRow = (&'static str, &'static [&'static str], Meaning);
/// Functions that free for one purpose, where the kernel gives no reason.
type SymbolRow = (&'static [&'static str], Meaning);

/// Says what it means that the kernel freed a packet for `reason` in the function `symbol`.
///
/// `reason` is the enumerator's name with or without `SKB_DROP_REASON_`; empty or `NOT_SPECIFIED` on kernels and paths
/// that give none. `symbol` may carry the compiler's suffixes (`.isra.0`).
pub fn reason(reason: &str, symbol: Option<&str>, packet: &PacketFacts<'_>) -> Explanation {
    let reason = plain_reason(reason);
    let symbol = symbol.map(symbol::plain);
    if is_unspecified(reason) {
        return unspecified(symbol, packet);
    }
    let refined = symbol.and_then(|symbol| refined(reason, symbol));
    match refined
        .or_else(|| by_packet(reason, packet))
        .or_else(|| by_reason(reason))
    {
        Some(meaning) => explain(&meaning, packet, Confidence::Exact, Evidence::Reason),
        None => unknown_reason(reason, symbol, packet),
    }
}

/// The names of the reasons that are never a loss, whatever the packet: what the kernel side may skip.
pub fn reasons_without_loss() -> impl Iterator<Item = &'static str> {
    let refined =
        |name: &str| all_refined().any(|(reason, _, meaning)| *reason == name && meaning.loss != Loss::No);
    let never = move |row: &&ReasonRow| row.1.loss == Loss::No && !refined(row.0);
    all_reasons().filter(never).map(|(name, _)| *name)
}

/// A reason's name without its prefix.
pub fn plain_reason(reason: &str) -> &str {
    let name = reason
        .strip_prefix("SKB_DROP_REASON_")
        .or_else(|| reason.strip_prefix("SKB_"));
    name.unwrap_or(reason)
}

fn is_unspecified(reason: &str) -> bool {
    matches!(reason, "" | "NOT_SPECIFIED" | "NOT_DROPPED_YET")
}

fn all_reasons() -> impl Iterator<Item = &'static ReasonRow> {
    [
        routing::REASONS,
        neighbour::REASONS,
        socket::REASONS,
        tcp::REASONS,
        device::REASONS,
        tc::REASONS,
        other::REASONS,
    ]
    .into_iter()
    .flatten()
}

fn all_refined() -> impl Iterator<Item = &'static RefinedRow> {
    [
        routing::REFINED,
        neighbour::REFINED,
        socket::REFINED,
        tcp::REFINED,
        device::REFINED,
    ]
    .into_iter()
    .flatten()
}

fn all_symbols() -> impl Iterator<Item = &'static SymbolRow> {
    [
        routing::SYMBOLS,
        neighbour::SYMBOLS,
        socket::SYMBOLS,
        tcp::SYMBOLS,
        device::SYMBOLS,
        tc::SYMBOLS,
        other::SYMBOLS,
    ]
    .into_iter()
    .flatten()
}

fn by_reason(reason: &str) -> Option<Meaning> {
    all_reasons()
        .find(|(name, _)| *name == reason)
        .map(|(_, meaning)| *meaning)
}

fn refined(reason: &str, symbol: &str) -> Option<Meaning> {
    let fits = |row: &&RefinedRow| row.0 == reason && row.1.contains(&symbol);
    all_refined().find(fits).map(|(_, _, meaning)| *meaning)
}

/// "No socket" is a closed port for TCP and UDP, nothing for a reset, and something else for ICMP.
fn by_packet(reason: &str, facts: &PacketFacts<'_>) -> Option<Meaning> {
    let packet = facts.packet?;
    let proto = packet.proto?;
    if reason != "NO_SOCKET" {
        return None;
    }
    if packet.tcp_flags.is_some_and(|flags| flags.has(TcpFlags::RST)) {
        return Some(tcp::STRAY_RESET);
    }
    socket::NO_SOCKET
        .iter()
        .find(|(number, _)| *number == proto.0)
        .map(|(_, meaning)| *meaning)
}

fn by_symbol(symbol: &str) -> Option<Meaning> {
    all_symbols()
        .find(|(names, _)| names.contains(&symbol))
        .map(|(_, meaning)| *meaning)
}

fn unspecified(symbol: Option<&str>, packet: &PacketFacts<'_>) -> Explanation {
    let Some(symbol) = symbol else {
        return nothing_known(
            "The kernel gave no reason, and which function freed the packet is not known.".into(),
        );
    };
    match handled::by_symbol(symbol, packet).or_else(|| by_symbol(symbol)) {
        Some(meaning) => explain(&meaning, packet, Confidence::Inferred, Evidence::Symbol),
        None => {
            let known = format!("The kernel gave no reason; the packet was freed in {symbol}().");
            Explanation {
                loss: is_of_a_network(packet),
                ..nothing_known(known)
            }
        }
    }
}

fn unknown_reason(reason: &str, symbol: Option<&str>, packet: &PacketFacts<'_>) -> Explanation {
    let place = symbol
        .map(|symbol| format!(", freed in {symbol}()"))
        .unwrap_or_default();
    let text = format!("The kernel's reason is {reason}{place}; this version has no words for it.");
    Explanation {
        loss: is_of_a_network(packet),
        evidence: vec![Evidence::Reason],
        ..nothing_known(text)
    }
}

fn nothing_known(text: String) -> Explanation {
    Explanation {
        layer: Layer::Other,
        text,
        loss: true,
        confidence: Confidence::Unknown,
        evidence: Vec::new(),
    }
}

fn explain(
    meaning: &Meaning,
    facts: &PacketFacts<'_>,
    confidence: Confidence,
    evidence: Evidence,
) -> Explanation {
    let text = template::sentence(meaning, facts);
    Explanation {
        layer: meaning.layer,
        text,
        loss: is_loss(meaning, facts),
        confidence,
        evidence: vec![evidence],
    }
}

fn is_loss(meaning: &Meaning, facts: &PacketFacts<'_>) -> bool {
    let is_ip = facts
        .packet
        .is_some_and(|packet| matches!(packet.family, PacketFamily::Ip | PacketFamily::Ip6));
    let on_the_way_out = matches!(meaning.layer, Layer::Routing | Layer::Neighbour);
    match meaning.loss {
        Loss::No => false,
        Loss::Yes => on_the_way_out || is_of_a_network(facts),
        Loss::UnlessToMany => !is_to_many(facts) && is_of_a_network(facts),
        Loss::IfIp => is_ip,
        Loss::UnlessUpkeep => !is_upkeep(facts) && is_of_a_network(facts),
        Loss::IfIpForUs => is_ip && !is_to_many(facts) && facts.pkt_type == Some(PktType::Host),
    }
}

/// False for what netlink and unix sockets pass around.
fn is_of_a_network(facts: &PacketFacts<'_>) -> bool {
    facts.ethertype != Some(0)
}

/// Messages that nobody asked for and nobody waits for: group membership, and a device's first words on IPv6.
fn is_upkeep(facts: &PacketFacts<'_>) -> bool {
    let Some(packet) = facts.packet else { return false };
    let from_nowhere = packet.src.is_some_and(|src| src.is_unspecified());
    match (packet.proto, packet.icmp_type) {
        (Some(Proto::IGMP), _) => true,
        // MLD (RFC 2710, RFC 3810), router solicitation, and the check that an address is free (RFC 4861, RFC 4862).
        (Some(Proto::ICMPV6), Some(130..=133 | 143)) => true,
        (Some(Proto::ICMPV6), Some(135)) => from_nowhere,
        _ => false,
    }
}

fn is_to_many(facts: &PacketFacts<'_>) -> bool {
    let by_frame = matches!(
        facts.pkt_type,
        Some(PktType::Broadcast | PktType::Multicast | PktType::Loopback)
    );
    let by_address = facts
        .packet
        .and_then(|packet| packet.dst)
        .is_some_and(|dst| match dst {
            IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
            IpAddr::V6(dst) => dst.is_multicast(),
        });
    by_frame || by_address
}

const fn row(layer: Layer, says: &'static str, check: &'static str, loss: Loss) -> Meaning {
    Meaning {
        layer,
        says,
        check,
        loss,
    }
}
