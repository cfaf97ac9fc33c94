//! `cargo xtask build`: the eBPF object, then the binary that embeds it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::processor::Processor;
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::{self, Profile};
use crate::{linker, process, setup, static_elf};

/// The options of `cargo xtask build`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Build the binary optimised (the eBPF object always is)
    #[arg(long)]
    release: bool,
    /// The processor that it is for
    #[arg(long, value_enum, value_name = "PROCESSOR", default_value_t = Processor::here())]
    arch: Processor,
}

/// Builds everything, after setting up what building needs.
pub fn main(arguments: &Arguments) -> Result<()> {
    let profile = if arguments.release {
        Profile::Release
    } else {
        Profile::Debug
    };
    observer(profile, arguments.arch)
}

/// Builds the eBPF object.
pub fn object(processor: Processor) -> Result<()> {
    let toolchain = setup::build()?;
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--release"]);
    for_ebpf(&mut cargo, &toolchain, processor)?;
    process::run(&mut cargo).context("the eBPF object did not build: see above")
}

/// Points a cargo command at the eBPF crate and its target.
pub fn for_ebpf(cargo: &mut Command, toolchain: &Toolchain, processor: Processor) -> Result<()> {
    let flags = [
        format!("--cfg=bpf_target_arch=\"{processor}\""),
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
        .arg(workspace::ebpf_target(processor))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(())
}

/// Builds observer with its eBPF object so that it starts on any Linux of that processor, however old its C library, and where there is
/// none: the C library of this machine, or of its cross compiler, is in it.
pub fn observer(profile: Profile, processor: Processor) -> Result<()> {
    object(processor)?;
    // `rustc` instead of `build`: the flag is for this link only, not for build scripts nor for what they need.
    let mut cargo = program("rustc", ("observer", "observer"), profile, processor)?;
    cargo.args(["--", "-Ctarget-feature=+crt-static"]);
    embed(&mut cargo, processor);
    process::run(&mut cargo).context("observer did not build: see above")?;
    let path = workspace::binary("observer", profile, processor);
    let checked = match profile {
        Profile::Release => static_elf::check_calls(&path),
        Profile::Debug | Profile::Lab => static_elf::check(&path),
    };
    checked.with_context(|| format!("{} would not start everywhere", path.display()))
}

/// Builds the lab, for this machine, or one like it, alone: it runs beside the tools that it calls.
pub fn lab(processor: Processor) -> Result<()> {
    let mut cargo = program(
        "build",
        ("observer-tests", "observer-lab"),
        Profile::Lab,
        processor,
    )?;
    embed(&mut cargo, processor);
    process::run(&mut cargo).context("the lab did not build: see above")
}

/// One of the workspace's user-space programs, a package's, with the plain toolchain.
fn program(
    verb: &str,
    (package, bin): (&str, &str),
    profile: Profile,
    processor: Processor,
) -> Result<Command> {
    let mut cargo = process::cargo();
    cargo.args([verb, "--package", package, "--bin", bin]);
    cargo.args(["--profile", profile.name()]);
    if !processor.is_here() {
        setup::cross(processor)?;
        let target = processor.target();
        cargo.args(["--target", target]).env(
            format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase()),
            processor.tool("gcc"),
        );
    }
    Ok(cargo)
}

/// Tells observer's build script where the object is, when that is not where it looks by itself.
///
/// The variable is left alone otherwise: a build script runs again whenever it changes, and so would it at every turn
/// between this command and a plain `cargo check`.
pub fn embed(cargo: &mut Command, processor: Processor) {
    if std::env::var_os("CARGO_TARGET_DIR").is_some() || !processor.is_here() {
        cargo.env("OBSERVER_EBPF_OBJECT", workspace::ebpf_object(processor));
    }
}
