//! A seccomp filter: the system calls that observer and the tools that it runs make, and no others.
//!
//! Every other call answers `ENOSYS`, as on a kernel that is too old to have it: C libraries then do without, and a watch
//! goes on. Calls that no error of ours could make, and that somebody who had taken this process over would, end it.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{Service, Task};

mod older;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What end the process.
const NEVER: &[libc::c_long] = &[
    // Modules, kernels, the machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    // File systems.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_mknodat,
    libc::SYS_open_by_handle_at,
];

/// What any program does: files that it may open, memory, threads, time.
const EVERYBODY: &[libc::c_long] = &[
    // Files and directories. Nothing renames, removes or links, and nothing changes owners or modes.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fadvise64,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_umask,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads and processes. `clone3` hides its flags from a filter, and libraries do without it.
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_prctl,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_getrlimit,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_getrandom,
    libc::SYS_futex,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time, and waiting.
    libc::SYS_gettimeofday,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_setitimer,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    // Netlink. Nothing listens; only for `--metrics` something accepts, and only who asks for names and who sends to a collector connects.
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
];

/// What who asks for names, or sends to a collector, does not do: run a program, or change a file.
const OF_OTHERS: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_kill,
    libc::SYS_ftruncate,
    libc::SYS_mkdirat,
    libc::SYS_bind,
];

/// The processor that this is built for: a call of another one's numbers ends the process.
const PROCESSOR: TargetArch = if cfg!(target_arch = "aarch64") {
    TargetArch::aarch64
} else {
    TargetArch::x86_64
};

/// `SOL_NETLINK`, include/linux/socket.h.
const SOL_NETLINK: u64 = 270;
/// `PERF_EVENT_IOC_ENABLE`, `_DISABLE` and `_SET_BPF`, include/uapi/linux/perf_event.h.
const PERF_IOCTLS: [u64; 3] = [0x2400, 0x2401, 0x4004_2408];
/// `TCSETS`, `TCGETS2` and `TCSETS2`, include/uapi/asm-generic/ioctls.h. Not `TIOCSTI`, which would type for whoever comes after.
const TERMINAL_MODES: [u64; 3] = [0x5402, 0x802c_542a, 0x402c_542b];
/// Commands of bpf(2), include/uapi/linux/bpf.h: maps (0 to 4), loading a program, running one by command, what there is to
/// know of a descriptor, a tracepoint, types, no more writing to a map, a link. Not among them: pinning (6) and whatever looks at
/// other people's programs.
const BPF_COMMANDS: [u64; 13] = [0, 1, 2, 3, 4, 5, 10, 15, 17, 18, 22, 26, 28];

/// Installs the filter for the calling thread, and so for all that it starts.
///
/// # Errors
/// The kernel has no seccomp filters.
pub fn filter(task: Task, service: Service) -> io::Result<()> {
    for program in programs(task, service).map_err(io::Error::other)? {
        install(&program)?;
    }
    Ok(())
}

/// Keeps the calling thread, and no other, from opening files from now on: for a library that reads what it is not asked for.
///
/// # Errors
/// The kernel has no seccomp filters, or new privileges are still allowed.
pub fn open_nothing() -> io::Result<()> {
    let opening = [libc::SYS_openat, libc::SYS_openat2]
        .into_iter()
        .chain(older::OPENING);
    let filter = SeccompFilter::new(
        opening.map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EACCES as u32),
        PROCESSOR,
    );
    install(&filter.and_then(TryInto::try_into).map_err(io::Error::other)?)
}

/// Two filters: of what they say the kernel takes the worse.
fn programs(task: Task, service: Service) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let never = NEVER
        .iter()
        .chain(&older::NEVER)
        .map(|call| (*call, Vec::new()))
        .collect::<Rules>();
    let never = SeccompFilter::new(never, SeccompAction::Allow, SeccompAction::KillProcess, PROCESSOR)?;
    let allowed = SeccompFilter::new(
        allowed(task, service)?,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        PROCESSOR,
    )?;
    Ok([allowed.try_into()?, never.try_into()?])
}

fn allowed(task: Task, service: Service) -> Result<Rules, seccompiler::BackendError> {
    let everybody = EVERYBODY.iter().chain(&older::EVERYBODY);
    let mut rules: Rules = everybody.map(|call| (*call, Vec::new())).collect();
    let mut only = |call: libc::c_long, choices: Vec<SeccompRule>| {
        rules.insert(call, choices);
    };
    // A new process or thread, in no new namespace.
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let none = SeccompCmpOp::MaskedEq(namespaces as u64);
    only(libc::SYS_clone, vec![rule(&[(0, none, 0)])?]);
    let net = libc::CLONE_NEWNET as u64;
    if matches!(task, Task::Packets | Task::Counters) {
        only(libc::SYS_setns, vec![is(1, net)?]);
    }
    if task == Task::Packets {
        only(libc::SYS_unshare, vec![is(0, net)?]);
        only(libc::SYS_bpf, any_of(0, &BPF_COMMANDS)?);
        only(libc::SYS_perf_event_open, Vec::new());
    }
    if service == Service::Accepts {
        only(libc::SYS_accept4, Vec::new());
    }
    let domains = [libc::AF_NETLINK, libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];
    only(libc::SYS_socket, any_of(0, &domains.map(|domain| domain as u64))?);
    let connects = matches!(task, Task::Names | Task::Export);
    if connects {
        only(libc::SYS_connect, Vec::new());
    }
    // Not IPT_SO_SET_REPLACE and its kin: legacy iptables cannot write a table.
    only(
        libc::SYS_setsockopt,
        any_of(1, &[libc::SOL_SOCKET as u64, SOL_NETLINK])?,
    );
    // Terminals are asked, and devices for their names and numbers (`if_indextoname`); no device is set up.
    let terminals = [
        libc::TCGETS,
        libc::TIOCGWINSZ,
        libc::FIONREAD,
        libc::FIONBIO,
        libc::FIOCLEX,
    ];
    let modes: &[u64] = match service {
        Service::Terminal => &TERMINAL_MODES,
        Service::None | Service::Accepts => &[],
    };
    let devices = [libc::SIOCGIFNAME, libc::SIOCGIFINDEX];
    let requests: Vec<u64> = terminals
        .into_iter()
        .chain(devices)
        .chain(PERF_IOCTLS)
        .chain(modes.iter().copied())
        .collect();
    only(libc::SYS_ioctl, any_of(1, &requests)?);
    if connects {
        // The file of a buffer is cut.
        let kept = (task == Task::Export).then_some(libc::SYS_ftruncate);
        let of_others = OF_OTHERS.iter().chain(&older::OF_OTHERS);
        for call in of_others.filter(|call| Some(**call) != kept) {
            rules.remove(call);
        }
    }
    Ok(rules)
}

fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .iter()
        .map(|(argument, operator, value)| SeccompCondition::new(*argument, Dword, operator.clone(), *value))
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

fn is(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(&[(argument, SeccompCmpOp::Eq, value)])
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values.iter().map(|value| is(argument, *value)).collect()
}

/// By prctl(2): seccomp(2) is younger than Linux 3.10.
fn install(program: &BpfProgram) -> io::Result<()> {
    let steps = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        // The kernel copies it, and writes nothing there.
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: the program lives across the call; its steps are laid out as the kernel's are.
    let code = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const steps) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests;
