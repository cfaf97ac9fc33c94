//! Packets put on a device as they are, whatever they are: packet(7), `SOCK_DGRAM`, which adds the link's own header only.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// An Ethernet device that packets are sent by, and whom they are for.
pub(super) struct Link {
    socket: OwnedFd,
    index: i32,
}

impl Link {
    /// By a device of the calling thread's namespace.
    pub(super) fn open(device: &str) -> Result<Self> {
        // SAFETY: a system call without pointers. Protocol 0: it receives nothing.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot open a packet socket");
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let name = CString::new(device).context("device name")?;
        // SAFETY: the name lives across the call, and ends with a zero.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        anyhow::ensure!(index != 0, "there is no device {device}");
        Ok(Self {
            socket,
            index: index as i32,
        })
    }

    /// Sends a packet to a hardware address, as one of that ethertype. What the kernel says of it when it refuses.
    pub(super) fn send(&self, packet: &[u8], ethertype: u16, to: [u8; 6]) -> std::io::Result<()> {
        let mut address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        address.sll_addr[..6].copy_from_slice(&to);
        // SAFETY: packet and address live across the call, with the lengths given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    }
}
