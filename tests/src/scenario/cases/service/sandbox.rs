//! What the kernel says of the sandbox that systemd has put a process into.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::exec;

/// Where a service may write that sees the system read-only: what is its own, and what the kernel answers for. Of these
/// `/proc/sys` is named below. Names of namespaces are mounted while it runs.
const OWN: [&str; 5] = ["/tmp", "/var/tmp", "/dev", "/proc", "/run/netns"];
/// What the unit makes read-only although `ProtectSystem=strict` does not.
const READ_ONLY: [&str; 4] = ["/", "/proc/sys", "/sys", "/run"];
/// Namespaces of its own, and those that it must not have: it watches the machine's.
const PRIVATE: [&str; 2] = ["mnt", "uts"];
const SHARED: [&str; 3] = ["net", "pid", "user"];
/// What the unit allows it: `MemoryMax=`, `TasksMax=`.
const LIMITS: [(&str, &str); 2] = [("memory.max", "536870912"), ("pids.max", "128")];
/// `IPAddressDeny=`, `DevicePolicy=`.
const ATTACHED: [&str; 3] = ["cgroup_inet_ingress", "cgroup_inet_egress", "cgroup_device"];

/// What is missing of the sandbox of a process. The first process of the machine, which has none, is held against the same: what
/// it does not lack shows nothing.
pub(super) fn failures(pid: u32) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for (name, check) in CHECKS {
        failures.extend(
            check(pid)
                .with_context(|| format!("looking at {name}"))?
                .into_iter()
                .map(|why| format!("{name}: {why}")),
        );
        if check(1)
            .with_context(|| format!("looking at {name} of systemd"))?
            .is_empty()
        {
            failures.push(format!(
                "{name}: systemd itself lacks nothing of it, so nothing was tested"
            ));
        }
    }
    Ok(failures)
}

type Check = fn(u32) -> Result<Vec<String>>;

