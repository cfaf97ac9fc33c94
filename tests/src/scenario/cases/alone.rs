//! A root directory with nothing in it but observer and a saved ruleset: no dynamic linker, no library, no `/proc`, no tool. It
//! must start, answer what needs nothing, and say in one line what it lacks for the rest.

use std::ffi::CString;
use std::fs;
use std::io::{Error, Result as IoResult};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

use super::super::run::{Lab, Place};
use crate::exec;
use crate::observer::code;
use crate::results::Outcome;

/// The rule of it that must be found.
const RULES: &str = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp --dport 53 -j ACCEPT\n-A FORWARD -d 10.224.0.0/16 -j DROP\nCOMMIT\n";
const EXPLAIN: &str =
    "explain --hook forward --src 10.224.0.1 --dst 10.224.2.16 --proto udp --port 80 --ruleset /case.save";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let root = place.work.join("root");
    fs::create_dir(&root)?;
    fs::copy(program, root.join("observer")).context("cannot copy observer")?;
    fs::write(root.join("case.save"), RULES)?;
    let mut failures = Vec::new();

    let said = inside(&root, &["--version"])?;
    if code(said.status) != 0 || !text(&said.stdout).starts_with("observer ") {
        failures.push(format!("--version: {}", told(&said)));
    }
    let said = inside(&root, &EXPLAIN.split(' ').collect::<Vec<_>>())?;
    if code(said.status) != 0 || !text(&said.stdout).contains("DROP rule 2 of filter FORWARD") {
        failures.push(format!("explain: {}", told(&said)));
    }
    let said = inside(&root, &["check"])?;
    if code(said.status) != 2 || !text(&said.stdout).contains("watch         would not work") {
        failures.push(format!("check: {}", told(&said)));
    }
    for (mode, lack) in [
        ("drops", "/sys/kernel/btf/vmlinux"),
        ("none", "neither iptables-save nor nft is there"),
    ] {
        let said = inside(&root, &["watch", "--probes", mode])?;
        let errors = text(&said.stderr);
        if code(said.status) != 2 || errors.lines().count() != 1 || !errors.contains(lack) {
            failures.push(format!("watch --probes {mode}: {}", told(&said)));
        }
    }
    Ok(Outcome::of(failures))
}

/// Runs the program that is in it, with that directory for its root.
fn inside(root: &Path, args: &[&str]) -> Result<Output> {
    let root = CString::new(root.as_os_str().as_bytes())?;
    let mut command = Command::new("/observer");
    command.args(args).env_clear().stdin(Stdio::null());
    exec::confine(&mut command, None);
    // SAFETY: between fork and exec only system calls are made, on memory that was allocated before.
    unsafe { command.pre_exec(move || enter(&root)) };
    command
        .output()
        .context("observer does not start in a root directory of its own")
}

fn enter(root: &CString) -> IoResult<()> {
    // SAFETY: the path lives across the calls.
    let entered = unsafe { libc::chroot(root.as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0 };
    if entered {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn told(output: &Output) -> String {
    format!(
        "code {}, stdout {}, stderr {}",
        code(output.status),
        text(&output.stdout).escape_debug(),
        text(&output.stderr).escape_debug()
    )
}
