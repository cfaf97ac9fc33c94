//! An HTTP GET.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;

use super::{Outcome, Request, outcome_of};

/// One GET of `/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The node that asks.
    pub from: String,
    /// Whom it asks.
    pub to: IpAddr,
    /// The port there.
    #[serde(default = "web")]
    pub port: u16,
    /// What the answer must contain.
    #[serde(default)]
    pub body: String,
    /// How long connecting and reading may take, each.
    #[serde(default = "patience")]
    pub timeout_ms: u64,
    /// Accepted outcomes.
    #[serde(default)]
    pub outcome: Vec<Outcome>,
}

fn web() -> u16 {
    80
}

fn patience() -> u64 {
    10_000
}

impl Request for Http {
    fn send(&self) -> Result<Outcome> {
        let patience = Duration::from_millis(self.timeout_ms);
        let to = SocketAddr::from((self.to, self.port));
        let mut stream = match TcpStream::connect_timeout(&to, patience) {
            Ok(stream) => stream,
            Err(error) => return outcome_of(error),
        };
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: nginx\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        if let Err(error) = stream.read_to_string(&mut answer) {
            return outcome_of(error);
        }
        if !answer.starts_with("HTTP/1.1 200") || !answer.contains(&self.body) {
            bail!(
                "the HTTP server answered `{}`, expected 200 and `{}`",
                answer.escape_debug(),
                self.body
            );
        }
        Ok(Outcome::Answered)
    }

    fn wanted(&self) -> &[Outcome] {
        &self.outcome
    }
}
