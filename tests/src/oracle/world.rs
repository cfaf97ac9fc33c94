//! The cluster that packets go through, and the rules of its router.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::packets::{From, Sent};
use crate::cluster::{Backend, Cluster, Data, Family, Setup, rules};
use crate::exec;
use crate::netns::Netns;
use crate::nftables;
use crate::run_dir::RunDir;
use crate::traffic::RawSocket;

/// What a router of IPv6 says of itself is over when it has said nothing for so long.
const QUIET: Duration = Duration::from_millis(1500);

pub(super) struct World {
    cluster: Cluster,
    pub(super) backend: Backend,
    pub(super) family: Family,
    sockets: BTreeMap<&'static str, RawSocket>,
}

impl World {
    pub(super) fn up(data: &Data, run: &RunDir, backend: Backend, family: Family) -> Result<Self> {
        let setup = Setup {
            backend,
            family,
            prefix: format!("oracle-{}-", std::process::id()),
        };
        let cluster = Cluster::up(data, "oracle", &setup, run)?;
        let mut sockets = BTreeMap::new();
        for from in [From::Client, From::Client1, From::Router] {
            let socket = cluster
                .node(from.node())?
                .run(|| RawSocket::open(family == Family::Ip))?;
            sockets.insert(from.node(), socket);
        }
        let world = Self {
            cluster,
            backend,
            family,
            sockets,
        };
        if family == Family::Ip6 {
            world.wait_until_quiet()?;
        }
        Ok(world)
    }

    fn wait_until_quiet(&self) -> Result<()> {
        let said = || exec::shell(Some(self.router()?), "grep Ip6OutRequests /proc/net/snmp6");
        let begun = Instant::now();
        let (mut last, mut since) = (said()?, Instant::now());
        while since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(100));
            let now = said()?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if begun.elapsed() > QUIET * 20 {
                bail!("the router goes on to say something by itself");
            }
        }
        Ok(())
    }

    pub(super) fn router(&self) -> Result<&Netns> {
        self.cluster.node("router")
    }

    /// Loads a ruleset in the place of the last one; returns what of it is loaded.
    pub(super) fn load(&self, text: &str) -> Result<String> {
        let router = self.router()?;
        exec::output(Some(router), "conntrack", &["-F"], "")?;
        if self.backend == Backend::Native {
            let tables = exec::run(Some(router), "nft", &["list", "tables"], "")?;
            let old = tables.lines().filter(|line| !line.contains("lab-"));
            let delete: String = old.map(|line| format!("delete {line}\n")).collect();
            let loaded = nftables::load_in(router, &format!("{delete}{text}"))?;
            return Ok(loaded.strip_prefix(&delete).unwrap_or(&loaded).to_owned());
        }
        rules::restore(router, self.backend, self.family, text, true).with_context(|| text.to_owned())?;
        Ok(text.to_owned())
    }

    /// Sends a packet: what its own rules forbid the router they are to.
    pub(super) fn send(&self, sent: &Sent) -> Result<()> {
        let socket = self.sockets.get(sent.from.node()).context("no socket")?;
        let to: IpAddr = sent.packet.dst;
        match socket.send(&sent.bytes(), to) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOBUFS)) => {
                Err(error).with_context(|| format!("sending {sent:?}"))
            }
            _ => Ok(()),
        }
    }
}
