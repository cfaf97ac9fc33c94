//! With a program that the running kernel runs: needs root, and does nothing without.

use std::os::fd::{AsFd as _, FromRawFd as _};

use super::*;
use crate::kernel::budget::{PERIOD, WINDOW};

// include/uapi/linux/bpf.h
const BPF_PROG_LOAD: i64 = 5;
const BPF_PROG_TEST_RUN: i64 = 10;
const BPF_PROG_TYPE_SOCKET_FILTER: u64 = 1;

/// The beginning of `union bpf_attr`, as many words as either command takes here.
type Attributes = [u64; 10];

fn bpf(command: i64, attributes: &Attributes) -> i64 {
    // SAFETY: the kernel reads as many bytes as it is told, and what they point to outlives the call (see the callers).
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of::<Attributes>(),
        )
    }
}

/// A program that returns 0; `None` without privilege.
fn program() -> Option<OwnedFd> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: needs root");
        return None;
    }
    // r0 = 0; exit (struct bpf_insn: code, registers, offset, immediate)
    let instructions: [u64; 2] = [0xb7, 0x95];
    let license = c"GPL";
    let mut attributes = Attributes::default();
    attributes[0] = BPF_PROG_TYPE_SOCKET_FILTER | 2 << 32;
    attributes[1] = instructions.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    let fd = i32::try_from(bpf(BPF_PROG_LOAD, &attributes)).expect("a descriptor");
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor was opened above and belongs to nobody else.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs it some thousand times.
fn run(program: &OwnedFd) {
    let packet = [0u8; 64];
    let mut attributes = Attributes::default();
    attributes[0] = u64::try_from(program.as_raw_fd()).expect("a descriptor");
    // data_size_in, data_size_out, data_in, data_out, repeat, duration
    attributes[1] = packet.len() as u64;
    attributes[2] = packet.as_ptr() as u64;
    attributes[4] = 20_000;
    assert_eq!(
        bpf(BPF_PROG_TEST_RUN, &attributes),
        0,
        "{}",
        io::Error::last_os_error()
    );
}

/// How much the counter grows while the program runs.
fn growth(program: &OwnedFd) -> u64 {
    let before = run_time_ns(program).expect("fdinfo");
    run(program);
    run_time_ns(program).expect("fdinfo") - before
}

/// Nobody else may be counting: another observer does for a tenth of the time, so a few tries are enough.
fn sees_no_growth(program: &OwnedFd) -> bool {
    (0..20).any(|_| {
        std::thread::sleep(WINDOW / 3);
        growth(program) == 0
    })
}

#[test]
fn run_times_are_counted_only_within_windows() {
    let Some(program) = program() else { return };
    let mut meter = Meter::new(20);
    let mut now = Instant::now();
    meter.watch(&[program.as_fd()], now).expect("watched");
    for _ in 0..2 {
        assert!(sees_no_growth(&program), "counted before the window");
        assert_eq!(meter.look(now).expect("look"), None, "it is not time");
        now = meter.due().expect("due");
        assert_eq!(meter.look(now).expect("look"), None, "the window begins");
        let ran = growth(&program);
        assert!(ran > 0, "not counted within the window");
        std::thread::sleep(WINDOW);
        now = Instant::now();
        let measured = meter.look(now).expect("look").expect("the window ended");
        assert!(measured.share > Permille(0) && !measured.is_over, "{measured:?}");
        assert!(sees_no_growth(&program), "counted after the window");
    }
}

#[test]
fn a_program_that_never_rests_is_over_after_some_windows() {
    let Some(program) = program() else { return };
    let mut meter = Meter::new(20);
    meter.watch(&[program.as_fd()], Instant::now()).expect("watched");
    let mut windows = 0;
    loop {
        run(&program);
        let Some(measured) = meter.look(Instant::now()).expect("look") else {
            continue;
        };
        windows += 1;
        if measured.is_over {
            break;
        }
        assert!(windows < 100, "never over");
    }
    assert!(windows >= 3, "over after one burst");
}

#[test]
fn nothing_is_measured_without_programs_or_without_a_limit() {
    let now = Instant::now();
    let mut meter = Meter::new(20);
    assert_eq!(meter.due(), None);
    assert_eq!(meter.look(now + PERIOD).expect("look"), None);
    let Some(program) = program() else { return };
    let mut meter = Meter::new(u32::MAX);
    meter.watch(&[program.as_fd()], now).expect("watched");
    assert_eq!(meter.due(), None);
    assert_eq!(meter.look(now + PERIOD).expect("look"), None);
    assert!(meter.counting.is_none());
}
