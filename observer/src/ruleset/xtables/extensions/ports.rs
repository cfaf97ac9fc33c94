//! Headers of transport protocols: `xt_tcpudp.h`, `xt_multiport.h`, `ip_tables.h` (`struct ipt_icmp`), `ip6_tables.h`
//! (`struct ip6t_icmp`), `xt_esp.h`, `ipt_ah.h`.

use super::body::{Body, Options, span};
use crate::ruleset::xtables::save::flag_names;

/// Spans of ports: unless it is all of them and not negated.
fn port(body: &Body<'_>, at: usize, negated: bool, name: &str, options: &mut Options) -> Option<()> {
    let (first, last) = (body.u16(at)?, body.u16(at + 2)?);
    if (first, last) == (0, u16::MAX) {
        // Never true: no tool writes it.
        return (!negated).then_some(());
    }
    options.signed(negated, name, span(&first, &last))
}

/// `struct xt_tcp`
pub(super) fn tcp(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let inverted = body.u8(11).filter(|flags| *flags <= 0xf)?;
    port(body, 0, inverted & 1 != 0, "--sport", options)?;
    port(body, 4, inverted & 2 != 0, "--dport", options)?;
    let option = body.u8(8)?;
    if option != 0 || inverted & 8 != 0 {
        options.signed(inverted & 8 != 0, "--tcp-option", option)?;
    }
    let (mask, set) = (body.u8(9)?, body.u8(10)?);
    flags(mask, set, inverted & 4 != 0, options)
}

/// `--tcp-flags`, unless none is asked for.
fn flags(mask: u8, set: u8, negated: bool, options: &mut Options) -> Option<()> {
    const ALL: u8 = 0x3f;
    if mask == 0 && set == 0 && !negated {
        return Some(());
    }
    if (mask | set) & !ALL != 0 {
        return None;
    }
    options.words(negated, "--tcp-flags", &[&flag_names(mask), &flag_names(set)])
}

/// `struct xt_udp`
pub(super) fn udp(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let inverted = body.u8(8).filter(|flags| *flags <= 3)?;
    port(body, 0, inverted & 1 != 0, "--sport", options)?;
    port(body, 4, inverted & 2 != 0, "--dport", options)
}

/// `struct xt_sctp_info`: which chunks there are (256 bytes behind the ports) is not put together.
pub(super) fn sctp(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let (asked, inverted) = (body.u32(284)?, body.u32(288)?);
    if (asked | inverted) & !3 != 0 {
        return None;
    }
    for (bit, name, at) in [(1, "--sport", 4), (2, "--dport", 0)] {
        if asked & bit != 0 {
            let (first, last) = (body.u16(at)?, body.u16(at + 2)?);
            options.signed(inverted & bit != 0, name, span(&first, &last))?;
        }
    }
    Some(())
}

/// `struct ip6t_rt`: the addresses in the header are not put together.
pub(super) fn rt(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const KIND: u8 = 1;
    const SEGMENTS: u8 = 2;
    let (asked, inverted) = (body.u8(16)?, body.u8(17)?);
    if (asked | inverted) & !(KIND | SEGMENTS) != 0 {
        return None;
    }
    if asked & KIND != 0 {
        options.signed(inverted & KIND != 0, "--rt-type", body.u32(0)?)?;
    }
    if asked & SEGMENTS != 0 {
        let (least, most) = (body.u32(4)?, body.u32(8)?);
        options.signed(inverted & SEGMENTS != 0, "--rt-segsleft", span(&least, &most))?;
    }
    Some(())
}

/// Type, first and last code, whether it is negated. 255 is any type.
pub(super) fn icmp(body: &Body<'_>, name: &str, options: &mut Options) -> Option<()> {
    const ANY: u8 = 0xff;
    let (kind, first, last) = (body.u8(0)?, body.u8(1)?, body.u8(2)?);
    let negated = match body.u8(3)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let text = match (kind, first, last) {
        (ANY, 0, ANY) if !negated && name == "--icmp-type" => "any".to_owned(),
        (ANY, ..) => return None,
        (_, 0, ANY) => kind.to_string(),
        _ if first == last => format!("{kind}/{first}"),
        _ => return None,
    };
    options.signed(negated, name, text)
}

/// `struct xt_multiport_v1`: of two numbers of which the first is marked the second ends a span.
pub(super) fn multiport(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const PORTS: usize = 2;
    const MARKS: usize = 32;
    const MOST: usize = 15;
    let name = match body.u8(0)? {
        0 => "--sports",
        1 => "--dports",
        2 => "--ports",
        _ => return None,
    };
    let count = usize::from(body.u8(1)?);
    if count == 0 || count > MOST {
        return None;
    }
    let negated = body.u8(47)? != 0;
    let mut spans = Vec::new();
    let mut at = 0;
    while at < count {
        let first = body.u16(PORTS + 2 * at)?;
        let is_span = body.u8(MARKS + at)? != 0;
        if is_span {
            at += 1;
            if at >= count {
                return None;
            }
            spans.push(format!("{first}:{}", body.u16(PORTS + 2 * at)?));
        } else {
            spans.push(first.to_string());
        }
        at += 1;
    }
    options.signed(negated, name, spans.join(","))
}

/// `struct xt_esp`, `struct ipt_ah`: first and last, and whether they are negated.
pub(super) fn spis(body: &Body<'_>, name: &str, options: &mut Options) -> Option<()> {
    let (first, last) = (body.u32(0)?, body.u32(4)?);
    let negated = match body.u8(8)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    if (first, last) == (0, u32::MAX) {
        return (!negated).then_some(());
    }
    options.signed(negated, name, span(&first, &last))
}
