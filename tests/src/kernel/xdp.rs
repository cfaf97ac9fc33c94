//! The smallest XDP program: two instructions that drop everything.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use super::bpf::{self, Program};

const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 2;

const XDP_DROP: i32 = 1;

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
    let program = bpf::load(Program {
        kind: BPF_PROG_TYPE_XDP,
        attach: BPF_XDP,
        returns: XDP_DROP,
    })
    .context("cannot load an XDP program")?;
    let name = CString::new(device).context("device name")?;
    // SAFETY: the name is a C string that lives across the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        bail!("there is no device {device}");
    }
    let link = Link {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: index,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_SKB_MODE,
    };
    bpf::link(&link).with_context(|| format!("cannot attach an XDP program to {device}"))
}
