//! ICMP echo requests, from a ping socket.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Outcome, Request, outcome_of};

/// Echo requests to one address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// The node that asks.
    pub from: String,
    /// Whom it asks.
    pub to: IpAddr,
    /// How many requests; the answer to the last counts.
    #[serde(default = "one")]
    pub count: u32,
    /// How many hops they may live.
    #[serde(default = "ttl")]
    pub ttl: u32,
    /// How long an answer may take.
    #[serde(default = "patience")]
    pub timeout_ms: u64,
    /// Accepted outcomes. With `sent` no answer is waited for.
    #[serde(default)]
    pub outcome: Vec<Outcome>,
}

fn one() -> u32 {
    1
}

fn ttl() -> u32 {
    64
}

fn patience() -> u64 {
    300
}

impl Request for Ping {
    fn send(&self) -> Result<Outcome> {
        let (family, protocol, request) = match self.to {
            IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, 8),
            IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128),
        };
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot open a ping socket");
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
        self.limit_hops(&socket);
        if let Err(error) = socket.connect(SocketAddr::from((self.to, 0))) {
            return outcome_of(error);
        }
        for number in 1..=self.count as u8 {
            if let Err(error) = socket.send(&[request, 0, 0, 0, 0, 0, 0, number, b'.', b'.', b'.', b'.']) {
                return outcome_of(error);
            }
        }
        if self.outcome.contains(&Outcome::Sent) {
            return Ok(Outcome::Sent);
        }
        socket.set_read_timeout(Some(Duration::from_millis(self.timeout_ms)))?;
        match socket.recv(&mut [0; 256]) {
            Ok(_) => Ok(Outcome::Answered),
            Err(error) => outcome_of(error),
        }
    }

    fn wanted(&self) -> &[Outcome] {
        &self.outcome
    }
}

impl Ping {
    fn limit_hops(&self, socket: &UdpSocket) {
        let hops = self.ttl as libc::c_int;
        let (level, option) = match self.to {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
        };
        // SAFETY: the option's value is an int that lives across the call; the socket is ours.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const hops).cast(),
                size_of_val(&hops) as libc::socklen_t,
            )
        };
    }
}
