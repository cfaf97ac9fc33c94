//! A BPF program on a hook of netfilter that drops every packet (Linux 6.4 and later).

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use super::bpf::{self, Program};
use crate::cluster::Family;

const BPF_PROG_TYPE_NETFILTER: u32 = 32;
const BPF_NETFILTER: u32 = 45;
const NF_DROP: i32 = 0;

/// `union bpf_attr` for BPF_LINK_CREATE of a netfilter program.
#[repr(C)]
struct Link {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    family: u32,
    hook: u32,
    priority: i32,
    hook_flags: u32,
}

/// Attaches a program that drops everything to a hook of the calling thread's namespace. It is detached when the
/// descriptor closes.
pub fn drop_everything(family: Family, hook: &str, priority: i32) -> Result<OwnedFd> {
    let hooks = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let Some(number) = hooks.iter().position(|name| *name == hook) else {
        bail!("`{hook}` is no hook; write one of {}", hooks.join(", "))
    };
    let program = bpf::load(Program {
        kind: BPF_PROG_TYPE_NETFILTER,
        attach: BPF_NETFILTER,
        returns: NF_DROP,
    })
    .context("cannot load a netfilter program")?;
    let link = Link {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_NETFILTER,
        flags: 0,
        family: match family {
            Family::Ip => libc::NFPROTO_IPV4 as u32,
            Family::Ip6 => libc::NFPROTO_IPV6 as u32,
        },
        hook: number as u32,
        priority,
        hook_flags: 0,
    };
    bpf::link(&link).with_context(|| format!("cannot attach a netfilter program to {hook}"))
}
