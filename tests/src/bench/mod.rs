//! Benchmarks of the real program on this machine's kernel: figures for docs/performance.md, no assertions.

mod cost;
pub mod flood;
mod idle;
pub mod instructions;
mod latency;
mod memory;
pub mod paths;
mod process;
mod program;
pub mod rewrite;
pub mod scaling;
pub mod size;
mod start;
mod table;
mod traffic;
mod watching;

use std::path::Path;

use anyhow::Result;

use crate::cluster::{Backend, Cluster, Data, Family, Setup};
use crate::run_dir::RunDir;
use table::Table;

/// Rules in each of the ten namespaces: 2,000 in all.
const RULES_EACH: usize = 200;

/// What the benchmarks share.
struct Bench<'a> {
    cluster: Cluster,
    observer: &'a Path,
    /// Observer's filter: the server's network.
    filter: String,
}

/// Measures and prints a table.
pub fn run(data: &Data, observer: &Path, run: &RunDir) -> Result<()> {
    let _alone = run.alone()?;
    let bench = Bench::up(data, "bench", observer, run)?;
    bench.fill_namespaces()?;
    let mut table = Table::default();
    start::measure(&bench, &mut table)?;
    latency::measure(&bench, &mut table)?;
    memory::measure(&bench, &mut table)?;
    idle::measure(&bench, &mut table)?;
    program::measure(&bench, &mut table)?;
    cost::measure(&bench, &mut table)?;
    println!("{table}");
    Ok(())
}

impl<'a> Bench<'a> {
    /// Sets a cluster up, with the tables of iptables-legacy.
    fn up(data: &Data, cluster: &str, observer: &'a Path, run: &RunDir) -> Result<Self> {
        let setup = Setup {
            backend: Backend::Legacy,
            family: Family::Ip,
            prefix: format!("bench-{}-", std::process::id()),
        };
        let cluster = Cluster::up(data, cluster, &setup, run)?;
        let filter = cluster.names().fill("{{server}}/{{bits}}")?;
        Ok(Self {
            cluster,
            observer,
            filter,
        })
    }

    /// Rules that drop what nobody sends: through iptables-legacy in one namespace, iptables-nft in the next.
    fn fill_namespaces(&self) -> Result<()> {
        for (index, node) in self.cluster.node_names().into_iter().enumerate() {
            let backend = if index % 2 == 0 {
                Backend::Legacy
            } else {
                Backend::Nft
            };
            traffic::rules(&self.cluster, node, backend, RULES_EACH, "INPUT")?;
        }
        Ok(())
    }
}
