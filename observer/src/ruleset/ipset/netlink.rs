//! Sets as the kernel lists them (`ip_set_dump_do`, net/netfilter/ipset/ip_set_core.c): a set may take several messages, each
//! with its name.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::kind::Part;
use super::members::Member;
use super::{MOST_MEMBERS, Set, Sets};
use crate::kernel::netlink::{Batch, Socket, attributes, messages};
use crate::ruleset::xtables::save::Family;

/// `NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST`
const LIST: u16 = 6 << 8 | 7;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const REQUEST_DUMP: u16 = 1 | 0x300;
/// `struct nfgenmsg`: family, version, resource id.
const NFGENMSG_BYTES: usize = 4;
/// The oldest protocol that kernels speak; those of Linux 3.10 speak no other.
const PROTOCOL: u8 = 6;

// include/uapi/linux/netfilter/ipset/ip_set.h: of a message.
const ATTR_PROTOCOL: u16 = 1;
const ATTR_SETNAME: u16 = 2;
const ATTR_TYPENAME: u16 = 3;
const ATTR_FAMILY: u16 = 5;
const ATTR_DATA: u16 = 7;
const ATTR_ADT: u16 = 8;
// Of a set and of a member.
const ATTR_IP: u16 = 1;
const ATTR_CIDR: u16 = 3;
const ATTR_PORT: u16 = 4;
const ATTR_TIMEOUT: u16 = 6;
const ATTR_PROTO: u16 = 7;
const ATTR_CADT_FLAGS: u16 = 8;
const ATTR_MARK: u16 = 10;
const ATTR_MARKMASK: u16 = 11;
const ATTR_BITMASK: u16 = 12;
const ATTR_NETMASK: u16 = 20;
const ATTR_NAME: u16 = 18;
const ATTR_IP2: u16 = 20;
const ATTR_CIDR2: u16 = 21;
const ATTR_IFACE: u16 = 23;
const IPADDR_IPV4: u16 = 1;
const IPADDR_IPV6: u16 = 2;

const FLAG_PHYSDEV: u32 = 1 << 1;
const FLAG_NOMATCH: u32 = 1 << 2;
const FLAG_WITH_COUNTERS: u32 = 1 << 3;
const FLAG_IFACE_WILDCARD: u32 = 1 << 7;

/// Lists the sets of the network namespace that this thread is in.
///
/// # Errors
/// The kernel has no ipset, or it is not allowed.
pub fn in_force() -> io::Result<Sets> {
    let mut sets = Sets::default();
    sets.add(list(None, MOST_MEMBERS)?.sets);
    Ok(sets)
}

/// Lists the sets with these names, and those of the lists among them, of the network namespace that this thread is in. Of more
/// than `most` members the rest is not known.
///
/// # Errors
/// The kernel has no ipset, or no such set, or it is not allowed.
pub fn named(names: &[String], most: usize) -> io::Result<Sets> {
    let mut sets = Sets::default();
    let mut left = most;
    let mut asked: Vec<String> = names.to_vec();
    // The kernel allows no list in a list.
    for _ in 0..2 {
        for name in &asked {
            let listing = list(Some(name), left)?;
            left = left.saturating_sub(listing.members);
            sets.add(listing.sets);
        }
        asked = sets.missing_of_lists();
    }
    Ok(sets)
}

fn list(name: Option<&str>, most: usize) -> io::Result<Listing> {
    let mut ask = Batch::default();
    ask.message(LIST, REQUEST_DUMP, 1, &[0; NFGENMSG_BYTES], |attributes| {
        attributes.bytes(ATTR_PROTOCOL, &[PROTOCOL]);
        if let Some(name) = name {
            attributes.bytes(ATTR_SETNAME, &[name.as_bytes(), b"\0"].concat());
        }
    });
    let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
    socket.send(&ask)?;
    let mut listing = Listing {
        most,
        ..Listing::default()
    };
    while !listing.take(socket.receive()?)? {}
    Ok(listing)
}

/// What has been listed so far.
pub(super) struct Listing {
    pub(super) sets: Vec<Set>,
    members: usize,
    /// More members are not read.
    most: usize,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            members: 0,
            most: MOST_MEMBERS,
        }
    }
}

