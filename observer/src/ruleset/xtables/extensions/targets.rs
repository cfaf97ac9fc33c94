//! Targets that reject, mark, log and change packets: `xt_*.h` and `ipt_*.h` of their names.

use super::body::{Body, Options, named_bits};

/// `enum ipt_reject_with`, `enum ip6t_reject_with`: the number that there is no option for is that of an answer to a ping.
pub(super) fn reject(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    const V4: [&str; 9] = [
        "icmp-net-unreachable",
        "icmp-host-unreachable",
        "icmp-proto-unreachable",
        "icmp-port-unreachable",
        "",
        "icmp-net-prohibited",
        "icmp-host-prohibited",
        "tcp-reset",
        "icmp-admin-prohibited",
    ];
    const V6: [&str; 9] = [
        "icmp6-no-route",
        "icmp6-adm-prohibited",
        "",
        "icmp6-addr-unreachable",
        "icmp6-port-unreachable",
        "",
        "tcp-reset",
        "icmp6-policy-fail",
        "icmp6-reject-route",
    ];
    let names = if is_v6 { V6 } else { V4 };
    let name = names.get(body.u32(0)? as usize).filter(|name| !name.is_empty())?;
    options.put("--reject-with", name)
}

/// `struct xt_mark_tginfo2`
pub(super) fn mark(body: &Body<'_>, options: &mut Options) -> Option<()> {
    options.put("--set-xmark", format!("{:#x}/{:#x}", body.u32(0)?, body.u32(4)?))
}

/// `struct xt_connmark_tginfo1`, and `2`, which can shift, too: that is not put together.
pub(super) fn connmark(body: &Body<'_>, revision: u32, options: &mut Options) -> Option<()> {
    let (mark, mask, of_packet) = (body.u32(0)?, body.u32(4)?, body.u32(8)?);
    // Of the second the direction and the number of bits come before what is done.
    let mode = match revision {
        1 => body.u8(12)?,
        _ if body.u8(13)? == 0 => body.u8(14)?,
        _ => return None,
    };
    let name = match mode {
        0 => return options.put("--set-xmark", format!("{mark:#x}/{mask:#x}")),
        1 => "--save-mark",
        2 => "--restore-mark",
        _ => return None,
    };
    options.flag(name);
    options.put("--nfmask", format!("{of_packet:#x}"))?;
    options.put("--ctmask", format!("{mask:#x}"))
}

/// `struct xt_log_info`
pub(super) fn log(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const PREFIX_BYTES: usize = 30;
    const WARNING: u8 = 4;
    let prefix = body.text(2, PREFIX_BYTES)?;
    if !prefix.is_empty() {
        options.text(false, "--log-prefix", &prefix);
    }
    let level = body.u8(0)?;
    if level != WARNING {
        options.put("--log-level", level)?;
    }
    let names = [
        (1, "--log-tcp-sequence"),
        (2, "--log-tcp-options"),
        (4, "--log-ip-options"),
        (8, "--log-uid"),
        (0x20, "--log-macdecode"),
    ];
    named_bits(u32::from(body.u8(1)?), &names)?
        .into_iter()
        .for_each(|name| options.flag(name));
    Some(())
}

/// `struct xt_tcpmss_info`
pub(super) fn tcpmss(body: &Body<'_>, options: &mut Options) -> Option<()> {
    /// `XT_TCPMSS_CLAMP_PMTU`
    const CLAMP: u16 = 0xffff;
    match body.u16(0)? {
        CLAMP => options.flag("--clamp-mss-to-pmtu"),
        mss => options.put("--set-mss", mss)?,
    }
    Some(())
}

/// `struct ipt_TTL_info`, `struct ip6t_HL_info`
pub(super) fn ttl(body: &Body<'_>, name: &str, options: &mut Options) -> Option<()> {
    let what = ["set", "inc", "dec"].get(usize::from(body.u8(0)?))?;
    options.put(&format!("--{}-{what}", name.to_ascii_lowercase()), body.u8(1)?)
}

