//! Hand-made packets, sent through a raw socket.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::packet::{Packet, Transport};
use super::{Outcome, Request, outcome_of};

/// Hand-made packets from one address to another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The node that sends.
    pub from: String,
    /// The source address written into the packet, its own or not.
    pub src: IpAddr,
    /// The destination.
    pub to: IpAddr,
    /// `udp`, `tcp` or `icmp`.
    pub proto: String,
    /// The source port.
    #[serde(default = "sport")]
    pub sport: u16,
    /// The destination port.
    #[serde(default)]
    pub port: u16,
    /// Flags of a TCP segment: `SYN`, `ACK`, `RST`, `FIN`, `PSH`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// How many hops it may live.
    #[serde(default = "ttl")]
    pub ttl: u8,
    /// Payload bytes.
    #[serde(default)]
    pub size: usize,
    /// Whether the transport checksum is to be wrong.
    #[serde(default)]
    pub bad_checksum: bool,
    /// How many.
    #[serde(default = "one")]
    pub count: u32,
    /// Accepted outcomes.
    #[serde(default)]
    pub outcome: Vec<Outcome>,
}

fn sport() -> u16 {
    40_000
}

fn ttl() -> u8 {
    64
}

fn one() -> u32 {
    1
}

impl Raw {
    fn packet(&self) -> Result<Packet> {
        let transport = match self.proto.as_str() {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp {
                flags: flag_bits(&self.flags)?,
            },
            "icmp" => Transport::IcmpEcho { id: 1 },
            other => bail!("`{other}` cannot be made by hand; write udp, tcp or icmp"),
        };
        if self.src.is_ipv4() != self.to.is_ipv4() {
            bail!("source and destination are of different families");
        }
        Ok(Packet {
            src: self.src,
            dst: self.to,
            sport: self.sport,
            dport: self.port,
            ttl: self.ttl,
            transport,
            payload_bytes: self.size,
            bad_checksum: self.bad_checksum,
        })
    }
}

fn flag_bits(flags: &[String]) -> Result<u8> {
    flags.iter().try_fold(0, |bits, flag| {
        Ok(bits
            | match flag.as_str() {
                "FIN" => 1,
                "SYN" => 2,
                "RST" => 4,
                "PSH" => 8,
                "ACK" => 16,
                other => bail!("`{other}` is no TCP flag"),
            })
    })
}

impl Request for Raw {
    fn send(&self) -> Result<Outcome> {
        let packet = self.packet()?.bytes();
        let socket = RawSocket::open(self.to.is_ipv4())?;
        for _ in 0..self.count {
            if let Err(error) = socket.send(&packet, self.to) {
                return outcome_of(error);
            }
        }
        Ok(Outcome::Sent)
    }

    fn wanted(&self) -> &[Outcome] {
        &self.outcome
    }
}

/// A socket of type SOCK_RAW and protocol IPPROTO_RAW: what is sent begins with its IP header.
pub(crate) struct RawSocket(std::os::fd::OwnedFd);

impl RawSocket {
    pub(crate) fn open(v4: bool) -> Result<Self> {
        use std::os::fd::FromRawFd;
        let family = if v4 { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot open a raw socket");
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(Self(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn send(&self, packet: &[u8], to: IpAddr) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: sockaddr_storage is plain data, for which all zeroes is a value.
        let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let start = (&raw mut address).cast::<u8>();
        let length = match to {
            IpAddr::V4(to) => {
                let sin = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: 0,
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(to.octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large enough and aligned for every socket address.
                unsafe { start.cast::<libc::sockaddr_in>().write(sin) };
                size_of::<libc::sockaddr_in>()
            }
            IpAddr::V6(to) => {
                let sin = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: 0,
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: to.octets() },
                    sin6_scope_id: 0,
                };
                // SAFETY: sockaddr_storage is large enough and aligned for every socket address.
                unsafe { start.cast::<libc::sockaddr_in6>().write(sin) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        // SAFETY: packet and address live across the call, with the lengths given.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                length as libc::socklen_t,
            )
        };
        if sent < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}
