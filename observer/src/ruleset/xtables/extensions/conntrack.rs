//! What conntrack knows: `xt_conntrack.h`, `xt_connlimit.h`, `xt_connbytes.h`, `xt_helper.h`.

use std::net::IpAddr;

use super::body::{Body, Options, named_bits, prefix, span};

// `struct xt_conntrack_mtinfo3`: four pairs of an address and its mask, of 16 bytes each.
const EXPIRES: usize = 128;
const PROTOCOL: usize = 136;
const PORTS: usize = 138;
const WHAT: usize = 146;
const INVERTED: usize = 148;
const STATES: usize = 150;
const STATUS: usize = 152;
const PORTS_HIGH: usize = 154;

// `XT_CONNTRACK_*`
const STATE: u16 = 1;
const PROTO: u16 = 1 << 1;
const ADDRESSES: [(u16, &str, usize); 4] = [
    (1 << 2, "--ctorigsrc", 0),
    (1 << 3, "--ctorigdst", 32),
    (1 << 4, "--ctreplsrc", 64),
    (1 << 5, "--ctrepldst", 96),
];
const WITH_STATUS: u16 = 1 << 6;
const WITH_EXPIRES: u16 = 1 << 7;
const WITH_PORTS: [(u16, &str); 4] = [
    (1 << 8, "--ctorigsrcport"),
    (1 << 9, "--ctorigdstport"),
    (1 << 10, "--ctreplsrcport"),
    (1 << 11, "--ctrepldstport"),
];
const DIRECTION: u16 = 1 << 12;
/// It was written as `-m state`.
const STATE_ALIAS: u16 = 1 << 13;

/// `XT_CONNTRACK_STATE_*`, in the order in which the tools print them.
const STATE_NAMES: [(u32, &str); 7] = [
    (1, "INVALID"),
    (1 << 3, "NEW"),
    (1 << 2, "RELATED"),
    (1 << 1, "ESTABLISHED"),
    (1 << 8, "UNTRACKED"),
    (1 << 6, "SNAT"),
    (1 << 7, "DNAT"),
];
/// `IPS_*`
const STATUS_NAMES: [(u32, &str); 4] = [
    (1, "EXPECTED"),
    (1 << 1, "SEEN_REPLY"),
    (1 << 2, "ASSURED"),
    (1 << 3, "CONFIRMED"),
];

/// Whether it is the match `state`.
pub(super) fn is_state(body: &Body<'_>) -> Option<bool> {
    Some(body.u16(WHAT)? & STATE_ALIAS != 0)
}

/// `struct xt_conntrack_mtinfo3`
pub(super) fn conntrack(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    let (what, inverted) = (body.u16(WHAT)?, body.u16(INVERTED)?);
    if what >= STATE_ALIAS << 1 {
        return None;
    }
    if what & STATE != 0 {
        let names = named_bits(u32::from(body.u16(STATES)?), &STATE_NAMES)?;
        let name = if is_state(body)? { "--state" } else { "--ctstate" };
        (!names.is_empty()).then_some(())?;
        options.signed(inverted & STATE != 0, name, names.join(","))?;
    }
    if is_state(body)? {
        return (what & !STATE_ALIAS == STATE).then_some(());
    }
    if what & PROTO != 0 {
        options.signed(inverted & PROTO != 0, "--ctproto", body.u16(PROTOCOL)?)?;
    }
    for (bit, name, at) in ADDRESSES.into_iter().filter(|(bit, ..)| what & bit != 0) {
        options.signed(inverted & bit != 0, name, network(body, at, is_v6)?)?;
    }
    for (index, (bit, name)) in WITH_PORTS
        .into_iter()
        .enumerate()
        .filter(|(_, (bit, _))| what & bit != 0)
    {
        let (first, last) = (body.u16(PORTS + 2 * index)?, body.u16(PORTS_HIGH + 2 * index)?);
        options.signed(inverted & bit != 0, name, span(&first, &last))?;
    }
    if what & WITH_STATUS != 0 {
        let names = named_bits(u32::from(body.u16(STATUS)?), &STATUS_NAMES)?;
        let text = match names.is_empty() {
            true => "NONE".to_owned(),
            false => names.join(","),
        };
        options.signed(inverted & WITH_STATUS != 0, "--ctstatus", text)?;
    }
    if what & WITH_EXPIRES != 0 {
        let (least, most) = (body.u32(EXPIRES)?, body.u32(EXPIRES + 4)?);
        options.signed(inverted & WITH_EXPIRES != 0, "--ctexpire", span(&least, &most))?;
    }
    if what & DIRECTION != 0 {
        // The kernel inverts it, and has no other number for the other direction.
        let is_reply = inverted & DIRECTION != 0;
        options.put("--ctdir", if is_reply { "REPLY" } else { "ORIGINAL" })?;
    }
    Some(())
}

/// `10.0.0.0/8`; a whole address without its mask.
fn network(body: &Body<'_>, at: usize, is_v6: bool) -> Option<String> {
    let (addr, mask) = (body.addr(at, is_v6)?, body.addr(at + 16, is_v6)?);
    let bits = prefix(mask)?;
    Some(match bits {
        32 if !is_v6 => addr.to_string(),
        128 => addr.to_string(),
        _ => format!("{addr}/{bits}"),
    })
}

/// `struct xt_connlimit_info`, revision 1
pub(super) fn connlimit(body: &Body<'_>, is_v6: bool, options: &mut Options) -> Option<()> {
    const UPTO: u32 = 1;
    const BY_DESTINATION: u32 = 2;
    let (limit, flags) = (body.u32(16)?, body.u32(20)?);
    if flags & !(UPTO | BY_DESTINATION) != 0 {
        return None;
    }
    let name = match flags & UPTO {
        0 => "--connlimit-above",
        _ => "--connlimit-upto",
    };
    options.put(name, limit)?;
    let mask: IpAddr = body.addr(0, is_v6)?;
    options.put("--connlimit-mask", prefix(mask)?)?;
    options.flag(match flags & BY_DESTINATION {
        0 => "--connlimit-saddr",
        _ => "--connlimit-daddr",
    });
    Some(())
}

/// `struct xt_connbytes_info`
pub(super) fn connbytes(body: &Body<'_>, options: &mut Options) -> Option<()> {
    let (from, to) = (body.u64(0)?, body.u64(8)?);
    // From more to less is how the tools write a negation.
    let text = match to {
        u64::MAX => from.to_string(),
        _ => format!("{}:{}", from.min(to), from.max(to)),
    };
    options.signed(from > to, "--connbytes", text)?;
    options.put(
        "--connbytes-mode",
        ["packets", "bytes", "avgpkt"].get(usize::from(body.u8(16)?))?,
    )?;
    options.put(
        "--connbytes-dir",
        ["original", "reply", "both"].get(usize::from(body.u8(17)?))?,
    )
}

/// `struct xt_helper_info`
pub(super) fn helper(body: &Body<'_>, options: &mut Options) -> Option<()> {
    options.text(body.u32(0)? != 0, "--helper", &body.text(4, 30)?);
    Some(())
}
