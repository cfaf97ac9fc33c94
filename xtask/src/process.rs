//! Running other programs, and cargo inside cargo.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` with our own standard streams; anything but success is an error that names it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", name(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", name(command));
    }
    Ok(())
}

/// Runs `command` and shows what it printed only when it fails.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", name(command)))?;
    if !output.status.success() {
        eprint!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        bail!("{} failed ({}): see above", name(command), output.status);
    }
    Ok(())
}

/// What `command` printed, if it ran and succeeded. Its complaints are not shown: the caller has a better one.
pub fn stdout_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The file that running `program` would execute, as a shell's `command -v` says it.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // root's PATH may lack these two after `su` or under cron, and most of what we need lives there.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// A tool whose output is read, in no language of the machine's and in no time zone.
pub fn neutral(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

/// What the compiler that user space is built with says.
pub fn rustc_says(words: &[&str]) -> Result<String> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")));
    stdout_of(rustc.current_dir(crate::workspace::root()).args(words))
        .with_context(|| format!("rustc {} failed", words.join(" ")))
}

/// cargo for user space: the one that started us.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(crate::workspace::root());
    forget(&mut command, describes_this_package);
    command
}

/// Takes out of `command`'s environment every variable whose name satisfies `unwanted`.
pub fn forget(command: &mut Command, unwanted: impl Fn(&str) -> bool) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(&unwanted) {
            command.env_remove(name);
        }
    }
}

/// What `cargo run` tells the program it runs about itself; build scripts would mistake it for theirs.
pub fn describes_this_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
        || [
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
            "OUT_DIR",
            "LD_LIBRARY_PATH",
        ]
        .contains(&variable)
}

/// What would make another toolchain's cargo use this toolchain's compiler, or this build's flags.
pub fn chooses_toolchain(variable: &str) -> bool {
    describes_this_package(variable)
        || [
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "RUST_RECURSION_COUNT",
            "CARGO",
            "RUSTC",
            "RUSTDOC",
        ]
        .contains(&variable)
        || [
            "RUSTUP_TOOLCHAIN",
            "RUSTC_",
            "CARGO_BUILD_",
            "CARGO_ENCODED_",
            "CARGO_TARGET_",
            "CARGO_PROFILE_",
        ]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args().take(2));
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_cargo_keeps_its_registry_settings_and_loses_the_outer_toolchain() {
        for kept in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_CAINFO",
            "CARGO_TERM_COLOR",
            "RUSTUP_HOME",
        ] {
            assert!(!chooses_toolchain(kept), "{kept}");
        }
        for lost in [
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "CARGO_TARGET_DIR",
            "CARGO_PKG_NAME",
            "CARGO",
        ] {
            assert!(chooses_toolchain(lost), "{lost}");
        }
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_and_not_a_panic() {
        assert!(run(&mut Command::new("/nonexistent/program")).is_err());
        assert_eq!(stdout_of(&mut Command::new("/nonexistent/program")), None);
        assert_eq!(which("no-such-program-anywhere"), None);
    }
}
