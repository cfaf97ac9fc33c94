//! Sets of ipset: `xt_set.h`. Rules name them by their numbers, and the kernel tells the names.

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::body::{Body, Options};
use crate::kernel::raw::string;

/// Names of sets, by their numbers in a network namespace.
pub trait SetNames {
    /// `None` if there is no such set, or nobody says.
    fn name(&mut self, number: u16) -> Option<String>;
}

/// `IPSET_INVALID_ID`
const NO_SET: u16 = u16::MAX;
/// `IPSET_DIM_MAX`
const MOST_DIMENSIONS: u8 = 6;

/// `struct xt_set_info`: number, dimensions, and for each whether it is of the source. The name, and `src,dst`.
fn reference(body: &Body<'_>, at: usize, sets: &mut dyn SetNames) -> Option<(String, String)> {
    let (number, dimensions, flags) = (body.u16(at)?, body.u8(at + 2)?, body.u8(at + 3)?);
    if dimensions == 0 || dimensions > MOST_DIMENSIONS {
        return None;
    }
    let of = |dimension: u8| match flags >> dimension & 1 {
        0 => "dst",
        _ => "src",
    };
    let directions: Vec<&str> = (1..=dimensions).map(of).collect();
    let name = sets.name(number)?;
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    is_word.then(|| (name, directions.join(",")))
}

/// `struct xt_set_info_match_v1`, `_v3`, `_v4`: what they compare counters with is not put together.
pub(super) fn set(
    body: &Body<'_>,
    revision: u32,
    sets: &mut dyn SetNames,
    options: &mut Options,
) -> Option<()> {
    const INVERTED: u8 = 1;
    const RETURN_NOMATCH: u32 = 1 << 7;
    const SKIP_COUNTERS: u32 = 1 << 3;
    const SKIP_SUBCOUNTERS: u32 = 1 << 4;
    let (name, directions) = reference(body, 0, sets)?;
    let negated = body.u8(3)? & INVERTED != 0;
    options.words(negated, "--match-set", &[&name, &directions])?;
    let (packets, bytes) = match revision {
        1 => return Some(()),
        3 => (8, 24),
        _ => (16, 32),
    };
    if body.u8(packets)? != 0 || body.u8(bytes)? != 0 {
        return None;
    }
    let flags = body.u32(40)?;
    if flags & !(RETURN_NOMATCH | SKIP_COUNTERS | SKIP_SUBCOUNTERS) != 0 {
        return None;
    }
    if flags & RETURN_NOMATCH != 0 {
        options.flag("--return-nomatch");
    }
    if flags & SKIP_COUNTERS != 0 {
        options.signed_flag(true, "--update-counters");
    }
    if flags & SKIP_SUBCOUNTERS != 0 {
        options.signed_flag(true, "--update-subcounters");
    }
    Some(())
}

/// `struct xt_set_info_target_v1` to `_v3`: sets to add to and to delete from; what the third maps is not put together.
pub(super) fn change(
    body: &Body<'_>,
    revision: u32,
    sets: &mut dyn SetNames,
    options: &mut Options,
) -> Option<()> {
    const EXIST: u32 = 1;
    let (flags_at, timeout_at) = match revision {
        3 => (12, 16),
        _ => (8, 12),
    };
    if revision == 3 && body.u16(8)? != NO_SET {
        return None;
    }
    if body.u16(0)? != NO_SET {
        let (name, directions) = reference(body, 0, sets)?;
        options.words(false, "--add-set", &[&name, &directions])?;
    }
    if revision > 1 {
        let (flags, timeout) = (body.u32(flags_at)?, body.u32(timeout_at)?);
        if flags & !EXIST != 0 {
            return None;
        }
        if flags & EXIST != 0 {
            options.flag("--exist");
        }
        if timeout != u32::MAX {
            options.put("--timeout", timeout)?;
        }
    }
    if body.u16(4)? != NO_SET {
        let (name, directions) = reference(body, 4, sets)?;
        options.words(false, "--del-set", &[&name, &directions])?;
    }
    Some(())
}

/// The sets of the network namespace that this thread is in.
#[derive(Debug, Default)]
pub struct KernelSets {
    socket: Option<OwnedFd>,
    known: HashMap<u16, Option<String>>,
}

/// `SO_IP_SET`, include/uapi/linux/netfilter/ipset/ip_set.h
const SO_IP_SET: libc::c_int = 83;
/// `IP_SET_OP_GET_BYINDEX`
const BY_INDEX: u32 = 7;
/// The oldest protocol; kernels that speak a younger one answer it, too.
const PROTOCOL: u32 = 6;
/// `struct ip_set_req_get_set`: operation, protocol, and a name or a number.
const REQUEST_BYTES: usize = 40;

impl SetNames for KernelSets {
    fn name(&mut self, number: u16) -> Option<String> {
        if let Some(known) = self.known.get(&number) {
            return known.clone();
        }
        let name = self.ask(number);
        self.known.insert(number, name.clone());
        name
    }
}

impl KernelSets {
    fn ask(&mut self, number: u16) -> Option<String> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(socket()?),
        };
        let mut request = [0_u8; REQUEST_BYTES];
        request[..4].copy_from_slice(&BY_INDEX.to_ne_bytes());
        request[4..8].copy_from_slice(&PROTOCOL.to_ne_bytes());
        request[8..10].copy_from_slice(&number.to_ne_bytes());
        let mut len = libc::socklen_t::try_from(REQUEST_BYTES).ok()?;
        // SAFETY: the kernel writes at most `len` bytes to `request`, which is as long and outlives the call.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_IP,
                SO_IP_SET,
                request.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let name = string(&request[8..]);
        (answer == 0 && !name.is_empty()).then_some(name)
    }
}

/// A socket that has no port: nothing comes in by it.
fn socket() -> Option<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: a descriptor that nobody else has.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
