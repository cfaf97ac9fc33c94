//! Running the tools of the system (`ip`, `iptables-restore`, …) in a namespace.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::netns::Netns;

/// Makes a command run in `netns` (if given) and die with the thread that started it.
pub fn confine(command: &mut Command, netns: Option<&Netns>) {
    let namespace = netns.map(|netns| netns.fd().as_raw_fd());
    // SAFETY: between fork and exec only setns and prctl are called; both are plain system calls. The descriptor
    // is open in the parent for as long as `netns` is borrowed, that is until the fork at least.
    unsafe {
        command.pre_exec(move || {
            if let Some(fd) = namespace
                && libc::setns(fd, libc::CLONE_NEWNET) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// Runs a program to its end; `input` is its standard input.
pub fn output(netns: Option<&Netns>, program: &str, args: &[&str], input: &str) -> Result<Output> {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    confine(&mut command, netns);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {program}: is it installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is judged by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {program}"))
}

/// Runs a program that must succeed and returns its standard output.
pub fn run(netns: Option<&Netns>, program: &str, args: &[&str], input: &str) -> Result<String> {
    let output = output(netns, program, args, input)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{program} {}` failed: {}",
            args.join(" "),
            stderr.trim().replace('\n', "; ")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a shell script that must succeed.
pub fn shell(netns: Option<&Netns>, script: &str) -> Result<String> {
    run(netns, "sh", &["-ec", script], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_tool_is_an_error_with_its_own_words() {
        let error = shell(None, "echo no such thing >&2; exit 3").expect_err("must fail");
        assert!(error.to_string().contains("no such thing"));
        assert_eq!(run(None, "cat", &[], "hello").expect("cat"), "hello");
    }
}
