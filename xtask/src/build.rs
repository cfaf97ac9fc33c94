//! `cargo xtask build`: the eBPF object, then the binary that embeds it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::toolchain::{TARGET, Toolchain};

use crate::workspace::{self, Profile};
use crate::{linker, process, setup, static_elf};

/// The options of `cargo xtask build`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Build the binary optimised (the eBPF object always is)
    #[arg(long)]
    release: bool,
}

/// Builds everything, after setting up what building needs.
pub fn main(arguments: &Arguments) -> Result<()> {
    object()?;
    let profile = if arguments.release {
        Profile::Release
    } else {
        Profile::Debug
    };
    observer(profile)
}

/// Builds the eBPF object.
pub fn object() -> Result<()> {
    let toolchain = setup::build()?;
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--release"]);
    for_ebpf(&mut cargo, &toolchain)?;
    process::run(&mut cargo).context("the eBPF object did not build: see above")
}

/// Points a cargo command at the eBPF crate and its target.
pub fn for_ebpf(cargo: &mut Command, toolchain: &Toolchain) -> Result<()> {
    let flags = [
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        // BTF is made from the debug data, and loading needs it.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // With it every memset would be a call of a function that goes byte by byte.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        format!(
            "-Clinker={}",
            linker::program(toolchain.version().llvm_major).path()?.display()
        ),
    ];
    cargo
        .args([
            "--package",
            "observer-ebpf",
            "--target",
            TARGET,
            "-Zbuild-std=core",
        ])
        .arg("--target-dir")
        .arg(workspace::ebpf_target())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(())
}

/// Builds observer so that it starts on any Linux of x86_64, however old its C library, and where there is none: the C
/// library of this machine is in it.
pub fn observer(profile: Profile) -> Result<()> {
    let (package, bin) = ("observer", "observer");
    // `rustc` instead of `build`: the flag is for this link only, not for build scripts nor for what they need.
    program("rustc", package, bin, profile, &["-Ctarget-feature=+crt-static"])?;
    let path = workspace::binary(bin, profile);
    let checked = match profile {
        Profile::Release => static_elf::check_calls(&path),
        Profile::Debug | Profile::Lab => static_elf::check(&path),
    };
    checked.with_context(|| format!("{} would not start everywhere", path.display()))
}

/// Builds the lab, for this machine alone: it runs beside the tools that it calls.
pub fn lab() -> Result<()> {
    program("build", "observer-tests", "observer-lab", Profile::Lab, &[])
}

/// Builds one of the workspace's user-space programs with the plain toolchain.
fn program(verb: &str, package: &str, bin: &str, profile: Profile, flags: &[&str]) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args([verb, "--package", package, "--bin", bin]);
    cargo.args(["--profile", profile.name()]);
    if !flags.is_empty() {
        cargo.arg("--").args(flags);
    }
    embed(&mut cargo);
    process::run(&mut cargo).with_context(|| format!("{bin} did not build: see above"))
}

/// Tells observer's build script where the object is, when that is not where it looks by itself.
///
/// The variable is left alone otherwise: a build script runs again whenever it changes, and so would it at every turn
/// between this command and a plain `cargo check`.
pub fn embed(cargo: &mut Command) {
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        cargo.env("OBSERVER_EBPF_OBJECT", workspace::ebpf_object());
    }
}
