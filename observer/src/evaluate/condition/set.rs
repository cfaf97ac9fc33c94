//! Whether a packet is in a set of ipset (`ip_set_test`, net/netfilter/ipset/ip_set_core.c, and `…_kadt` of each type).

use std::net::IpAddr;
use std::sync::Arc;

use super::super::packet::Packet;
use super::super::truth::Truth;
use super::{End, Side};
use crate::report::record::Proto;
use crate::ruleset::ipset::{DeviceMember, Held, Key, Part, Set};
use crate::ruleset::xtables::save::Family;

/// Protocols that have ports (`get_port`, net/netfilter/ipset/ip_set_getport.c).
const WITH_PORTS: [i32; 4] = [
    libc::IPPROTO_TCP,
    libc::IPPROTO_UDP,
    libc::IPPROTO_UDPLITE,
    libc::IPPROTO_SCTP,
];

/// The match `set`.
#[derive(Clone, Debug)]
pub struct SetAsk {
    /// The set's name.
    pub name: Box<str>,
    /// By which end of the packet each part of a member is looked for.
    pub ends: Box<[End]>,
    /// The set itself, or those of the list that it is.
    pub sets: Box<[Arc<Set>]>,
    /// `--return-nomatch`: what is covered by a member with `nomatch` matches, and by no other.
    pub returns_nomatch: bool,
    /// Whether members' counters are compared, too.
    pub compares_counters: bool,
}

/// The same question has the same answer; members are not compared one by one.
impl PartialEq for SetAsk {
    fn eq(&self, other: &Self) -> bool {
        let same_sets = || {
            let mut pairs = self.sets.iter().zip(&other.sets);
            self.sets.len() == other.sets.len() && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
        };
        (&self.name, &self.ends) == (&other.name, &other.ends)
            && (self.returns_nomatch, self.compares_counters)
                == (other.returns_nomatch, other.compares_counters)
            && same_sets()
    }
}

impl Eq for SetAsk {}

/// What a look-up in one set comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Member,
    Nomatch,
    Nothing,
    Unknown,
}

impl SetAsk {
    /// Whether the packet is in it.
    pub(super) fn holds(&self, packet: &Packet) -> Truth {
        let truths = self.sets.iter().map(|set| self.one(set, packet));
        truths.fold(Truth::No, Truth::or)
    }

    fn one(&self, set: &Set, packet: &Packet) -> Truth {
        let family = if packet.is_v6 { Family::Ip6 } else { Family::Ip };
        if self.ends.len() < set.parts.len() || set.family.is_some_and(|of| of != family) {
            return Truth::No;
        }
        let found = look(set, &self.ends, packet);
        let is_counted = self.compares_counters && set.has_counters;
        if found == Found::Unknown || (is_counted && found != Found::Nothing) {
            return Truth::Unknown;
        }
        // Types with networks are those that have members with `nomatch`.
        let turned = self.returns_nomatch && set.parts.contains(&Part::Network);
        Truth::from(found == if turned { Found::Nomatch } else { Found::Member })
    }

    /// `src,dst in set X (12 entries)`
    pub(super) fn needs(&self, not: &str) -> String {
        let ends: Vec<_> = self.ends.iter().map(|end| end.name()).collect();
        let of = match &*self.sets {
            [only] if only.name == self.name => String::new(),
            sets => format!("{} sets, ", sets.len()),
        };
        let count: usize = self.sets.iter().map(|set| set.len()).sum();
        let entries = if count == 1 { "entry" } else { "entries" };
        let nomatch = if self.returns_nomatch { "as nomatch " } else { "" };
        format!(
            "{} {not}{nomatch}in set {} ({of}{count} {entries})",
            ends.join(","),
            self.name
        )
    }

    /// What the packet has where the set's members have something: `10.0.0.1,tcp:80`.
    pub(super) fn has(&self, packet: &Packet) -> Option<String> {
        let fits = self.sets.iter().filter(|set| set.parts.len() <= self.ends.len());
        let set = fits.max_by_key(|set| set.parts.len())?;
        let parts = set.parts.iter().zip(&self.ends);
        let texts: Option<Vec<String>> = parts.map(|(part, end)| text(*part, *end, packet)).collect();
        Some(texts?.join(","))
    }
}

