//! With the number of network namespaces.

use anyhow::Result;

use super::{Chart, Page, cost, number};
use crate::bench::Bench;
use crate::bench::table::{mib, ms};
use crate::cluster::{Backend, Family, rules};
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// Beside those of the cluster.
const COUNTS: [usize; 5] = [1, 10, 50, 100, 200];
const RULES_EACH: usize = 20;
const DROPS: usize = 1_000;

pub(super) fn measure(bench: &Bench, run: &RunDir, page: &mut Page) -> Result<()> {
    page.section(
        "Network namespaces",
        "Each has 20 legacy rules that can drop; drops happen in one other.",
        &["namespaces", "start", "memory at most", "kernel", "observer"],
    );
    let mut start = Chart::new("From exec to the start line, in ms, by namespaces");
    let mut memory = Chart::new("Memory at most until then, in MiB, by namespaces");
    let mut namespaces: Vec<Netns> = Vec::new();
    for count in COUNTS {
        while namespaces.len() < count {
            namespaces.push(filled(run, namespaces.len())?);
        }
        let cost = cost(bench, DROPS)?;
        page.row(&[
            number(count as u64),
            ms(cost.ready_after),
            mib(cost.most_bytes),
            format!("{} ns", number(cost.kernel_ns)),
            format!("{} ns", number(cost.user_ns)),
        ]);
        start.point("observer", count as f64, super::rules::in_ms(cost.ready_after));
        memory.point(
            "observer",
            count as f64,
            cost.most_bytes as f64 / f64::from(1 << 20),
        );
    }
    page.plot("namespaces-start", &start);
    page.plot("namespaces-memory", &memory);
    Ok(())
}

fn filled(run: &RunDir, index: usize) -> Result<Netns> {
    let name = format!("bench-scaling-{}-{index}", std::process::id());
    run.will_name(&name)?;
    let netns = Netns::create(&name)?;
    let mut text = "*filter\n:INPUT ACCEPT [0:0]\n".to_owned();
    for port in 1..=RULES_EACH {
        text.push_str(&format!("-A INPUT -p udp -m udp --dport {port} -j DROP\n"));
    }
    text.push_str("COMMIT\n");
    rules::restore(&netns, Backend::Legacy, Family::Ip, &text, true)?;
    Ok(netns)
}
