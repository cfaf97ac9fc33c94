//! What a packet itself has, and comments.

use super::body::{Body, Options, span};

/// `struct xt_comment_info`
pub(super) fn comment(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const BYTES: usize = 256;
    options.text(false, "--comment", &body.text(0, BYTES)?);
    Some(())
}

/// `struct xt_mark_mtinfo1`, `struct xt_connmark_mtinfo1`
pub(super) fn mark(body: &Body<'_>, options: &mut Options) -> Option<()> {
    options.signed(body.u8(8)? != 0, "--mark", masked(body.u32(0)?, body.u32(4)?))
}

/// `0x1`, `0x4000/0x4000`
pub(super) fn masked(value: u32, mask: u32) -> String {
    match mask {
        u32::MAX => format!("{value:#x}"),
        _ => format!("{value:#x}/{mask:#x}"),
    }
}

/// `struct xt_iprange_mtinfo`
pub(super) fn iprange(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    const SRC: u8 = 1;
    const DST: u8 = 2;
    const SRC_INVERTED: u8 = 1 << 4;
    const DST_INVERTED: u8 = 1 << 5;
    let flags = body.u8(64)?;
    if flags & !(SRC | DST | SRC_INVERTED | DST_INVERTED) != 0 {
        return None;
    }
    for (bit, inverted, name, at) in [
        (SRC, SRC_INVERTED, "--src-range", 0),
        (DST, DST_INVERTED, "--dst-range", 32),
    ] {
        if flags & bit != 0 {
            let (first, last) = (body.addr(at, is_v6)?, body.addr(at + 16, is_v6)?);
            options.signed(flags & inverted != 0, name, format!("{first}-{last}"))?;
        }
    }
    Some(())
}

/// `struct xt_length_info`
pub(super) fn length(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let (least, most) = (body.u16(0)?, body.u16(2)?);
    options.signed(body.u8(4)? != 0, "--length", span(&least, &most))
}

/// `struct xt_pkttype_info`
pub(super) fn pkttype(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let name = ["unicast", "broadcast", "multicast"].get(body.u32(0)? as usize)?;
    options.signed(body.u32(4)? != 0, "--pkt-type", name)
}

/// `struct ipt_ttl_info`, `struct ip6t_hl_info`
pub(super) fn ttl(body: &Body<'_>, name: &str, options: &mut Options) -> Option<()> {
    let (negated, relation) = match body.u8(0)? {
        0 => (false, "eq"),
        1 => (true, "eq"),
        2 => (false, "lt"),
        3 => (false, "gt"),
        _ => return None,
    };
    options.signed(negated, &format!("--{name}-{relation}"), body.u8(1)?)
}

/// `struct xt_dscp_info`
pub(super) fn dscp(body: &Body<'_>, options: &mut Options) -> Option<()> {
    options.signed(body.u8(1)? != 0, "--dscp", format!("{:#04x}", body.u8(0)?))
}

/// `struct xt_tos_match_info`
pub(super) fn tos(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let (mask, value) = (body.u8(0)?, body.u8(1)?);
    options.signed(body.u8(2)? != 0, "--tos", format!("{value:#04x}/{mask:#04x}"))
}

/// `struct xt_ecn_info`
pub(super) fn ecn(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const CWR: u8 = 0x20;
    const ECE: u8 = 0x10;
    const OF_IP: u8 = 1;
    let (operation, inverted) = (body.u8(0)?, body.u8(1)?);
    if (operation | inverted) & !(CWR | ECE | OF_IP) != 0 {
        return None;
    }
    if operation & ECE != 0 {
        options.signed_flag(inverted & ECE != 0, "--ecn-tcp-ece");
    }
    if operation & CWR != 0 {
        options.signed_flag(inverted & CWR != 0, "--ecn-tcp-cwr");
    }
    if operation & OF_IP != 0 {
        options.signed(inverted & OF_IP != 0, "--ecn-ip-ect", body.u8(2)?)?;
    }
    Some(())
}

/// `struct xt_tcpmss_match_info`
pub(super) fn tcpmss(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let (least, most) = (body.u16(0)?, body.u16(2)?);
    options.signed(body.u8(4)? != 0, "--mss", span(&least, &most))
}

/// `struct xt_mac_info`
pub(super) fn mac(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let bytes = body.0.get(..6)?;
    let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    options.signed(body.u32(8)? != 0, "--mac-source", text.join(":"))
}
