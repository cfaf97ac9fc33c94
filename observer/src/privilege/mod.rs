//! What this process may do, cut down to what it needs before it does anything: capabilities, new privileges, system calls.
//!
//! What is given up here does not come back, for no thread and no tool that is run. `docs/security.md` has the table.

pub mod calls;
pub mod capabilities;
pub mod thread;

use std::io;

use capabilities::{
    BPF, DAC_READ_SEARCH, NET_ADMIN, NET_RAW, PERFMON, SETPCAP, SYS_ADMIN, SYS_PTRACE, SYSLOG, Set,
};

/// What something is about to be done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To see packets that die: programs in the kernel, now and later, and the tools that print rules.
    Packets,
    /// To read counters through tools.
    Counters,
    /// To ask rules about a packet: the tools, and files that the person names.
    Rules,
    /// To ask others for names: a thread that connects, and runs nothing.
    Names,
    /// To send what was seen to a collector: such a thread, with a file that is open already.
    Export,
}

/// Whether somebody is served meanwhile, or a terminal is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// Nobody connects.
    #[default]
    None,
    /// Connections are accepted at a socket that listens already (`--metrics`).
    Accepts,
    /// The modes of a terminal are set, and set back (`top`).
    Terminal,
}

/// Capabilities that a tool is run with: `CAP_NET_ADMIN` shows rules, iptables asks through a raw socket, and the names of
/// tables below `/proc/net` belong to the root of the namespace's users, who may be another than ours.
pub const OF_TOOLS: Set = NET_ADMIN.and(NET_RAW).and(DAC_READ_SEARCH);

impl Task {
    /// The capabilities that it is done with, as far as this process has them.
    pub const fn needs(self) -> Set {
        // Namespaces are entered with CAP_SYS_ADMIN, and found through processes with CAP_SYS_PTRACE.
        let counters = OF_TOOLS.and(SYS_ADMIN).and(SYS_PTRACE);
        match self {
            Self::Packets => counters.and(BPF).and(PERFMON).and(SYSLOG),
            Self::Counters => counters,
            // It also reads the files that are named.
            Self::Rules => OF_TOOLS,
            Self::Names | Self::Export => Set::NONE,
        }
    }
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confined {
    /// The capabilities that are left.
    pub left: Set,
    /// Whether no program that is run can gain privileges.
    pub has_no_new_privileges: bool,
    /// Whether the kernel refuses the system calls that nothing here makes.
    pub filters_calls: bool,
}

/// Gives up everything that the task does not need, before there is a second thread.
///
/// A kernel that cannot do a part of it (no seccomp) does the rest: what is left is no more than was there.
///
/// # Errors
/// The capabilities cannot be given up.
pub fn confine(task: Task, service: Service) -> io::Result<Confined> {
    let left = capabilities::limit(task.needs())?;
    let has_no_new_privileges = no_new_privileges();
    let filters_calls = has_no_new_privileges
        && calls::filter(task, service)
            .inspect_err(|error| log::info!("system calls are not filtered: {error}"))
            .is_ok();
    Ok(Confined {
        left,
        has_no_new_privileges,
        filters_calls,
    })
}

/// What was begun for one task goes on as another that needs less.
pub fn narrow(task: Task) {
    if let Err(error) = capabilities::limit(task.needs()) {
        log::warn!("cannot give up capabilities: {error}");
    }
}

fn no_new_privileges() -> bool {
    // SAFETY: a system call without pointers.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 }
}

/// What the lack of a capability that `task` would use costs, a sentence each.
pub fn costs(task: Task) -> Vec<String> {
    let has = capabilities::permitted();
    COSTS
        .iter()
        .filter(|(set, _)| task.needs().has(*set) && !has.has(*set))
        .map(|(set, cost)| format!("without {set} {cost}"))
        .collect()
}

/// In the order in which they matter. Those without which nothing works are errors, and told where they are met.
const COSTS: [(Set, &str); 5] = [
    (
        NET_ADMIN,
        "the text of rules is not shown, nor how near others came",
    ),
    (NET_RAW, "iptables does not show the text of legacy rules"),
    (
        SYS_ADMIN,
        "other network namespaces cannot be entered: their rules have numbers and no text",
    ),
    (
        DAC_READ_SEARCH,
        "legacy tables in namespaces of other users are not found",
    ),
    (
        SYS_PTRACE,
        "namespaces without a name are not found through processes of other users",
    ),
];

const _: () = assert!(!OF_TOOLS.has(SETPCAP));
