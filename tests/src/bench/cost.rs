//! What a drop costs in the kernel, by the kernel's own statistics of eBPF programs.

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};

use super::process::{descriptors, number_after};
use super::table::Table;
use super::watching::Watching;
use super::{Bench, program, traffic};
use crate::cluster::{Backend, Family, rules};

const DROPS: usize = 10_000;
/// So that softirqs of several packets do not pile up.
const PAUSE: Duration = Duration::from_micros(20);
/// Addresses that nobody sends to: TEST-NET-3.
const NOBODY: &str = "203.0.113.0/24";

/// How often a program ran, and for how long.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) runs: u64,
    nanos: u64,
}

impl Cost {
    pub(super) fn since(self, before: Option<&Self>) -> Self {
        let before = before.copied().unwrap_or_default();
        Self {
            runs: self.runs - before.runs,
            nanos: self.nanos - before.nanos,
        }
    }

    /// Time of one run on average, in nanoseconds.
    pub(super) fn each_ns(self) -> u64 {
        self.nanos / self.runs.max(1)
    }
}

/// Time of all runs of all programs since `before`.
pub(super) fn all_since(now: &BTreeMap<String, Cost>, before: &BTreeMap<String, Cost>) -> Duration {
    let each = now.iter().map(|(name, cost)| cost.since(before.get(name)).nanos);
    Duration::from_nanos(each.sum())
}

/// The kernel's statistics of eBPF programs, on for as long as this lives.
pub(super) struct Statistics(#[expect(dead_code, reason = "open for as long as this lives")] OwnedFd);

impl Statistics {
    /// `BPF_ENABLE_STATS`, include/uapi/linux/bpf.h: unlike the sysctl it ends with the descriptor, whatever happens.
    pub(super) fn enable() -> Result<Self> {
        const BPF_ENABLE_STATS: libc::c_int = 32;
        // The only kind there is: `BPF_STATS_RUN_TIME`.
        let kind: u32 = 0;
        // SAFETY: the attribute is the four bytes given, which live across the call.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_ENABLE_STATS, &raw const kind, size_of::<u32>()) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error())
                .context("the kernel keeps no statistics of programs");
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
    }
}

/// The programs of a process by name.
pub(super) fn programs(pid: u32, names: &BTreeMap<u64, String>) -> Result<BTreeMap<String, Cost>> {
    let mut found = BTreeMap::new();
    for info in descriptors(pid, "run_cnt:")? {
        let number = |name| number_after(&info, name).unwrap_or_default();
        let cost = Cost {
            runs: number("run_cnt:"),
            nanos: number("run_time_ns:"),
        };
        if let Some(name) = names.get(&number("prog_id:")) {
            found.insert(name.clone(), cost);
        }
    }
    Ok(found)
}

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let _statistics = Statistics::enable()?;
    let wanted = &bench.filter[..];
    for (what, backend, counts, filter, target) in [
        ("outside the filter", Backend::Legacy, [100, 0], NOBODY, ""),
        ("in a hook without rules", Backend::Legacy, [0, 0], wanted, ""),
        ("100 legacy rules can drop", Backend::Legacy, [100, 0], wanted, ""),
        (
            "100 of 2,000 legacy rules can drop",
            Backend::Legacy,
            [100, 1900],
            wanted,
            "< 3 µs",
        ),
        (
            "100 of 2,000 iptables-nft rules can drop",
            Backend::Nft,
            [100, 1900],
            wanted,
            "< 3 µs",
        ),
        (
            "2,000 legacy rules can drop",
            Backend::Legacy,
            [2000, 0],
            wanted,
            "",
        ),
        (
            "2,000 iptables-nft rules can drop",
            Backend::Nft,
            [2000, 0],
            wanted,
            "",
        ),
    ] {
        let figure = one(bench, backend, counts, filter)?;
        table.add(&format!("kernel time of a drop, {what}"), figure, target);
    }
    Ok(())
}

/// With so many rules that can drop, and so many that cannot.
fn one(bench: &Bench, backend: Backend, counts: [usize; 2], filter: &str) -> Result<String> {
    for other in [Backend::Legacy, Backend::Nft] {
        clear(bench, other)?;
    }
    if counts != [0, 0] {
        traffic::rules_among(&bench.cluster, "router", backend, counts, "FORWARD")?;
    }
    let watching = Watching::start(bench.observer, filter)?;
    let names = program::names()?;
    let before = programs(watching.pid(), &names)?;
    traffic::drops(bench, DROPS, PAUSE)?;
    let after = programs(watching.pid(), &names)?;
    watching.end()?;
    // The one that looks at dropped packets runs the most.
    let costs = after.iter().map(|(name, cost)| cost.since(before.get(name)));
    let cost = costs.max_by_key(|cost| cost.runs).unwrap_or_default();
    Ok(format!("{} ns on average, {} runs", cost.each_ns(), cost.runs))
}

/// Without rules the packets die at the server, where nobody listens.
fn clear(bench: &Bench, backend: Backend) -> Result<()> {
    let text = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
    rules::restore(bench.cluster.node("router")?, backend, Family::Ip, text, true)
}
