//! UDP datagrams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Outcome, Request, outcome_of};

/// Datagrams to one address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Udp {
    /// The node that sends.
    pub from: String,
    /// Where to.
    pub to: IpAddr,
    /// The port there.
    pub port: u16,
    /// The port here; 0 lets the kernel choose.
    #[serde(default)]
    pub sport: u16,
    /// How many.
    #[serde(default = "one")]
    pub count: u32,
    /// Payload bytes of each.
    #[serde(default = "payload")]
    pub size: usize,
    /// Whether the packets may not be fragmented (`IP_PMTUDISC_PROBE`: the path MTU is ignored).
    #[serde(default)]
    pub dont_fragment: bool,
    /// Accepted outcomes. With `sent` (or none) no answer is waited for.
    #[serde(default)]
    pub outcome: Vec<Outcome>,
}

fn one() -> u32 {
    1
}

fn payload() -> usize {
    32
}

impl Request for Udp {
    fn send(&self) -> Result<Outcome> {
        let any: IpAddr = match self.to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, self.sport)).context("cannot bind a UDP socket")?;
        if self.dont_fragment {
            forbid_fragments(&socket, self.to.is_ipv4());
        }
        if let Err(error) = socket.connect(SocketAddr::from((self.to, self.port))) {
            return outcome_of(error);
        }
        let mut outcome = Outcome::Sent;
        for number in 0..self.count {
            let mut datagram = vec![b'.'; self.size];
            datagram
                .iter_mut()
                .zip(number.to_be_bytes())
                .for_each(|(to, from)| *to = from);
            // What came back for an earlier datagram is reported instead of sending this one: send it again.
            let sent = socket
                .send(&datagram)
                .or_else(|error| match error.raw_os_error() {
                    Some(libc::EPERM) => Err(error),
                    _ if number > 0 => socket.send(&datagram),
                    _ => Err(error),
                });
            if let Err(error) = sent {
                outcome = outcome_of(error)?;
            }
        }
        if outcome != Outcome::Sent || self.outcome.is_empty() || self.outcome.contains(&Outcome::Sent) {
            return Ok(outcome);
        }
        let patience = if self.outcome == [Outcome::Silence] {
            300
        } else {
            10_000
        };
        socket.set_read_timeout(Some(Duration::from_millis(patience)))?;
        match socket.recv(&mut [0; 2048]) {
            Ok(_) => Ok(Outcome::Answered),
            Err(error) => outcome_of(error),
        }
    }

    fn wanted(&self) -> &[Outcome] {
        &self.outcome
    }
}

fn forbid_fragments(socket: &UdpSocket, v4: bool) {
    let (level, option) = if v4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    let probe: libc::c_int = libc::IP_PMTUDISC_PROBE;
    // SAFETY: the option's value is an int that lives across the call; the socket is ours.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const probe).cast(),
            size_of_val(&probe) as libc::socklen_t,
        )
    };
}
