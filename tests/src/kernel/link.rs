//! The state of a device.

use std::ffi::CString;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Waits until a device of the calling thread's namespace is up with a carrier that the kernel has noticed. It
/// notices in its own time (net/core/link_watch.c), and until then drops what is sent.
pub fn wait_until_running(device: &str) -> Result<()> {
    let begun = Instant::now();
    while !is_running(device)? {
        if begun.elapsed() > Duration::from_secs(10) {
            bail!("{device} has no carrier: is the other end up?");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn is_running(device: &str) -> Result<bool> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("cannot open a socket")?;
    let name = CString::new(device).context("device name")?;
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(15).zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the descriptor is open and the request lives across the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) } != 0 {
        bail!("there is no device {device}");
    }
    // SAFETY: the call above has filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_RUNNING != 0)
}
