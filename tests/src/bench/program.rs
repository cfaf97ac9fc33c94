//! The program file, and what it attaches.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::process::{descriptors, number_after};
use super::table::{Table, mib};
use super::watching::Watching;
use super::{Bench, cost, traffic};
use crate::exec;

/// Packets that live, each way.
const LIVE: usize = 5_000;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let file = std::fs::metadata(bench.observer).context("cannot look at the program's file")?;
    table.add("program file", mib(file.len()), "< 12 MiB");

    let watching = Watching::start(bench.observer, &bench.filter)?;
    let names = names()?;
    let links = links(watching.pid(), &names)?;
    let words = links.iter().map(|(name, at)| format!("`{name}` ({at})"));
    table.add(
        "attached",
        words.collect::<Vec<_>>().join(", "),
        "nothing on the path of live packets",
    );
    let _stats = cost::Statistics::enable()?;
    let before = cost::programs(watching.pid(), &names)?;
    traffic::alive(bench, LIVE)?;
    let after = cost::programs(watching.pid(), &names)?;
    watching.end()?;
    let runs: BTreeMap<&String, u64> = after
        .iter()
        .map(|(name, cost)| (name, cost.since(before.get(name)).runs))
        .filter(|(name, runs)| *runs > 0 && links.contains_key(*name))
        .collect();
    let figure = if runs.is_empty() {
        "none".to_owned()
    } else {
        let words = runs.iter().map(|(name, runs)| format!("{name} {runs}"));
        words.collect::<Vec<_>>().join(", ")
    };
    table.add(
        "runs of what is attached while 10,000 packets are forwarded and live",
        figure,
        "none",
    );
    Ok(())
}

/// Of a process's links: the program's name, and what it is attached to.
fn links(pid: u32, names: &BTreeMap<u64, String>) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for info in descriptors(pid, "link_id:")? {
        let word = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let program = number_after(&info, "prog_id:").unwrap_or_default();
        let name = names
            .get(&program)
            .cloned()
            .unwrap_or_else(|| program.to_string());
        let kind = word("link_type:").unwrap_or_default();
        let at = word("tp_name:").map_or(String::new(), |at| format!(" {at}"));
        found.insert(name, kind + &at);
    }
    Ok(found)
}

/// The names of all programs in the kernel, by identifier.
pub(super) fn names() -> Result<BTreeMap<u64, String>> {
    let list: Vec<Value> =
        serde_json::from_str(&exec::run(None, "bpftool", &["-j", "prog", "list"], "")?).unwrap_or_default();
    let name = |one: &Value| Some((one["id"].as_u64()?, one["name"].as_str()?.to_owned()));
    Ok(list.iter().filter_map(name).collect())
}
