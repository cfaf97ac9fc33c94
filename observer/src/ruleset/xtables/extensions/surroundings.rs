//! Where a packet comes from and goes to beyond its own headers: kinds of addresses, bridges' ports, sockets, processors.

use super::body::{Body, Options, named_bits};

/// `struct xt_addrtype_info_v1`
pub(super) fn addrtype(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const KINDS: [(u32, &str); 12] = [
        (1, "UNSPEC"),
        (1 << 1, "UNICAST"),
        (1 << 2, "LOCAL"),
        (1 << 3, "BROADCAST"),
        (1 << 4, "ANYCAST"),
        (1 << 5, "MULTICAST"),
        (1 << 6, "BLACKHOLE"),
        (1 << 7, "UNREACHABLE"),
        (1 << 8, "PROHIBIT"),
        (1 << 9, "THROW"),
        (1 << 10, "NAT"),
        (1 << 11, "XRESOLVE"),
    ];
    let flags = body.u32(4).filter(|flags| *flags <= 0xf)?;
    for (name, at, inverted) in [("--src-type", 0, 1), ("--dst-type", 2, 2)] {
        let kinds = named_bits(u32::from(body.u16(at)?), &KINDS)?;
        match kinds.is_empty() {
            false => options.signed(flags & inverted != 0, name, kinds.join(","))?,
            true if flags & inverted != 0 => return None,
            true => {}
        }
    }
    if flags & 4 != 0 {
        options.flag("--limit-iface-in");
    }
    if flags & 8 != 0 {
        options.flag("--limit-iface-out");
    }
    Some(())
}

/// `struct xt_physdev_info`: names with a `+` are kept with it.
pub(super) fn physdev(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const NAME_BYTES: usize = 16;
    const IN: u8 = 1;
    const OUT: u8 = 2;
    const IS_BRIDGED: u8 = 4;
    const IS_IN: u8 = 8;
    const IS_OUT: u8 = 16;
    let (inverted, what) = (body.u8(64)?, body.u8(65)?);
    if (inverted | what) & !(IN | OUT | IS_BRIDGED | IS_IN | IS_OUT) != 0 {
        return None;
    }
    for (bit, name, device) in [
        (IS_IN, "--physdev-is-in", None),
        (IN, "--physdev-in", Some(0)),
        (IS_OUT, "--physdev-is-out", None),
        (OUT, "--physdev-out", Some(32)),
        (IS_BRIDGED, "--physdev-is-bridged", None),
    ] {
        let negated = inverted & bit != 0;
        match device {
            _ if what & bit == 0 => {}
            None => options.signed_flag(negated, name),
            Some(at) => {
                let device = body.text(at, NAME_BYTES)?;
                let is_word = !device.is_empty() && device.bytes().all(|byte| byte.is_ascii_graphic());
                is_word.then_some(())?;
                options.signed(negated, name, device)?;
            }
        }
    }
    Some(())
}

/// `struct xt_owner_match_info`
pub(super) fn owner(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const UID: u8 = 1;
    const GID: u8 = 2;
    const SOCKET: u8 = 4;
    const SUPPLEMENTARY: u8 = 8;
    let (what, inverted) = (body.u8(16)?, body.u8(17)?);
    if (what | inverted) & !(UID | GID | SOCKET | SUPPLEMENTARY) != 0 {
        return None;
    }
    if what & SOCKET != 0 {
        options.signed_flag(inverted & SOCKET != 0, "--socket-exists");
    }
    for (bit, name, at) in [(UID, "--uid-owner", 0), (GID, "--gid-owner", 8)] {
        if what & bit != 0 {
            let (first, last) = (body.u32(at)?, body.u32(at + 4)?);
            let text = match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            options.signed(inverted & bit != 0, name, text)?;
        }
    }
    if what & SUPPLEMENTARY != 0 {
        options.signed_flag(inverted & SUPPLEMENTARY != 0, "--suppl-groups");
    }
    Some(())
}

/// `struct xt_socket_mtinfo1` to `3`: each has a flag more than the one before; the first revision has nothing.
pub(super) fn socket(body: &Body<'_>, revision: u32, options: &mut Options) -> Option<()> {
    if revision == 0 {
        return Some(());
    }
    let flags = u32::from(body.u8(0)?);
    let names = [(1, "--transparent"), (2, "--nowildcard"), (4, "--restore-skmark")];
    named_bits(flags, &names)?
        .into_iter()
        .for_each(|name| options.flag(name));
    Some(())
}

/// `struct xt_rpfilter_info`
pub(super) fn rpfilter(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let names = [
        (1, "--loose"),
        (2, "--validmark"),
        (4, "--accept-local"),
        (8, "--invert"),
    ];
    named_bits(u32::from(body.u8(0)?), &names)?
        .into_iter()
        .for_each(|name| options.flag(name));
    Some(())
}

/// `struct xt_cpu_info`
pub(super) fn cpu(body: &Body<'_>, options: &mut Options) -> Option<()> {
    options.signed(body.u32(4)? != 0, "--cpu", body.u32(0)?)
}
