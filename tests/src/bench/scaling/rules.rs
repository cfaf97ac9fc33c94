//! With the number of rules that can drop.

use std::time::Duration;

use anyhow::Result;

use super::{Chart, Page, cost, number};
use crate::bench::table::{mib, ms};
use crate::bench::{Bench, traffic};
use crate::cluster::{Backend, Family, rules};

const COUNTS: [usize; 6] = [10, 100, 1_000, 5_000, 10_000, 50_000];
const DROPS: usize = 1_000;

pub(super) fn measure(bench: &Bench, page: &mut Page) -> Result<()> {
    page.section(
        "Rules that can drop",
        "Each drop is that of the last of so many rules that each could have dropped it. Kernel: run time of the program at `kfree_skb`, by \
         the kernel's own statistics. observer: its processor time until the line is written. Both for one drop.",
        &["rules", "held by", "kernel", "observer", "told exactly", "start", "memory at most"],
    );
    let mut kernel = Chart::new("Kernel time of a drop, in µs, by rules that can drop");
    let mut user = Chart::new("observer's time of a drop, in µs, by rules that can drop");
    let mut start = Chart::new("From exec to the start line, in ms, by rules that can drop");
    for (backend, word) in [
        (Backend::Legacy, "iptables-legacy"),
        (Backend::Nft, "iptables-nft"),
    ] {
        for count in COUNTS {
            traffic::rules(&bench.cluster, "router", backend, count, "FORWARD")?;
            let cost = cost(bench, DROPS)?;
            page.row(&[
                number(count as u64),
                word.to_owned(),
                format!("{} ns", number(cost.kernel_ns)),
                format!("{} ns", number(cost.user_ns)),
                format!("{} %", cost.exact_percent),
                ms(cost.ready_after),
                mib(cost.most_bytes),
            ]);
            let x = count as f64;
            kernel.point(word, x, cost.kernel_ns as f64 / 1e3);
            user.point(word, x, cost.user_ns as f64 / 1e3);
            start.point(word, x, in_ms(cost.ready_after));
        }
        let nothing = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
        rules::restore(bench.cluster.node("router")?, backend, Family::Ip, nothing, true)?;
    }
    page.plot("rules-kernel", &kernel);
    page.plot("rules-observer", &user);
    page.plot("rules-start", &start);
    Ok(())
}

pub(super) fn in_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
