//! What the kernel says about a process.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) resident: u64,
    pub(super) most: u64,
}

/// What a process has used of the processors.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    /// User and system time, in clock ticks.
    pub(super) ticks: u64,
    /// The same of the children that it has waited for.
    pub(super) of_children: u64,
    /// Times that a thread of it went to sleep and was woken.
    pub(super) wakeups: u64,
    /// Times that a thread of it was taken off a processor.
    pub(super) preempted: u64,
    pub(super) threads: usize,
}

/// `sysconf(_SC_CLK_TCK)` of every Linux that there is.
const TICK: Duration = Duration::from_millis(10);

/// So many clock ticks.
pub(super) fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn memory(pid: u32) -> Result<Memory> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let kib = |name| number_after(&status, name).context("no such line in /proc/PID/status");
    Ok(Memory {
        resident: kib("VmRSS:")? * 1024,
        most: kib("VmHWM:")? * 1024,
    })
}

pub(super) fn used(pid: u32) -> Result<Used> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // The fields `utime` and `stime`, 14 and 15 of proc_pid_stat(5); `cutime` and `cstime` follow.
    let times: Vec<u64> = after_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    let mut used = Used {
        ticks: times.iter().take(2).sum(),
        of_children: times.iter().skip(2).sum(),
        ..Used::default()
    };
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        used.threads += 1;
        used.wakeups += number_after(&status, "voluntary_ctxt_switches:").unwrap_or_default();
        used.preempted += number_after(&status, "nonvoluntary_ctxt_switches:").unwrap_or_default();
    }
    Ok(used)
}

/// What the kernel says of those of a process's descriptors that have a line beginning with `field`.
pub(super) fn descriptors(pid: u32, field: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        if number_after(&info, field).is_some() {
            found.push(info);
        }
    }
    Ok(found)
}

/// The number on the line that begins with `name`.
pub(super) fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}: has observer ended?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let me = std::process::id();
        let memory = memory(me).expect("memory");
        assert!(memory.resident > 0 && memory.most >= memory.resident);
        assert!(used(me).expect("used").threads > 0);
    }

    #[test]
    fn a_line_is_found_by_its_whole_name() {
        let status = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t5\nVmRSS:\t  12 kB\n";
        assert_eq!(number_after(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(number_after(status, "VmRSS:"), Some(12));
        assert_eq!(number_after(status, "VmHWM:"), None);
    }
}
