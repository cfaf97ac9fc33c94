//! What observer is kept from, for scenarios about machines that allow less.

mod unit;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{Error, Result as IoResult};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::{null, null_mut};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What is taken from observer before it starts. Nothing by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cage {
    /// A user id to run it as.
    pub user: Option<u32>,
    /// Capabilities that it lacks although it is root: `sys_admin`, `bpf`, `perfmon`.
    #[serde(default)]
    pub without: Vec<String>,
    /// Whether a seccomp filter refuses bpf(2), as that of a container does.
    #[serde(default)]
    pub no_bpf: bool,
    /// Whether bpf(2) makes no map: the kernel has no memory.
    #[serde(default)]
    pub no_maps: bool,
    /// Whether a seccomp filter knows none of the system calls that are younger than Linux 3.10, for it and for what it runs.
    #[serde(default)]
    pub linux_3_10: bool,
    /// A systemd unit, whose capabilities and system calls are all that it and what it runs have.
    pub unit: Option<String>,
    /// Directories that it sees empty.
    #[serde(default)]
    pub empty: Vec<String>,
    /// Files that it sees with another file's contents.
    #[serde(default)]
    pub cover: BTreeMap<String, String>,
    /// Whether it must do without nf_tables' trace hook, as where its gates refuse the key.
    #[serde(default)]
    pub no_trace_key: bool,
    /// Whether it must do without fentry.
    #[serde(default)]
    pub no_fentry: bool,
}

impl Cage {
    /// Makes `command` start in it.
    pub fn close(&self, command: &mut Command) -> Result<()> {
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let switches = [
            (self.no_trace_key, "OBSERVER_NO_TRACE_KEY"),
            (self.no_fentry, "OBSERVER_NO_FENTRY"),
        ];
        for (_, name) in switches.iter().filter(|(is_on, _)| *is_on) {
            command.env(name, "1");
        }
        let unit = self.unit.as_deref().map(unit::Unit::read).transpose()?;
        let numbers = |names: &[String]| -> Result<Vec<libc::c_ulong>> {
            names.iter().map(|name| capability(name)).collect()
        };
        let mut without = numbers(&self.without)?;
        let mut filter = None;
        if let Some(unit) = unit {
            let left = numbers(&unit.capabilities)?;
            without.extend((0..=LAST_CAPABILITY).filter(|number| !left.contains(number)));
            filter = Some(unit.filter);
        }
        let paths = |pair: (&str, &str)| -> Result<(CString, CString)> {
            let path = |text| CString::new(text).context("a path with a zero byte");
            Ok((path(pair.0)?, path(pair.1)?))
        };
        let empty = self.empty.iter().map(|at| paths(("tmpfs", at)));
        let empty = empty.collect::<Result<Vec<_>>>()?;
        let cover = self.cover.iter().map(|(at, with)| paths((with, at)));
        let cover = cover.collect::<Result<Vec<_>>>()?;
        let (no_bpf, no_maps, is_old) = (self.no_bpf, self.no_maps, self.linux_3_10);
        if is_old && !cfg!(target_arch = "x86_64") {
            bail!("which system calls Linux 3.10 has is known of x86_64 only");
        }
        // SAFETY: between fork and exec only system calls are made, on memory that was allocated before.
        unsafe {
            command.pre_exec(move || {
                if !empty.is_empty() || !cover.is_empty() {
                    hide(&empty, &cover)?;
                }
                for capability in &without {
                    // One that this kernel does not know yet is not there.
                    let code = libc::prctl(libc::PR_CAPBSET_DROP, *capability, 0, 0, 0);
                    if code != 0 && Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
                        return Err(Error::last_os_error());
                    }
                }
                if is_old {
                    refuse_what_is_younger()?;
                }
                if no_maps {
                    refuse_maps()?;
                }
                if let Some(filter) = &filter {
                    // The lab's own steps are written the same way.
                    install(
                        filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
                        filter.len(),
                    )?;
                }
                if no_bpf { refuse_bpf() } else { Ok(()) }
            });
        }
        Ok(())
    }
}