const CHECKS: [(&str, Check); 6] = [
    ("what can be written", |pid| {
        Ok(writable(&read(pid, "mountinfo")?))
    }),
    ("devices", devices),
    ("homes", homes),
    ("namespaces", namespaces),
    ("filters of system calls", |pid| {
        Ok(filters(&read(pid, "status")?))
    }),
    ("control group", group),
];

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Mounts that a process can write to, of `/proc/PID/mountinfo` (proc(5)), and those that must be there and are not. Of mounts at
/// one place the last lies on top.
fn writable(mountinfo: &str) -> Vec<String> {
    let mut mounts: Vec<(&str, bool)> = Vec::new();
    for line in mountinfo.lines() {
        let mut fields = line.split(' ').skip(4);
        let (Some(place), Some(options)) = (fields.next(), fields.next()) else {
            continue;
        };
        mounts.retain(|(one, _)| *one != place);
        mounts.push((place, options.split(',').any(|option| option == "ro")));
    }
    let below = |place: &str, dir: &str| {
        place
            .strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_own = |place: &str| OWN.iter().any(|dir| below(place, dir)) && !below(place, "/proc/sys");
    let mut failures: Vec<String> = mounts
        .iter()
        .filter(|(place, read_only)| !read_only && !is_own(place))
        .map(|(place, _)| format!("{place} can be written to"))
        .collect();
    for place in READ_ONLY.iter().chain(&["/tmp", "/var/tmp"]) {
        if !mounts.iter().any(|(one, _)| one == place) {
            failures.push(format!("{place} is no mount of its own"));
        }
    }
    failures
}

/// `PrivateDevices=`: none of what the machine has.
fn devices(pid: u32) -> Result<Vec<String>> {
    let names = names(&format!("/proc/{pid}/root/dev"))?;
    let physical = ["mem", "port", "kmsg", "ttyS0", "cpu_dma_latency", "loop-control"];
    let seen = physical.iter().filter(|name| names.contains(**name));
    Ok(seen.map(|name| format!("/dev/{name} is there")).collect())
}

/// `ProtectHome=`: this test's own directory among them.
fn homes(pid: u32) -> Result<Vec<String>> {
    let names = names(&format!("/proc/{pid}/root/root"))?;
    Ok(names
        .iter()
        .map(|name| format!("/root/{name} is there"))
        .collect())
}

fn names(dir: &str) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {dir}"))?;
    Ok(entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

fn namespaces(pid: u32) -> Result<Vec<String>> {
    let link = |pid: u32, name: &str| {
        let path = format!("/proc/{pid}/ns/{name}");
        fs::read_link(&path).with_context(|| format!("cannot read {path}"))
    };
    let mut failures = Vec::new();
    for (names, is_private) in [(&PRIVATE[..], true), (&SHARED[..], false)] {
        for name in names {
            if (link(pid, name)? != link(1, name)?) != is_private {
                failures.push(format!(
                    "{name} is {}its own",
                    if is_private { "not " } else { "" }
                ));
            }
        }
    }
    Ok(failures)
}

/// systemd's are there before observer adds its own (`Seccomp_filters`, since Linux 5.9).
fn filters(status: &str) -> Vec<String> {
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let count = lines
        .filter(|(name, _)| *name == "Seccomp_filters")
        .find_map(|(_, count)| count.trim().parse::<u32>().ok());
    match count {
        Some(count) if count > 1 => vec![],
        _ => vec![format!(
            "{count:?}: one of observer's own and some of systemd's are expected"
        )],
    }
}

fn group(pid: u32) -> Result<Vec<String>> {
    let text = read(pid, "cgroup")?;
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .context("no control group")?;
    let dir = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let mut failures = Vec::new();
    for (file, wanted) in LIMITS {
        let is = fs::read_to_string(dir.join(file)).unwrap_or_default();
        if is.trim() != wanted {
            failures.push(format!("{file} is {:?}, not {wanted}", is.trim()));
        }
    }
    let listed = exec::run(
        None,
        "bpftool",
        &["-j", "cgroup", "list", &dir.to_string_lossy()],
        "",
    )?;
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap_or_default();
    for wanted in ATTACHED {
        if !listed.iter().any(|program| program["attach_type"] == wanted) {
            failures.push(format!("no program is attached as {wanted}"));
        }
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "1 0 0:1 / / ro,relatime - virtiofs ROOTFS ro\n\
        2 1 0:2 / /proc rw,nosuid - proc proc rw\n\
        3 2 0:2 /sys /proc/sys ro,nosuid - proc proc rw\n\
        4 1 0:3 / /sys ro - sysfs sys rw\n\
        9 1 0:6 / /run ro,nosuid - tmpfs run rw\n\
        5 1 0:4 / /tmp rw shared:1 - tmpfs tmp rw\n\
        6 1 0:4 / /var/tmp rw - tmpfs tmp rw\n\
        7 1 0:5 / /etc rw - overlay etc rw\n\
        8 1 0:5 / /etc ro - overlay etc rw\n";

    #[test]
    fn each_mount_that_can_be_written_to_is_told_unless_it_is_its_own() {
        assert_eq!(writable(GOOD), Vec::<String>::new());
        for (from, to) in [
            ("/ ro,relatime", "/ rw,relatime"),
            ("/proc/sys ro", "/proc/sys rw"),
            ("/etc ro", "/etc rw"),
            ("/tmp rw shared", "/tmp2 ro shared"),
            ("/var/tmp rw", "/var/tmp2 rw"),
            ("/sys ro", "/sys rw"),
            ("/run ro", "/run rw"),
        ] {
            let bad = GOOD.replace(from, to);
            assert!(!writable(&bad).is_empty(), "{to}");
        }
    }

    #[test]
    fn one_filter_is_observers_own() {
        assert_eq!(
            filters("Seccomp:\t2\nSeccomp_filters:\t9\n"),
            Vec::<String>::new()
        );
        assert_eq!(filters("Seccomp_filters:\t1\n").len(), 1);
        assert_eq!(filters("Seccomp:\t2\n").len(), 1);
    }
}
