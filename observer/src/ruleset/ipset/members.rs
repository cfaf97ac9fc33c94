//! The members of a set, so that one is found without looking at all.

use std::collections::HashMap;
use std::net::IpAddr;

use super::kind::Part;
use super::{MOST_MEMBERS, Set};
use crate::ruleset::xtables::save::Family;

/// What a member is found by. What its type has not is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// Both addresses, masked by `bits`; of IPv4 in the lower 32 bits.
    pub addrs: [u128; 2],
    /// Both prefix lengths.
    pub bits: [u8; 2],
    /// Transport protocol.
    pub proto: u8,
    /// Port, or ICMP type and code.
    pub port: u16,
    /// Packet mark.
    pub mark: u32,
}

/// What there is by a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    /// A member.
    Member,
    /// A member that says that what it covers is not in the set.
    Nomatch,
    /// Members that differ in their device.
    Devices(Vec<DeviceMember>),
}

/// A member of `hash:net,iface`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceMember {
    /// The device.
    pub device: Box<str>,
    /// Whether any name fits that begins so.
    pub is_prefix: bool,
    /// Whether the port of a bridge is meant, which the match of iptables does not ask for.
    pub is_physical: bool,
    /// As [`Held::Nomatch`].
    pub is_nomatch: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Members {
    Known {
        held: HashMap<Key, Held>,
        /// The prefix lengths that there are, in the order in which they are tried: the longest first, the first network
        /// before the second (`mtype_test_cidrs`, net/netfilter/ipset/ip_set_hash_gen.h).
        bits: Vec<[u8; 2]>,
        count: usize,
    },
    /// Of a list: the names of sets, in their order.
    Sets(Vec<Box<str>>),
    Unread(&'static str),
}

impl Default for Members {
    fn default() -> Self {
        Self::Known {
            held: HashMap::new(),
            bits: Vec::new(),
            count: 0,
        }
    }
}

impl Members {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Known { count, .. } => *count,
            Self::Sets(names) => names.len(),
            Self::Unread(_) => 0,
        }
    }
}

/// A member as it is listed.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) addrs: [Option<(IpAddr, Option<u8>)>; 2],
    pub(super) proto: Option<u8>,
    pub(super) port: Option<u16>,
    pub(super) mark: Option<u32>,
    pub(super) device: Option<DeviceMember>,
    pub(super) set: Option<Box<str>>,
    pub(super) is_nomatch: bool,
}

/// The length of a whole address.
pub(super) fn whole(family: Option<Family>) -> u8 {
    if family == Some(Family::Ip6) { 128 } else { 32 }
}

/// An address as a number, and its family.
fn number(addr: IpAddr) -> (u128, Family) {
    match addr {
        IpAddr::V4(addr) => (u128::from(u32::from(addr)), Family::Ip),
        IpAddr::V6(addr) => (u128::from(addr), Family::Ip6),
    }
}

impl Set {
    /// Adds a member. One that lacks what the type has makes all of the set unknown.
    pub(super) fn add(&mut self, member: Member) {
        match &mut self.members {
            Members::Unread(_) => return,
            Members::Sets(names) => match member.set {
                Some(name) => return names.push(name),
                None => return self.give_up("a member of the set is not understood"),
            },
            Members::Known { count, .. } if *count >= MOST_MEMBERS => {
                return self.give_up("the set has more members than are read");
            }
            Members::Known { .. } => {}
        }
        let Some(key) = self.key(&member) else {
            return self.give_up("a member of the set is not understood");
        };
        let Members::Known { held, bits, count } = &mut self.members else {
            return;
        };
        *count += 1;
        if !bits.contains(&key.bits) {
            let at = bits.partition_point(|known| *known > key.bits);
            bits.insert(at, key.bits);
        }
        match member.device {
            None if member.is_nomatch => _ = held.insert(key, Held::Nomatch),
            None => _ = held.insert(key, Held::Member),
            Some(device) => match held.entry(key).or_insert_with(|| Held::Devices(Vec::new())) {
                Held::Devices(devices) => devices.push(DeviceMember {
                    is_nomatch: member.is_nomatch,
                    ..device
                }),
                Held::Member | Held::Nomatch => {}
            },
        }
    }

    fn key(&self, member: &Member) -> Option<Key> {
        let mut key = Key::default();
        let mut addrs = member.addrs.iter();
        let mut place = 0;
        for part in &self.parts {
            match part {
                Part::Address | Part::Network => {
                    let (addr, bits) = (*addrs.next()?)?;
                    let (addr, family) = number(addr);
                    if self.family != Some(family) {
                        return None;
                    }
                    let whole = whole(self.family);
                    let bits = match part {
                        Part::Network => bits.unwrap_or(whole),
                        _ if bits.is_some_and(|bits| bits != whole) => return None,
                        _ => self.netmask.unwrap_or(whole),
                    };
                    if bits > whole {
                        return None;
                    }
                    key.addrs[place] = masked(addr, bits, whole);
                    key.bits[place] = bits;
                    place += 1;
                }
                Part::Port => (key.proto, key.port) = (member.proto?, member.port?),
                Part::BarePort => key.port = member.port?,
                Part::Mark => key.mark = member.mark? & self.mark_mask,
                Part::Device => _ = member.device.as_ref()?,
                Part::Mac => {}
                Part::Set => return None,
            }
        }
        Some(key)
    }

    /// The prefix lengths of its members, in the order in which they are tried.
    pub fn bits(&self) -> &[[u8; 2]] {
        match &self.members {
            Members::Known { bits, .. } => bits,
            _ => &[],
        }
    }

    /// What there is by a key, whose addresses are masked here.
    pub fn held(&self, key: Key) -> Option<&Held> {
        match &self.members {
            Members::Known { held, .. } => held.get(&self.mask(key)),
            _ => None,
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let held = match &self.members {
            Members::Known { held, .. } => Some(held),
            _ => None,
        };
        held.into_iter().flat_map(HashMap::keys)
    }

    /// A key with its addresses masked by its prefix lengths.
    pub fn mask(&self, key: Key) -> Key {
        let whole = whole(self.family);
        let [first, second] = key.addrs;
        let [bits, second_bits] = key.bits;
        Key {
            addrs: [masked(first, bits, whole), masked(second, second_bits, whole)],
            ..key
        }
    }
}

/// The first `bits` of an address of `whole` bits.
fn masked(addr: u128, bits: u8, whole: u8) -> u128 {
    let gone = u32::from(whole.saturating_sub(bits));
    u128::MAX.checked_shl(gone).unwrap_or(0) & addr
}