/// `CAP_CHECKPOINT_RESTORE`, the last one (Linux 5.9 and later).
const LAST_CAPABILITY: libc::c_ulong = 40;

/// Numbers of include/uapi/linux/capability.h.
fn capability(name: &str) -> Result<libc::c_ulong> {
    Ok(match name {
        "dac_read_search" => 2,
        "net_admin" => 12,
        "net_raw" => 13,
        "sys_ptrace" => 19,
        "sys_admin" => 21,
        "syslog" => 34,
        "perfmon" => 38,
        "bpf" => 39,
        other => bail!("`{other}` is no capability this lab knows"),
    })
}

/// Mounts in a mount namespace that ends with the program.
fn hide(empty: &[(CString, CString)], cover: &[(CString, CString)]) -> IoResult<()> {
    // SAFETY: a system call without pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the path is a literal; the other pointers may be null for this change.
    check(unsafe { libc::mount(null(), c"/".as_ptr(), null(), private, null()) })?;
    for (tmpfs, at) in empty {
        // SAFETY: all strings live across the call.
        check(unsafe { libc::mount(tmpfs.as_ptr(), at.as_ptr(), tmpfs.as_ptr(), 0, null()) })?;
    }
    for (with, at) in cover {
        // SAFETY: both strings live across the call.
        check(unsafe { libc::mount(with.as_ptr(), at.as_ptr(), null(), libc::MS_BIND, null()) })?;
    }
    Ok(())
}

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Installs a filter that answers bpf(2) with EPERM and allows everything else.
fn refuse_bpf() -> IoResult<()> {
    refuse(IF_EQUAL, libc::SYS_bpf as u32, libc::EPERM)
}

/// Installs a filter that knows no system call of x86_64 after `finit_module`, the last one of Linux 3.8 to 3.13
/// (arch/x86/syscalls/syscall_64.tbl).
fn refuse_what_is_younger() -> IoResult<()> {
    const LAST: u32 = 313;
    refuse(IF_GREATER, LAST, libc::ENOSYS)
}

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Installs a filter that answers bpf(2) with ENOMEM where it is asked for a map: `BPF_MAP_CREATE` is 0
/// (include/uapi/linux/bpf.h), and the first argument is at byte 16 of what a filter sees.
fn refuse_maps() -> IoResult<()> {
    install_steps(&mut [
        step(LOAD_WORD, 0, 0, 0),
        step(IF_EQUAL, 0, 3, libc::SYS_bpf as u32),
        step(LOAD_WORD, 0, 0, 16),
        step(IF_EQUAL, 0, 1, 0),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOMEM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}

/// Installs a filter that answers the calls whose number compares so with an error.
fn refuse(comparison: u16, number: u32, error: libc::c_int) -> IoResult<()> {
    // The number of the system call is the first word of what a filter sees (include/uapi/linux/seccomp.h).
    install_steps(&mut [
        step(LOAD_WORD, 0, 0, 0),
        step(comparison, 0, 1, number),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}

fn install_steps(steps: &mut [libc::sock_filter]) -> IoResult<()> {
    install(steps.as_mut_ptr(), steps.len())
}

/// Installs a filter of so many steps.
fn install(steps: *mut libc::sock_filter, count: usize) -> IoResult<()> {
    let mut program = libc::sock_fprog {
        len: count as u16,
        filter: steps,
    };
    // SAFETY: a system call without pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let program: *mut libc::sock_fprog = &raw mut program;
    // SAFETY: the program and its steps live across the call, which copies them.
    check(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            program,
            null_mut::<libc::c_void>(),
            null_mut::<libc::c_void>(),
        )
    })
}

fn check(code: libc::c_int) -> IoResult<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_cage_changes_nothing() {
        let mut command = Command::new("true");
        Cage::default().close(&mut command).expect("close");
        assert!(command.status().expect("true").success());
    }

    #[test]
    fn an_unknown_capability_is_an_error() {
        let cage = Cage {
            without: vec!["fly".into()],
            ..Cage::default()
        };
        assert!(cage.close(&mut Command::new("true")).is_err());
    }
}
