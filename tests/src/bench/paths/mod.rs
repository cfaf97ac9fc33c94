//! What watching costs the packets that live: how many a node forwards in a second, without and with each watcher.

mod flood;
mod ratio;
mod road;
mod services;
mod visit;
mod watcher;

use std::path::Path;

use anyhow::Result;

use super::table::Table;
use crate::cluster::{Backend, Data};
use crate::run_dir::RunDir;
use ratio::Ratios;
use road::Road;
use watcher::{LEGACY, NFT, Watcher};

/// Services of the node; the packets are for the last of them.
pub(super) const SERVICES: usize = 2000;

/// Measures in so many interleaved rounds and prints a table.
pub fn run(data: &Data, observer: &Path, run: &RunDir, rounds: usize, only: &str) -> Result<()> {
    let _alone = run.alone()?;
    let mut table = Table::default();
    for (backend, watchers) in [(Backend::Legacy, LEGACY), (Backend::Nft, NFT)] {
        let name = |watcher: &Watcher| format!("iptables-{}: {}", backend.word(), watcher.name);
        let mut ratios = Ratios::default();
        let chosen: Vec<&Watcher> = watchers
            .iter()
            .filter(|watcher| name(watcher).contains(only))
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let road = Road::up(data, run, backend)?;
        for _ in 0..rounds {
            for watcher in &chosen {
                visit::measure(&road, observer, watcher, &name(watcher), &mut ratios)?;
            }
        }
        ratios.tell(&mut table, backend);
        for watcher in chosen.iter().filter(|watcher| watcher.is_observer()) {
            visit::cost(&road, observer, watcher, &name(watcher), &mut table)?;
        }
    }
    println!("{table}");
    Ok(())
}
