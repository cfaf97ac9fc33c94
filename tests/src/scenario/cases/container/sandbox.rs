//! Mounts, a root directory and capabilities as a container runtime lays them (opencontainers/runtime-spec, config-linux.md).

use std::ffi::CString;
use std::fs;
use std::io::{Error, Result as IoResult};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::ptr::null;

use anyhow::{Context, Result, bail};

use crate::deploy::pod::Pod;
use crate::exec;

/// What every container has: where, from what (for `bind` a file of the node), and whether it can be written to.
const OF_EVERY_CONTAINER: [(&str, &str, &str, bool); 4] = [
    ("/proc", "proc", "", true),
    ("/proc/sys", "bind", "/proc/sys", false),
    ("/sys", "sysfs", "", false),
    ("/dev/null", "bind", "/dev/null", true),
];

/// `CAP_CHECKPOINT_RESTORE`, the last one (Linux 5.9 and later).
const LAST_CAPABILITY: u32 = 40;

/// One mount, ready to be made between fork and exec.
struct Mount {
    at: CString,
    kind: CString,
    from: CString,
    is_bind: bool,
    read_only: bool,
}

/// Makes `command` start as the one process of such a container.
pub(super) fn close(command: &mut Command, program: &Path, pod: &Pod, root: &Path) -> Result<()> {
    fs::create_dir(root)?;
    fs::copy(program, root.join("observer")).context("cannot copy observer")?;
    let mut mounts = Vec::new();
    for (at, kind, from, writable) in OF_EVERY_CONTAINER {
        mounts.push(mount(root, at, kind, from, !writable)?);
    }
    for one in &pod.mounts {
        mounts.push(mount(root, &one.to, "bind", &one.from, one.read_only)?);
    }
    let kept = pod
        .capabilities
        .iter()
        .map(|name| number(name))
        .collect::<Result<Vec<_>>>()?;
    let root = CString::new(root.as_os_str().as_bytes())?;
    exec::confine(command, None);
    // SAFETY: between fork and exec only system calls are made, on memory that was allocated before.
    unsafe {
        command.pre_exec(move || {
            enter(&root, &mounts)?;
            for number in (0..=LAST_CAPABILITY).filter(|number| !kept.contains(number)) {
                // One that this kernel does not know is not there.
                let code = libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0);
                if code != 0 && Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
                    return Err(Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Ok(())
}

fn mount(root: &Path, at: &str, kind: &str, from: &str, read_only: bool) -> Result<Mount> {
    let place = root.join(at.trim_start_matches('/'));
    // Below another mount it is there.
    if at != "/proc/sys" {
        if kind == "bind" && Path::new(from).exists() && !Path::new(from).is_dir() {
            fs::create_dir_all(place.parent().context("a file has a directory")?)?;
            fs::write(&place, "")?;
        } else {
            fs::create_dir_all(&place)?;
        }
    }
    if kind == "bind" && !Path::new(from).exists() {
        // `DirectoryOrCreate`.
        fs::create_dir_all(from).with_context(|| format!("cannot make {from}"))?;
    }
    Ok(Mount {
        at: CString::new(place.as_os_str().as_bytes())?,
        kind: CString::new(kind)?,
        // Of its own `/proc`, without what the node has mounted below its.
        from: match at {
            "/proc/sys" => CString::new(place.as_os_str().as_bytes())?,
            _ => CString::new(from)?,
        },
        is_bind: kind == "bind",
        read_only,
    })
}

/// Only system calls.
fn enter(root: &CString, mounts: &[Mount]) -> IoResult<()> {
    // SAFETY: a system call without pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // What is mounted on the node later comes to be seen where it is bound, and nothing goes back.
    call(null(), c"/", null(), libc::MS_REC | libc::MS_SLAVE)?;
    call(root.as_ptr(), root, null(), libc::MS_BIND)?;
    for one in mounts {
        if one.is_bind {
            call(one.from.as_ptr(), &one.at, null(), libc::MS_BIND | libc::MS_REC)?;
        } else {
            call(one.kind.as_ptr(), &one.at, one.kind.as_ptr(), 0)?;
        }
        if one.read_only {
            call(
                null(),
                &one.at,
                null(),
                libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY,
            )?;
        }
    }
    call(
        null(),
        root,
        null(),
        libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY,
    )?;
    // SAFETY: the paths live across the calls.
    check(unsafe { libc::chdir(root.as_ptr()) })?;
    // The old root on top of the new one, and off (pivot_root(2)).
    // SAFETY: both paths are literals.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) } as libc::c_int)?;
    // SAFETY: the path is a literal.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) })?;
    // SAFETY: the path is a literal.
    check(unsafe { libc::chdir(c"/".as_ptr()) })
}

fn call(
    from: *const libc::c_char,
    at: &std::ffi::CStr,
    kind: *const libc::c_char,
    flags: libc::c_ulong,
) -> IoResult<()> {
    // SAFETY: all strings live across the call, or are null where the change takes none.
    check(unsafe { libc::mount(from, at.as_ptr(), kind, flags, null()) })
}

fn check(code: libc::c_int) -> IoResult<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

/// Numbers of include/uapi/linux/capability.h.
fn number(name: &str) -> Result<u32> {
    Ok(match name {
        "DAC_READ_SEARCH" => 2,
        "NET_ADMIN" => 12,
        "NET_RAW" => 13,
        "SYS_PTRACE" => 19,
        "SYS_ADMIN" => 21,
        "SYSLOG" => 34,
        "PERFMON" => 38,
        "BPF" => 39,
        other => bail!("`{other}` is no capability this lab knows"),
    })
}

/// Whether the process is held as it should be: else nothing was tested.
pub(super) fn failures(pid: u32, pod: &Pod) -> Result<Vec<String>> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let mut expected = 0u64;
    for name in &pod.capabilities {
        expected |= 1 << number(name)?;
    }
    let status = read("status")?;
    let mut failures = Vec::new();
    for set in ["CapBnd", "CapPrm"] {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(set)?.strip_prefix(':'));
        let has =
            u64::from_str_radix(line.unwrap_or_default().trim(), 16).context("no set of capabilities")?;
        if has != expected {
            failures.push(format!("{set} is {has:x}, the manifest says {expected:x}"));
        }
    }
    // Nothing of the node's, and nothing to write to, but what the kernel answers for.
    for line in read("mountinfo")?.lines() {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let of_kernel = ["/proc", "/dev/null"].contains(&at);
        let is_read_only = options.split(',').any(|option| option == "ro");
        // Names of namespaces are files of the kernel's; what is mounted below the node's directories is as it is there.
        let below_a_mount = pod
            .mounts
            .iter()
            .any(|one| at.starts_with(&format!("{}/", one.to)));
        if !is_read_only && !of_kernel && !below_a_mount {
            failures.push(format!("{at} can be written to"));
        }
    }
    let mut seen: Vec<String> = fs::read_dir(format!("/proc/{pid}/root"))
        .context("its root directory cannot be listed")?
        .flatten()
        .map(|entry| format!("/{}", entry.file_name().to_string_lossy()))
        .collect();
    seen.retain(|name| {
        let of_the_pod = pod
            .mounts
            .iter()
            .any(|one| one.to == *name || one.to.starts_with(&format!("{name}/")));
        !of_the_pod && !["/observer", "/proc", "/sys", "/dev"].contains(&name.as_str())
    });
    failures.extend(seen.iter().map(|name| format!("it sees the node's {name}")));
    Ok(failures)
}
