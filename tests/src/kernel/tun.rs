//! Devices whose other end is a descriptor: of IP packets (tun), or of frames (tap). Where nobody reads from it its queue fills.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// Makes a tun device in the calling thread's namespace. It goes away with the descriptor.
pub fn open(name: &str) -> Result<OwnedFd> {
    make(name, libc::IFF_TUN)
}

/// Makes a tap device, whose descriptor takes and gives frames.
pub fn open_tap(name: &str) -> Result<OwnedFd> {
    make(name, libc::IFF_TAP)
}

fn make(name: &str, kind: libc::c_int) -> Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("cannot open /dev/net/tun: is the tun module loaded?")?;
    let name = CString::new(name).context("device name")?;
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(15).zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (kind | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open and the request lives across the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) } != 0 {
        bail!(
            "cannot make a device of /dev/net/tun: {}",
            std::io::Error::last_os_error()
        );
    }
    Ok(file.into())
}
