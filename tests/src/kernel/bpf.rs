//! The smallest BPF programs, two instructions that return a number, loaded and attached without a library; and which BPF objects
//! there are.

use std::io::Error;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
const BPF_MAP_GET_NEXT_ID: libc::c_long = 12;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_GET_NEXT_ID: libc::c_long = 31;

/// A program that always says the same.
pub(super) struct Program {
    /// `BPF_PROG_TYPE_*`
    pub(super) kind: u32,
    /// `enum bpf_attach_type`: what it is to be attached to.
    pub(super) attach: u32,
    /// What it returns.
    pub(super) returns: i32,
}

/// The start of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Loads a program; it is gone when the descriptor closes and nothing else holds it.
pub(super) fn load(program: Program) -> Result<OwnedFd> {
    // `r0 = returns; exit`, as `struct bpf_insn` lays them out.
    let mut code = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    code[4..8].copy_from_slice(&program.returns.to_ne_bytes());
    let load = Load {
        prog_type: program.kind,
        insn_cnt: 2,
        insns: code.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        expected_attach_type: program.attach,
        ..Load::default()
    };
    call(BPF_PROG_LOAD, &load)
}

/// What the kernel numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Object {
    Program,
    Map,
    Link,
}

/// The start of `union bpf_attr` for BPF_*_GET_NEXT_ID.
#[repr(C)]
#[derive(Default)]
struct Next {
    start_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The numbers of all there are, whoever holds them. A number is not given again before all others were.
pub(super) fn ids(object: Object) -> Result<Vec<u32>> {
    let command = match object {
        Object::Program => BPF_PROG_GET_NEXT_ID,
        Object::Map => BPF_MAP_GET_NEXT_ID,
        Object::Link => BPF_LINK_GET_NEXT_ID,
    };
    let (mut next, mut found) = (Next::default(), Vec::new());
    loop {
        // SAFETY: the attributes are plain data of the size we give, which the kernel may write to.
        let code = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut next, size_of::<Next>()) };
        if code == 0 {
            found.push(next.next_id);
            next.start_id = next.next_id;
            continue;
        }
        let error = Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(found),
            _ => Err(error).context("bpf()"),
        };
    }
}

/// Attaches a program as its kind's part of `union bpf_attr` for BPF_LINK_CREATE says; it is detached when the
/// descriptor closes.
pub(super) fn link<T>(attributes: &T) -> Result<OwnedFd> {
    call(BPF_LINK_CREATE, attributes)
}

fn call<T>(command: libc::c_long, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the attributes are plain data of the size we give, and what they point to outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if fd < 0 {
        return Err(Error::last_os_error()).context("bpf()");
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
