//! With the running kernel, in threads and processes that end with what they have given up.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use super::super::no_new_privileges;
use super::*;

/// Says to a test which call it is to make, as a process that may die of it.
const CALL: &str = "OBSERVER_TEST_MAKES_THE_CALL";

/// Runs something in a thread that the filter holds for.
fn filtered<T: Send + 'static>(task: Task, run: impl FnOnce() -> T + Send + 'static) -> T {
    serving(task, Service::None, run)
}

/// The same while somebody is served.
fn serving<T: Send + 'static>(task: Task, service: Service, run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        assert!(no_new_privileges());
        filter(task, service).expect("this kernel filters");
        run()
    });
    thread.join().expect("thread")
}

fn errno(result: libc::c_long) -> i32 {
    assert_eq!(result, -1, "it was allowed");
    io::Error::last_os_error().raw_os_error().expect("an error")
}

#[test]
fn what_nothing_here_does_is_unknown_to_the_kernel() {
    filtered(Task::Packets, || {
        let raw = |call, arguments: [libc::c_long; 3]| {
            // SAFETY: none of these calls has a pointer that is looked at before its other arguments.
            errno(unsafe { libc::syscall(call, arguments[0], arguments[1], arguments[2]) })
        };
        // bpf(BPF_OBJ_PIN) and bpf(BPF_PROG_GET_NEXT_ID).
        assert_eq!(raw(libc::SYS_bpf, [6, 0, 0]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_bpf, [11, 0, 0]), libc::ENOSYS);
        // A map is no more than wrong: this one is looked at.
        assert_ne!(raw(libc::SYS_bpf, [0, 0, 0]), libc::ENOSYS);
        let newns = libc::c_long::from(libc::CLONE_NEWNS);
        assert_eq!(raw(libc::SYS_unshare, [newns, 0, 0]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_setns, [-1, newns, 0]), libc::ENOSYS);
        let newnet = libc::c_long::from(libc::CLONE_NEWNET);
        assert_eq!(raw(libc::SYS_setns, [-1, newnet, 0]), libc::EBADF);
        // Legacy iptables writes a table by setsockopt(SOL_IP, IPT_SO_SET_REPLACE).
        assert_eq!(raw(libc::SYS_setsockopt, [-1, 0, 64]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_setsockopt, [-1, 1, 8]), libc::EBADF);
        // SIOCSIFFLAGS.
        assert_eq!(raw(libc::SYS_ioctl, [-1, 0x8914, 0]), libc::ENOSYS);
        // SAFETY: the name is zero-terminated.
        let number = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
        assert_ne!(number, 0, "lo has a number");
        assert_eq!(raw(libc::SYS_connect, [-1, 0, 0]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_listen, [-1, 0, 0]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_accept, [-1, 0, 0]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_accept4, [-1, 0, 0]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_unlinkat, [-1, 0, 0]), libc::ENOSYS);
        assert_eq!(raw(libc::SYS_clone3, [0, 0, 0]), libc::ENOSYS);
    });
}

#[test]
fn only_who_drives_a_terminal_sets_its_modes_and_nobody_types_for_others() {
    let ioctl = |request: u64| {
        // SAFETY: there is no such descriptor: nothing is looked at.
        errno(unsafe { libc::syscall(libc::SYS_ioctl, -1, request, 0) })
    };
    for (service, expected) in [
        (Service::Terminal, libc::EBADF),
        (Service::None, libc::ENOSYS),
        (Service::Accepts, libc::ENOSYS),
    ] {
        serving(Task::Packets, service, move || {
            for request in TERMINAL_MODES {
                assert_eq!(ioctl(request), expected, "{request:x}");
            }
            // TIOCSTI and TIOCSCTTY.
            assert_eq!((ioctl(0x5412), ioctl(0x540e)), (libc::ENOSYS, libc::ENOSYS));
            assert_eq!(ioctl(libc::TIOCGWINSZ), libc::EBADF);
        });
    }
}

#[test]
fn a_thread_that_opens_nothing_leaves_the_others_alone() {
    let name = "/proc/self/status";
    let thread = std::thread::spawn(move || {
        assert!(no_new_privileges());
        open_nothing().expect("this kernel filters");
        let denied = std::fs::read(name).expect_err("it is not opened");
        assert_eq!(denied.raw_os_error(), Some(libc::EACCES));
    });
    thread.join().expect("thread");
    assert!(std::fs::read(name).is_ok());
}

