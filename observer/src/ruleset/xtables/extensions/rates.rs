//! Matches that count, draw lots or remember: `xt_limit.h`, `xt_hashlimit.h`, `xt_statistic.h`, `xt_recent.h`, `xt_quota.h`.

use super::body::{Body, Options, named_bits};

/// `XT_LIMIT_SCALE`: of a second.
const SCALE: u64 = 10_000;
/// `XT_HASHLIMIT_SCALE_v2`
const SCALE_OF_HASHES: u64 = 1_000_000;
/// What the tools take if none is given.
const BURST: u64 = 5;
const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3600, "hour"), (60, "min"), (1, "sec")];

/// A time between two packets as a rate in the largest unit that says it well enough, and that unit in seconds.
fn rate(period: u64, scale: u64) -> Option<(String, u64)> {
    if period == 0 {
        return None;
    }
    let mut found = UNITS[0];
    for (seconds, name) in UNITS.into_iter().skip(1) {
        let unit = seconds * scale;
        if period > unit || unit / period < unit % period {
            break;
        }
        found = (seconds, name);
    }
    let (seconds, name) = found;
    Some((format!("{}/{name}", seconds * scale / period), seconds))
}

/// `struct xt_rateinfo`
pub(super) fn limit(body: &Body<'_>, options: &mut Options) -> Option<()> {
    limited(u64::from(body.u32(0)?), u64::from(body.u32(4)?), options)
}

/// So many packets in so many seconds.
pub(super) fn limit_of(packets: u64, seconds: u64, burst: u64, options: &mut Options) -> Option<()> {
    let period = SCALE.checked_mul(seconds)?.checked_div(packets)?;
    limited(period, burst, options)
}

fn limited(period: u64, burst: u64, options: &mut Options) -> Option<()> {
    options.put("--limit", rate(period, SCALE)?.0)?;
    if burst != BURST {
        options.put("--limit-burst", burst)?;
    }
    Some(())
}

/// `struct xt_hashlimit_mtinfo3`
pub(super) fn hashlimit(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    const NAME_BYTES: usize = 255;
    const MODES: [(u32, &str); 4] = [(4, "srcip"), (8, "srcport"), (1, "dstip"), (2, "dstport")];
    const ABOVE: u32 = 16;
    /// What the kernel takes if none is given.
    const GC_INTERVAL_MS: u32 = 1000;
    let (average, burst, mode) = (body.u64(256)?, body.u64(264)?, body.u32(272)?);
    let (text, unit_seconds) = rate(average, SCALE_OF_HASHES)?;
    let name = match mode & ABOVE {
        0 => "--hashlimit-upto",
        _ => "--hashlimit-above",
    };
    options.put(name, text)?;
    options.put("--hashlimit-burst", burst)?;
    let modes = named_bits(mode & !ABOVE, &MODES)?;
    if !modes.is_empty() {
        options.put("--hashlimit-mode", modes.join(","))?;
    }
    let name = body.text(0, NAME_BYTES)?;
    is_word(&name).then_some(())?;
    options.put("--hashlimit-name", name)?;
    let expire = body.u32(288)?;
    let expected = unit_seconds.checked_mul(1000)?;
    for (name, value, is_shown) in [
        ("--hashlimit-htable-size", body.u32(276)?, body.u32(276)? != 0),
        ("--hashlimit-htable-max", body.u32(280)?, body.u32(280)? != 0),
        (
            "--hashlimit-htable-gcinterval",
            body.u32(284)?,
            body.u32(284)? != GC_INTERVAL_MS,
        ),
        ("--hashlimit-htable-expire", expire, u64::from(expire) != expected),
    ] {
        if is_shown {
            options.put(name, value)?;
        }
    }
    let whole = if is_v6 { 128 } else { 32 };
    for (name, at) in [("--hashlimit-srcmask", 296), ("--hashlimit-dstmask", 297)] {
        let mask = body.u8(at)?;
        if mask != whole {
            options.put(name, mask)?;
        }
    }
    Some(())
}

/// Printed without quotes, it is one word.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// `struct xt_statistic_info`
pub(super) fn statistic(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let negated = match body.u16(2)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    match body.u16(0)? {
        0 => {
            options.put("--mode", "random")?;
            let share = f64::from(body.u32(4)?) / f64::from(1_u32 << 31);
            options.signed(negated, "--probability", format!("{share:.11}"))
        }
        1 => {
            options.put("--mode", "nth")?;
            options.signed(negated, "--every", u64::from(body.u32(4)?) + 1)?;
            options.put("--packet", body.u32(8)?)
        }
        _ => None,
    }
}

/// `struct xt_recent_mtinfo_v1`
pub(super) fn recent(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    const NAME_BYTES: usize = 200;
    const TTL: u8 = 16;
    const REAP: u8 = 32;
    let what = body.u8(8)?;
    let name = match what & !(TTL | REAP) {
        1 => "--rcheck",
        2 => "--set",
        4 => "--update",
        8 => "--remove",
        _ => return None,
    };
    options.signed_flag(body.u8(9)? != 0, name);
    if body.u32(0)? != 0 {
        options.put("--seconds", body.u32(0)?)?;
    }
    if what & REAP != 0 {
        options.flag("--reap");
    }
    if body.u32(4)? != 0 {
        options.put("--hitcount", body.u32(4)?)?;
    }
    if what & TTL != 0 {
        options.flag("--rttl");
    }
    let list = body.text(10, NAME_BYTES)?;
    is_word(&list).then_some(())?;
    options.put("--name", list)?;
    options.put("--mask", body.addr(212, is_v6)?)?;
    options.flag(match body.u8(210)? {
        0 => "--rsource",
        1 => "--rdest",
        _ => return None,
    });
    Some(())
}

/// `struct xt_quota_info`
pub(super) fn quota(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let negated = match body.u32(0)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    options.signed(negated, "--quota", body.u64(8)?)
}
