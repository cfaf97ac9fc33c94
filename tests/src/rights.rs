//! What rights the kernel says that a process has: `/proc/PID/status`, of each of its threads.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Numbers of include/uapi/linux/capability.h: what watching packets takes at the most.
const PACKETS: u64 = COUNTERS | 1 << 34 | 1 << 38 | 1 << 39;
/// `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_DAC_READ_SEARCH`, `CAP_SYS_PTRACE`, `CAP_SYS_ADMIN`: what reading counters takes at the most.
const COUNTERS: u64 = 1 << 12 | 1 << 13 | ON_DEMAND;
/// The last three are in effect only while they are used.
const ON_DEMAND: u64 = 1 << 2 | 1 << 19 | 1 << 21;

/// What observer watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Packets, by programs.
    Packets,
    /// Counters, by tools.
    Counters,
}

impl Watched {
    fn rights(self) -> u64 {
        match self {
            Self::Packets => PACKETS,
            Self::Counters => COUNTERS,
        }
    }
}

/// What is wrong with the rights of a process that watches: it may have less, and nothing else.
pub fn failures(pid: u32, watched: Watched, patience: Duration) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).context("observer is gone")?;
    for thread in threads.flatten() {
        // A thread may have ended.
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else {
            continue;
        };
        failures.extend(wrong(&status, watched)?);
    }
    // A thread that is just entering a namespace has it in effect: not for long.
    let begun = Instant::now();
    while effective(pid)? & ON_DEMAND != 0 {
        if begun.elapsed() > patience {
            failures.push(
                "CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN or CAP_SYS_PTRACE is in effect all the time".to_owned(),
            );
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(failures)
}

/// Of the first thread.
fn effective(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("observer is gone")?;
    hexadecimal(&status, "CapEff")
}

fn wrong(status: &str, watched: Watched) -> Result<Vec<String>> {
    // What the process was begun with for packets may not be needed for counters, and the bounding set cannot follow.
    let most = [
        ("CapPrm", watched.rights()),
        ("CapEff", watched.rights()),
        ("CapBnd", PACKETS),
        ("CapInh", 0),
    ];
    let mut failures = Vec::new();
    for (name, most) in most {
        let has = hexadecimal(status, name)?;
        if has & !most != 0 {
            failures.push(format!(
                "{name} is {has:x}, of which {:x} is not needed",
                has & !most
            ));
        }
    }
    // Younger than Linux 3.10, 4.3 and 4.10.
    for (name, wanted) in [
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let value = value(status, name).unwrap_or(wanted);
        if value != wanted {
            failures.push(format!("{name} is {value}, not {wanted}"));
        }
    }
    Ok(failures)
}

fn hexadecimal(status: &str, name: &str) -> Result<u64> {
    let text = value(status, name).with_context(|| format!("no {name} in a status"))?;
    u64::from_str_radix(text, 16).with_context(|| format!("{name} is {text}"))
}

fn value<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = status.lines().filter_map(|line| line.split_once(':'));
    Some(pairs.find(|(found, _)| *found == name)?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Name:\tobserver\nCapInh:\t0000000000000000\nCapPrm:\t000000c400283004\n\
        CapEff:\t000000c400003000\nCapBnd:\t000000c400283004\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn each_right_too_many_is_a_failure() {
        assert_eq!(
            wrong(GOOD, Watched::Packets).expect("status"),
            Vec::<String>::new()
        );
        // What programs take is not for counters.
        assert_eq!(wrong(GOOD, Watched::Counters).expect("status").len(), 2);
        for (from, to) in [
            ("CapPrm:\t0", "CapPrm:\t1"),
            ("CapBnd:\t000000c400283004", "CapBnd:\t000001ffffffffff"),
            ("CapInh:\t0000000000000000", "CapInh:\t0000000000001000"),
            ("CapAmb:\t0000000000000000", "CapAmb:\t0000000000001000"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Seccomp:\t2", "Seccomp:\t0"),
        ] {
            let bad = GOOD.replace(from, to);
            assert_eq!(wrong(&bad, Watched::Packets).expect("status").len(), 1, "{to}");
        }
    }

    #[test]
    fn this_test_itself_has_rights_too_many_if_it_is_root() {
        if nix::unistd::geteuid().is_root() {
            let found = failures(std::process::id(), Watched::Packets, Duration::ZERO).expect("status");
            assert!(!found.is_empty());
        }
    }
}