#[test]
fn who_serves_metrics_accepts_and_does_not_connect_or_listen() {
    for task in [Task::Packets, Task::Counters] {
        serving(task, Service::Accepts, || {
            answer_alike(&[libc::SYS_accept4], libc::EBADF);
            answer_alike(
                &[libc::SYS_accept, libc::SYS_connect, libc::SYS_listen],
                libc::ENOSYS,
            );
        });
    }
}

/// What neither who asks for names nor who sends to a collector may do.
const NOT_WHO_CONNECTS: [libc::c_long; 8] = [
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_setns,
    libc::SYS_execve,
    libc::SYS_kill,
    libc::SYS_mkdirat,
];

#[test]
fn who_asks_for_names_connects_and_runs_and_changes_nothing() {
    filtered(Task::Names, || {
        answer_alike(&[libc::SYS_connect], libc::EBADF);
        answer_alike(&NOT_WHO_CONNECTS, libc::ENOSYS);
        answer_alike(&older::OF_OTHERS, libc::ENOSYS);
        answer_alike(&[libc::SYS_ftruncate], libc::ENOSYS);
        assert!(std::fs::read("/proc/self/stat").is_ok());
    });
}

#[test]
fn who_sends_to_a_collector_connects_and_cuts_its_file_and_runs_nothing() {
    filtered(Task::Export, || {
        answer_alike(&[libc::SYS_connect], libc::EBADF);
        answer_alike(&NOT_WHO_CONNECTS, libc::ENOSYS);
        answer_alike(&older::OF_OTHERS, libc::ENOSYS);
        // Not unknown: there is no such descriptor.
        answer_alike(&[libc::SYS_ftruncate], libc::EBADF);
    });
}

/// Each of these calls, with nothing that it could be done to.
fn answer_alike(calls: &[libc::c_long], expected: i32) {
    for call in calls {
        // SAFETY: there is no such descriptor, process or path, so nothing is looked at or done.
        let answer = errno(unsafe { libc::syscall(*call, -1, 0, 0, 0) });
        assert_eq!(answer, expected, "{call}");
    }
}

#[test]
fn without_programs_there_is_no_bpf_and_rules_need_no_namespace() {
    filtered(Task::Counters, || {
        // SAFETY: no pointers.
        let code = unsafe { libc::syscall(libc::SYS_bpf, 0, 0, 0) };
        assert_eq!(errno(code), libc::ENOSYS);
    });
    filtered(Task::Rules, || {
        // SAFETY: no pointers.
        let code = unsafe { libc::syscall(libc::SYS_setns, -1, libc::CLONE_NEWNET) };
        assert_eq!(errno(code), libc::ENOSYS);
    });
}

#[test]
fn threads_files_and_tools_work_behind_it() {
    let printed = filtered(Task::Counters, || {
        std::thread::spawn(|| std::fs::read_to_string("/proc/self/stat").expect("read"))
            .join()
            .expect("thread");
        Command::new("sh")
            .args(["-c", "ls / | wc -l; echo done"])
            .output()
            .expect("sh")
    });
    assert!(
        String::from_utf8_lossy(&printed.stdout).ends_with("done\n"),
        "{printed:?}"
    );
    assert!(
        printed.status.success() && printed.stderr.is_empty(),
        "{printed:?}"
    );
}

#[test]
fn what_only_an_intruder_would_do_ends_the_process() {
    if let Ok(number) = std::env::var(CALL) {
        let number = number.parse::<libc::c_long>().expect("a number");
        assert!(no_new_privileges());
        filter(Task::Packets, Service::None).expect("this kernel filters");
        // SAFETY: the kernel does not get to look at the arguments.
        unsafe { libc::syscall(number, -1, 0, 0, 0, 0, 0) };
        std::process::exit(0);
    }
    let own = std::env::current_exe().expect("this test");
    let name = format!(
        "{}::what_only_an_intruder_would_do_ends_the_process",
        module_path!().split_once("::").expect("a crate").1
    );
    for call in NEVER {
        let status = Command::new(&own)
            .args(["--exact", &name])
            .env(CALL, call.to_string())
            .output()
            .expect("runs")
            .status;
        assert_eq!(status.signal(), Some(libc::SIGSYS), "call {call}: {status}");
    }
}
