//! Targets that translate: `nf_nat.h`. Each has one of three layouts, by its family and revision.

use std::net::IpAddr;

use super::body::{Body, Options, prefix};

// `NF_NAT_RANGE_*`
const MAP_IPS: u32 = 1;
const PORTS: u32 = 1 << 1;
const RANDOM: u32 = 1 << 2;
const PERSISTENT: u32 = 1 << 3;
const RANDOM_FULLY: u32 = 1 << 4;
/// Ports begin at another number.
const OFFSET: u32 = 1 << 5;
const IS_NETMAP: u32 = 1 << 6;

/// What a packet gets.
struct Range {
    flags: u32,
    addrs: (IpAddr, IpAddr),
    ports: (u16, u16),
    /// The port that the first of these stands for.
    base: Option<u16>,
}

/// `struct nf_nat_ipv4_multi_range_compat`: one range.
fn of_v4(body: &Body<'_>) -> Option<Range> {
    if body.u32(0)? != 1 {
        return None;
    }
    Some(Range {
        flags: body.u32(4)?,
        addrs: (body.addr(8, false)?, body.addr(12, false)?),
        ports: (body.be16(16)?, body.be16(18)?),
        base: None,
    })
}

/// `struct nf_nat_range`, and `struct nf_nat_range2`, which has a port more.
fn of_any(body: &Body<'_>, is_v6: bool) -> Option<Range> {
    let flags = body.u32(0)?;
    Some(Range {
        flags,
        addrs: (body.addr(4, is_v6)?, body.addr(20, is_v6)?),
        ports: (body.be16(36)?, body.be16(38)?),
        base: match flags & OFFSET {
            0 => None,
            _ => Some(body.be16(40)?),
        },
    })
}

/// `DNAT`, `SNAT`, `MASQUERADE`, `REDIRECT`, `NETMAP`
pub(super) fn translation(
    body: &Body<'_>,
    name: &str,
    revision: u32,
    is_v6: bool,
    options: &mut Options,
) -> Option<()> {
    let range = match (name, revision) {
        ("DNAT", 1 | 2) => of_any(body, is_v6),
        (_, 0) if !is_v6 => of_v4(body),
        ("SNAT", 1) | ("MASQUERADE" | "REDIRECT" | "NETMAP", 0) => of_any(body, is_v6),
        _ => None,
    }?;
    match name {
        "NETMAP" => return netmap(&range, options),
        "DNAT" => to(&range, "--to-destination", options)?,
        "SNAT" => to(&range, "--to-source", options)?,
        _ if range.flags & (MAP_IPS | PERSISTENT) != 0 => return None,
        _ if range.flags & PORTS != 0 => options.put("--to-ports", ports(range.ports))?,
        _ => {}
    }
    let known = MAP_IPS | PORTS | RANDOM | PERSISTENT | RANDOM_FULLY;
    if range.flags & !known != 0 && (name, range.flags & !known) != ("DNAT", OFFSET) {
        return None;
    }
    for (bit, name) in [
        (RANDOM, "--random"),
        (RANDOM_FULLY, "--random-fully"),
        (PERSISTENT, "--persistent"),
    ] {
        if range.flags & bit != 0 {
            options.flag(name);
        }
    }
    Some(())
}

/// `10.0.0.5-10.0.0.9:80-90`, `:80`, `[fd00::1]:80`
fn to(range: &Range, name: &str, options: &mut Options) -> Option<()> {
    let (first, last) = range.addrs;
    let has_ports = range.flags & PORTS != 0;
    let mut text = String::new();
    if range.flags & MAP_IPS != 0 {
        let addrs = match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        text = match first.is_ipv6() && has_ports {
            true => format!("[{addrs}]"),
            false => addrs,
        };
    }
    if has_ports {
        text.push(':');
        text.push_str(&ports(range.ports));
        if let Some(base) = range.base {
            text.push_str(&format!("/{base}"));
        }
    }
    (!text.is_empty()).then_some(())?;
    options.put(name, text)
}

fn ports((first, last): (u16, u16)) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}

/// The addresses whose first and last these are.
fn netmap(range: &Range, options: &mut Options) -> Option<()> {
    if range.flags & !(MAP_IPS | IS_NETMAP) != 0 {
        return None;
    }
    let mask: IpAddr = match range.addrs {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            std::net::Ipv4Addr::from(!(first.to_bits() ^ last.to_bits())).into()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            std::net::Ipv6Addr::from(!(first.to_bits() ^ last.to_bits())).into()
        }
        _ => return None,
    };
    options.put("--to", format!("{}/{}", range.addrs.0, prefix(mask)?))
}
