//! TCP connections.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;

use super::{Outcome, Request, outcome_of};

/// Attempts to connect, one after the other; what was connected stays so until the last is over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// The node that connects.
    pub from: String,
    /// Where to.
    pub to: IpAddr,
    /// The port there.
    pub port: u16,
    /// How many attempts.
    #[serde(default = "one")]
    pub count: u32,
    /// How long each may take. The kernel repeats a SYN after one second: 500 sends one only.
    #[serde(default = "patience")]
    pub timeout_ms: u64,
    /// Accepted outcomes of the last one.
    #[serde(default)]
    pub outcome: Vec<Outcome>,
}

fn one() -> u32 {
    1
}

fn patience() -> u64 {
    500
}

impl Request for Tcp {
    fn send(&self) -> Result<Outcome> {
        let mut connected = Vec::new();
        let mut outcome = Outcome::Sent;
        for _ in 0..self.count {
            let to = SocketAddr::from((self.to, self.port));
            outcome = match TcpStream::connect_timeout(&to, Duration::from_millis(self.timeout_ms)) {
                Ok(stream) => {
                    connected.push(stream);
                    Outcome::Answered
                }
                Err(error) => outcome_of(error)?,
            };
        }
        Ok(outcome)
    }

    fn wanted(&self) -> &[Outcome] {
        &self.outcome
    }
}