impl Listing {
    /// Takes a datagram; whether it was the last one.
    ///
    /// # Errors
    /// What the kernel says instead.
    pub(super) fn take(&mut self, datagram: &[u8]) -> io::Result<bool> {
        for message in messages(datagram) {
            if let Some(error) = message.error().filter(|error| *error != 0) {
                return Err(io::Error::from_raw_os_error(error));
            }
            if message.is_done() {
                return Ok(true);
            }
            let body = message.payload.get(NFGENMSG_BYTES..).unwrap_or_default();
            self.message(body).ok_or(ErrorKind::InvalidData)?;
            if self.members > self.most {
                if let Some(set) = self.sets.last_mut() {
                    set.give_up("the set has more members than are read");
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn message(&mut self, body: &[u8]) -> Option<()> {
        let of = |kind| find(body, kind);
        let name = string(of(ATTR_SETNAME)?)?;
        if self.sets.last().is_none_or(|last| *last.name != *name) {
            self.sets.push(begin(&name, body)?);
        }
        let set = self.sets.last_mut()?;
        for (kind, member) in of(ATTR_ADT).into_iter().flat_map(attributes) {
            if kind == ATTR_DATA {
                self.members += 1;
                match read(&set.parts, member) {
                    Some(member) => set.add(member),
                    None => set.give_up("a member of the set is not understood"),
                }
            }
        }
        Some(())
    }
}

/// A set from the first message about it.
fn begin(name: &str, body: &[u8]) -> Option<Set> {
    let type_name = string(find(body, ATTR_TYPENAME)?)?;
    let family = match i32::from(*find(body, ATTR_FAMILY)?.first()?) {
        libc::AF_INET => Some(Family::Ip),
        libc::AF_INET6 => Some(Family::Ip6),
        _ => None,
    };
    let mut set = Set::new(name, &type_name, family);
    let (mut netmask, mut has_bitmask) = (None, false);
    for (kind, value) in find(body, ATTR_DATA).into_iter().flat_map(attributes) {
        match kind {
            ATTR_NETMASK => netmask = value.first().copied(),
            ATTR_BITMASK => has_bitmask = true,
            // The kernel sends this number in its own byte order, and the others most significant first.
            ATTR_MARKMASK => set.mark_mask = u32::from_ne_bytes(value.try_into().ok()?),
            ATTR_TIMEOUT => set.has_timeout = true,
            ATTR_CADT_FLAGS => set.has_counters = be32(value)? & FLAG_WITH_COUNTERS != 0,
            _ => {}
        }
    }
    match netmask {
        Some(bits) => set.mask_addresses(bits),
        None if has_bitmask => set.give_up("the set masks addresses in a way that is not known"),
        None => {}
    }
    Some(set)
}

fn read(parts: &[Part], body: &[u8]) -> Option<Member> {
    let mut member = Member::default();
    let mut bits = [None; 2];
    for (kind, value) in attributes(body) {
        match kind {
            ATTR_IP => member.addrs[0] = Some((address(value)?, None)),
            ATTR_IP2 => member.addrs[1] = Some((address(value)?, None)),
            ATTR_CIDR => bits[0] = Some(*value.first()?),
            ATTR_CIDR2 => bits[1] = Some(*value.first()?),
            ATTR_PORT => member.port = Some(u16::from_be_bytes(value.try_into().ok()?)),
            ATTR_PROTO => member.proto = Some(*value.first()?),
            ATTR_MARK => member.mark = Some(be32(value)?),
            ATTR_NAME => member.set = Some(string(value)?.into()),
            ATTR_IFACE => {
                member.device.get_or_insert_default().device = string(value)?.into();
            }
            ATTR_CADT_FLAGS => {
                let flags = be32(value)?;
                member.is_nomatch = flags & FLAG_NOMATCH != 0;
                if parts.contains(&Part::Device) {
                    let device = member.device.get_or_insert_default();
                    device.is_physical = flags & FLAG_PHYSDEV != 0;
                    device.is_prefix = flags & FLAG_IFACE_WILDCARD != 0;
                }
            }
            _ => {}
        }
    }
    for (addr, bits) in member.addrs.iter_mut().zip(bits) {
        if let Some((_, of_addr)) = addr {
            *of_addr = bits;
        }
    }
    Some(member)
}

fn find(body: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(body)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let (kind, bytes) = attributes(value).next()?;
    match kind {
        IPADDR_IPV4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        IPADDR_IPV6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn string(value: &[u8]) -> Option<String> {
    let text = value.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}