/// `struct xt_classify_target_info`
pub(super) fn classify(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let class = body.u32(0)?;
    options.put(
        "--set-class",
        format!("{:04x}:{:04x}", class >> 16, class & 0xffff),
    )
}

/// `struct xt_tee_tginfo`
pub(super) fn tee(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    const NAME_BYTES: usize = 16;
    options.put("--gateway", body.addr(0, is_v6)?)?;
    let device = body.text(16, NAME_BYTES)?;
    if device.is_empty() {
        return Some(());
    }
    device.bytes().all(|byte| byte.is_ascii_graphic()).then_some(())?;
    options.put("--oif", device)
}

/// `struct xt_NFQ_info_v3`
pub(super) fn nfqueue(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let (first, count) = (body.u16(0)?, body.u16(2)?);
    match count {
        0 => return None,
        1 => options.put("--queue-num", first)?,
        _ => options.put(
            "--queue-balance",
            format!("{first}:{}", first.checked_add(count - 1)?),
        )?,
    }
    let names = [(1, "--queue-bypass"), (2, "--queue-cpu-fanout")];
    named_bits(u32::from(body.u16(4)?), &names)?
        .into_iter()
        .for_each(|name| options.flag(name));
    Some(())
}

/// `struct xt_audit_info`
pub(super) fn audit(body: &Body<'_>, options: &mut Options) -> Option<()> {
    options.put(
        "--type",
        ["accept", "drop", "reject"].get(usize::from(body.u8(0)?))?,
    )
}

// `XT_CT_*`
const NOTRACK: u16 = 1;
const NOTRACK_ALIAS: u16 = 2;

/// Whether it was written as `-j NOTRACK`.
pub(super) fn is_notrack(body: &Body<'_>) -> Option<bool> {
    Some(body.u16(0)? == NOTRACK | NOTRACK_ALIAS)
}

/// `struct xt_ct_target_info_v1`: what it says of events and of a zone for one direction is not put together.
pub(super) fn ct(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const ZONE_MARK: u16 = 1 << 4;
    const HELPER_BYTES: usize = 16;
    const TIMEOUT_BYTES: usize = 32;
    let (flags, zone) = (body.u16(0)?, body.u16(2)?);
    if flags & !(NOTRACK | ZONE_MARK) != 0 || body.u32(4)? != 0 || body.u32(8)? != 0 {
        return None;
    }
    if flags & NOTRACK != 0 {
        options.flag("--notrack");
    }
    for (name, at, bytes) in [("--helper", 12, HELPER_BYTES), ("--timeout", 28, TIMEOUT_BYTES)] {
        let text = body.text(at, bytes)?;
        if !text.is_empty() {
            text.bytes().all(|byte| byte.is_ascii_graphic()).then_some(())?;
            options.put(name, text)?;
        }
    }
    if flags & ZONE_MARK != 0 {
        options.put("--zone", "mark")?;
    } else if zone != 0 {
        options.put("--zone", zone)?;
    }
    Some(())
}

/// `struct xt_tproxy_target_info_v1`
pub(super) fn tproxy(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    options.put("--on-port", body.be16(24)?)?;
    options.put("--on-ip", body.addr(8, is_v6)?)?;
    options.put(
        "--tproxy-mark",
        format!("{:#x}/{:#x}", body.u32(4)?, body.u32(0)?),
    )
}

/// `struct xt_synproxy_info`
pub(super) fn synproxy(body: &Body<'_>, options: &mut Options) -> Option<()> {
    const MSS: u8 = 1;
    const WSCALE: u8 = 2;
    const SACK: u8 = 4;
    const TIMESTAMP: u8 = 8;
    let flags = body.u8(0)?;
    if flags & !(MSS | WSCALE | SACK | TIMESTAMP) != 0 {
        return None;
    }
    if flags & SACK != 0 {
        options.flag("--sack-perm");
    }
    if flags & TIMESTAMP != 0 {
        options.flag("--timestamp");
    }
    if flags & WSCALE != 0 {
        options.put("--wscale", body.u8(1)?)?;
    }
    if flags & MSS != 0 {
        options.put("--mss", body.u16(2)?)?;
    }
    Some(())
}
