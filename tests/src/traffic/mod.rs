//! Packets that a scenario sends, from sockets of the lab inside a node's namespace.

mod http;
pub(crate) mod packet;
mod ping;
pub(crate) mod raw;
mod tcp;
mod udp;

use std::io::ErrorKind;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::netns::Netns;

pub use http::Http;
pub(crate) use packet::{Packet, Transport};
pub use ping::Ping;
pub use raw::Raw;
pub(crate) use raw::RawSocket;
pub use tcp::Tcp;
pub use udp::Udp;

/// What came of a request, as the program that made it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was sent; whether it arrived is not known.
    Sent,
    /// An answer came (a connection was made, a reply read).
    Answered,
    /// Nothing came back in time.
    Silence,
    /// The other side refused (RST, ICMP port unreachable).
    Refused,
    /// There is no way there (ICMP, or no route here).
    Unreachable,
    /// This node's own rules forbid it (EPERM).
    NotPermitted,
    /// The packet is too big for the path.
    TooBig,
}

/// Something that can be sent.
pub trait Request: Sync {
    /// Sends it from the calling thread's namespace and waits for what it waits for.
    fn send(&self) -> Result<Outcome>;
    /// What must come of it; `None` if it does not matter.
    fn wanted(&self) -> &[Outcome];
}

/// Sends a request from a node and checks what came of it.
pub fn send(from: &Netns, request: &dyn Request) -> Result<()> {
    let outcome = from.run(|| request.send())?;
    let wanted = request.wanted();
    if !wanted.is_empty() && !wanted.contains(&outcome) {
        bail!("the request ended with {outcome:?}, expected {wanted:?}");
    }
    Ok(())
}

/// Turns an error of a socket into an outcome; one that says nothing about the network stays an error.
fn outcome_of(error: std::io::Error) -> Result<Outcome> {
    Ok(match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Outcome::Silence,
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Outcome::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Outcome::Unreachable,
        ErrorKind::PermissionDenied => {
            // EACCES is what a prohibit route answers, EPERM what a netfilter drop in OUTPUT does.
            if error.raw_os_error() == Some(libc::EPERM) {
                Outcome::NotPermitted
            } else {
                Outcome::Unreachable
            }
        }
        _ if error.raw_os_error() == Some(libc::EMSGSIZE) => Outcome::TooBig,
        // A blackhole route.
        _ if error.raw_os_error() == Some(libc::EINVAL) => Outcome::Unreachable,
        // A queue of this node that is full: the packet was dropped here.
        _ if error.raw_os_error() == Some(libc::ENOBUFS) => Outcome::Sent,
        _ => return Err(error.into()),
    })
}
