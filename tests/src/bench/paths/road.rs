//! From the client through the node to the server, and how many packets arrive in a second.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::flood::Flood;
use super::{SERVICES, flood, services};
use crate::cluster::{Backend, Cluster, Data, Family, Setup, rules};
use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// Connections that the packets belong to.
const FLOWS: usize = 64;

/// The cluster, and where the packets go.
pub(super) struct Road {
    cluster: Cluster,
    to: Vec<Ipv4Addr>,
}

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) packets: u64,
    pub(super) per_second: f64,
    /// In the time of a fixed piece of work of the same processor.
    pub(super) per_piece: f64,
}

impl Road {
    /// Builds it, with rules written through `backend`, and lets every flow have its connection.
    pub(super) fn up(data: &Data, run: &RunDir, backend: Backend) -> Result<Self> {
        let setup = Setup {
            backend,
            family: Family::Ip,
            prefix: format!("bench-{}-", std::process::id()),
        };
        let road = Self {
            to: (SERVICES - FLOWS..SERVICES).map(services::cluster_ip).collect(),
            cluster: Cluster::up(data, "forward", &setup, run)?,
        };
        let text = services::add(&data.read("rules/seed.rules")?, SERVICES)?;
        rules::restore(road.router()?, backend, Family::Ip, &text, true)?;
        road.establish()?;
        Ok(road)
    }

    /// The node whose rules the packets pass.
    pub(super) fn router(&self) -> Result<&Netns> {
        self.cluster.node("router")
    }

    /// The pods answer once: nearly all packets of a node belong to connections that are established.
    fn establish(&self) -> Result<()> {
        self.send(Duration::ZERO)?;
        let node = Ipv4Addr::new(10, 77, 2, 1);
        self.cluster.node("server")?.run(|| {
            let mut pods = (SERVICES - FLOWS..SERVICES).map(services::pod);
            pods.try_for_each(|pod| flood::answer((pod, services::PORT), (node, flood::PORT)))
        })?;
        let said = exec::run(Some(self.router()?), "conntrack", &["-L", "-p", "udp"], "")?;
        let established = said.lines().filter(|line| !line.contains("UNREPLIED")).count();
        anyhow::ensure!(
            established >= FLOWS,
            "the connections are not established: {said}"
        );
        Ok(())
    }

    /// Sends for so long, and counts what the server was given.
    pub(super) fn send(&self, span: Duration) -> Result<Arrived> {
        let before = self.arrived()?;
        let took = self
            .cluster
            .node("client")?
            .run(|| Flood::open(&self.to, services::PORT)?.send_for(span))?;
        let packets = self.arrived()? - before;
        Ok(Arrived {
            packets,
            per_second: packets as f64 / took.sending.as_secs_f64(),
            per_piece: packets as f64 / took.pieces,
        })
    }

    fn arrived(&self) -> Result<u64> {
        let text = self.cluster.node("server")?.run(|| {
            std::fs::read_to_string("/proc/thread-self/net/dev").context("cannot read the server's devices")
        })?;
        transmitted(&text, "sink").context("the server has no sink")
    }
}

/// Packets transmitted, the tenth number of a device's line (net/core/net-procfs.c).
fn transmitted(text: &str, device: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_transmitted_are_the_tenth_number() {
        let text = "Inter-|   Receive\n face |bytes\n  sink2: 1 2 3\n  sink: 1 2 3 4 5 6 7 8 9 10 11 12\n";
        assert_eq!(transmitted(text, "sink"), Some(10));
    }
}