fn text(part: Part, end: End, packet: &Packet) -> Option<String> {
    match part {
        Part::Address | Part::Network => end.address(packet).map(|addr| addr.to_string()),
        Part::Port | Part::BarePort => {
            let proto = Proto(packet.proto?);
            match transport(end, packet) {
                _ if packet.is_fragment != Some(false) => None,
                Some((_, Some(port))) if has_ports(proto.0) => Some(format!("{proto}:{port}")),
                Some((_, Some(port))) if port != 0 => {
                    let [kind, code] = port.to_be_bytes();
                    Some(format!("{proto}:{kind}/{code}"))
                }
                _ => Some(proto.to_string()),
            }
        }
        Part::Mark => packet.mark.map(|mark| format!("mark {mark:#x}")),
        Part::Device => {
            let name = device(end).of(packet).name()?;
            Some(if name.is_empty() { "no device" } else { name }.to_owned())
        }
        Part::Mac | Part::Set => None,
    }
}

fn look(set: &Set, ends: &[End], packet: &Packet) -> Found {
    if set.is_empty() {
        return Found::Nothing;
    }
    let mut asked = Asked::default();
    let mut addrs = 0;
    for (part, end) in set.parts.iter().zip(ends) {
        match part {
            Part::Address | Part::Network => {
                asked.addrs[addrs] = Some(end.address(packet).map(number));
                addrs += 1;
            }
            // What has no ports is in no set of ports.
            Part::Port | Part::BarePort if packet.is_fragment == Some(true) => return Found::Nothing,
            Part::Port | Part::BarePort => {
                asked.is_vague |= packet.is_fragment.is_none();
                if !asked.takes(transport(*end, packet), *part == Part::BarePort) {
                    return Found::Nothing;
                }
            }
            Part::Mark => {
                asked.mark = packet.mark.map(|mark| mark & set.mark_mask);
                asked.is_vague |= asked.mark.is_none();
            }
            Part::Device => match device(*end).of(packet).name() {
                Some("") => return Found::Nothing,
                name => asked.device = Some(name),
            },
            // It is not known: whatever has everything else may be the one.
            Part::Mac => asked.is_part = true,
            Part::Set => return Found::Unknown,
        }
    }
    asked.find(set)
}

/// What is looked for, as far as it is known. What the set's type has not is known to be 0.
struct Asked<'p> {
    /// The outer `None`: there is no such part. The inner one: it is not known.
    addrs: [Option<Option<u128>>; 2],
    proto: Option<u8>,
    port: Option<u16>,
    mark: Option<u32>,
    device: Option<Option<&'p str>>,
    /// Whether something of the key is not known.
    is_vague: bool,
    /// Whether members have something beyond the key that is not known of the packet.
    is_part: bool,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self {
            addrs: [None; 2],
            proto: Some(0),
            port: Some(0),
            mark: Some(0),
            device: None,
            is_vague: false,
            is_part: false,
        }
    }
}

