//! `cargo xtask lint`: what must be right before anything is run. Warnings are errors.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::cargo_install::Program;
use crate::processor::Processor;
use crate::{build, manifests, process, setup, workspace};

const USER_SPACE: [&str; 3] = ["--workspace", "--exclude", "observer-ebpf"];

/// Formatting, the lock file, the manifests, clippy for user space and for the kernel programs, documentation, licences.
pub fn main() -> Result<()> {
    step("formatting", process::cargo().args(["fmt", "--all", "--check"]))?;
    let mut metadata = process::cargo();
    metadata
        .args(["metadata", "--locked", "--quiet", "--format-version", "1"])
        .stdout(Stdio::null());
    step("Cargo.lock", &mut metadata)?;
    eprintln!("lint: manifests");
    manifests::ensure()?;
    manifests::check()?;
    let mut clippy = process::cargo();
    clippy
        .arg("clippy")
        .args(USER_SPACE)
        .args(["--all-targets", "--", "--deny", "warnings"]);
    build::embed(&mut clippy, Processor::here());
    step("clippy, user space", &mut clippy)?;
    kernel_programs()?;
    let mut doc = process::cargo();
    doc.arg("doc")
        .args(USER_SPACE)
        .args(["--no-deps", "--document-private-items"]);
    build::embed(&mut doc, Processor::here());
    step("documentation", doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
    licences()
}

/// With the clippy of the compiler that builds them, for the target that they build for, of each processor.
fn kernel_programs() -> Result<()> {
    let toolchain = setup::lint()?;
    for processor in Processor::ALL {
        let mut clippy = toolchain.clippy().context("clippy is missing: run this again")?;
        build::for_ebpf(&mut clippy, &toolchain, processor)?;
        step(
            &format!("clippy, kernel programs of {processor}"),
            clippy.args(["--release", "--", "--deny", "warnings"]),
        )?;
    }
    Ok(())
}

/// Every dependency's licence and source against deny.toml. (Advisories would need a database from the network.)
pub fn licences() -> Result<()> {
    let deny = Program {
        name: "cargo-deny",
        version: "0.20.2",
        suffix: String::new(),
    };
    if !deny.works() {
        eprintln!("lint: building cargo-deny {} (a few minutes)", deny.version);
        // It runs for a second: what its own profile spends on optimising it never comes back.
        deny.install(|cargo| {
            cargo
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        })?;
    }
    let mut command = Command::new(deny.path()?);
    command
        .current_dir(workspace::root())
        .args(["check", "licenses", "bans", "sources"]);
    process::forget(&mut command, process::describes_this_package);
    step("licences", &mut command)
}

fn step(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("lint: {what}");
    process::run(command).with_context(|| format!("{what}: see above"))
}
