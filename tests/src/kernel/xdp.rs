//! The smallest XDP program: two instructions that drop everything.

use std::ffi::CString;
use std::io::Error;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 2;

/// `r0 = XDP_DROP; exit`, as the kernel's `struct bpf_insn` lays them out.
const DROP: [u8; 16] = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// The start of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The start of `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct Link {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a program that drops everything to a device of the calling thread's namespace, in generic mode. It is
/// detached when the descriptor closes.
pub fn drop_everything(device: &str) -> Result<OwnedFd> {
    let load = Load {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: DROP.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
    };
    let program = bpf(BPF_PROG_LOAD, &load).context("cannot load an XDP program")?;
    let name = CString::new(device).context("device name")?;
    // SAFETY: the name is a C string that lives across the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        bail!("there is no device {device}");
    }
    let link = Link {
        prog_fd: std::os::fd::AsRawFd::as_raw_fd(&program) as u32,
        target_ifindex: index,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_SKB_MODE,
    };
    bpf(BPF_LINK_CREATE, &link).with_context(|| format!("cannot attach an XDP program to {device}"))
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<OwnedFd> {
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