impl Asked<'_> {
    /// Takes protocol and port; whether there can be a member with such. A bitmap has ports without their protocol, of TCP or UDP.
    fn takes(&mut self, transport: Option<(u8, Option<u16>)>, is_bare: bool) -> bool {
        let proto = transport.map(|(proto, _)| proto);
        if !is_bare {
            self.proto = proto;
        } else if proto.is_some_and(|proto| !matches!(Proto(proto), Proto::TCP | Proto::UDP)) {
            return false;
        }
        self.port = transport.and_then(|(_, port)| port);
        self.is_vague |= self.port.is_none();
        true
    }

    fn find(&self, set: &Set) -> Found {
        let found = if self.is_vague || self.addrs.contains(&Some(None)) {
            let possible = set.keys().any(|key| self.fits(set, key));
            if possible { Found::Unknown } else { Found::Nothing }
        } else {
            self.by_length(set)
        };
        if self.is_part && found != Found::Nothing {
            Found::Unknown
        } else {
            found
        }
    }

    /// Whether a member may be the one, by what is known.
    fn fits(&self, set: &Set, key: &Key) -> bool {
        let addrs = [self.addrs[0].flatten(), self.addrs[1].flatten()];
        let masked = set.mask(Key {
            addrs: addrs.map(Option::unwrap_or_default),
            ..*key
        });
        let mut pairs = addrs.iter().zip(masked.addrs).zip(key.addrs);
        pairs.all(|((known, addr), of_key)| known.is_none() || addr == of_key)
            && self.proto.is_none_or(|proto| proto == key.proto)
            && self.port.is_none_or(|port| port == key.port)
            && self.mark.is_none_or(|mark| mark == key.mark)
    }

    /// The longest prefix that covers it decides.
    fn by_length(&self, set: &Set) -> Found {
        let mut may_have_ended = false;
        for bits in set.bits() {
            let key = Key {
                addrs: self.addrs.map(|addr| addr.flatten().unwrap_or_default()),
                bits: *bits,
                proto: self.proto.unwrap_or_default(),
                port: self.port.unwrap_or_default(),
                mark: self.mark.unwrap_or_default(),
            };
            let found = match set.held(key) {
                Some(Held::Member) => Some(Found::Member),
                Some(Held::Nomatch) => Some(Found::Nomatch),
                Some(Held::Devices(members)) => {
                    of_devices(members, self.device.flatten(), &mut may_have_ended)
                }
                None => None,
            };
            match found {
                Some(Found::Member | Found::Nomatch) if may_have_ended => return Found::Unknown,
                Some(found) => return found,
                None => {}
            }
            // A member that is gone, but not yet cleared away, ends the look-up as one that is there does.
            may_have_ended |= set.has_timeout && self.device.is_some();
        }
        Found::Nothing
    }
}

/// The members of one network, each with another device. Where there are some, and none fits, shorter prefixes are not tried any more
/// (`multi`, `mtype_test_cidrs`, net/netfilter/ipset/ip_set_hash_gen.h); whether those of a bridge's ports count as some depends on
/// where the kernel's hash puts them.
fn of_devices(members: &[DeviceMember], device: Option<&str>, may_have_ended: &mut bool) -> Option<Found> {
    let mut logical = members.iter().filter(|member| !member.is_physical).peekable();
    if logical.peek().is_none() {
        *may_have_ended = true;
        return None;
    }
    let Some(device) = device else {
        return Some(Found::Unknown);
    };
    let mut fits = logical.filter(|member| {
        if member.is_prefix {
            device.starts_with(&*member.device)
        } else {
            device == &*member.device
        }
    });
    let Some(first) = fits.next() else {
        return Some(Found::Nothing);
    };
    // Which of several is met first is not told.
    Some(match fits.all(|other| other.is_nomatch == first.is_nomatch) {
        false => Found::Unknown,
        true if first.is_nomatch => Found::Nomatch,
        true => Found::Member,
    })
}

fn device(end: End) -> Side {
    match end {
        End::Source => Side::In,
        End::Destination => Side::Out,
    }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).into(),
        IpAddr::V6(addr) => addr.into(),
    }
}

fn has_ports(proto: u8) -> bool {
    WITH_PORTS.contains(&i32::from(proto))
}

/// The protocol, and what a set has as port: of ICMP type and code, of what has no ports 0.
fn transport(end: End, packet: &Packet) -> Option<(u8, Option<u16>)> {
    let proto = packet.proto?;
    let port = match i32::from(proto) {
        _ if has_ports(proto) => match end {
            End::Source => packet.sport,
            End::Destination => packet.dport,
        },
        libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => {
            let both = packet.icmp_type.zip(packet.icmp_code);
            both.map(|(kind, code)| u16::from_be_bytes([kind, code]))
        }
        _ => Some(0),
    };
    Some((proto, port))
}

#[cfg(test)]
mod tests;
