//! `cargo xtask fuzz`: what observer reads, given inputs that libFuzzer chooses by the code that they reach.
//!
//! Plain stable Rust: the compiler's switches that cargo-fuzz sets, without its sanitizers, which need a nightly; what they look for
//! safe Rust does not have.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{process, setup, workspace};

/// Coverage that libFuzzer reads, and overflows that panic.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";
/// An input that takes longer is a finding.
const MOST_SECONDS: u32 = 10;
/// So is one that takes more memory than this.
const MOST_MIB: u32 = 512;
const MOST_BYTES: u32 = 64 << 10;

/// The options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only these targets; all where nothing is said
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Builds and runs. The code is 1 when an input was found that a target does not bear: libFuzzer names the file.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::fuzz()?;
    let program = build()?;
    let mut failed = Vec::new();
    let all = process::stdout_of(&mut Command::new(&program)).context("the fuzz targets do not start")?;
    let all: Vec<&str> = all.lines().collect();
    if let Some(unknown) = arguments
        .targets
        .iter()
        .find(|name| !all.contains(&name.as_str()))
    {
        bail!("{unknown} is no target; there are: {}", all.join(", "));
    }
    let is_chosen =
        |name: &&str| arguments.targets.is_empty() || arguments.targets.iter().any(|one| one == name);
    for target in all.into_iter().filter(is_chosen) {
        if !run(&program, target, arguments.seconds)? {
            failed.push(target);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("fuzz: failed: {}", failed.join(", "));
    Ok(ExitCode::from(1))
}

fn build() -> Result<std::path::PathBuf> {
    let directory = workspace::target().join("fuzz");
    let host = host()?;
    let mut cargo = process::cargo();
    // With a target named, the switches are not for build scripts.
    cargo
        .args([
            "build",
            "--release",
            "-p",
            "observer-tests",
            "--bin",
            "observer-fuzz",
        ])
        .args(["--features", "libfuzzer", "--target", &host])
        .arg("--target-dir")
        .arg(&directory)
        .args([
            "--config",
            "profile.release.lto=false",
            "--config",
            "profile.release.panic='unwind'",
        ])
        .env("RUSTFLAGS", FLAGS);
    let status = cargo.status().context("cannot run cargo build")?;
    if !status.success() {
        bail!("the fuzz targets do not build: see above");
    }
    Ok(directory.join(host).join("release/observer-fuzz"))
}

fn host() -> Result<String> {
    let said = process::stdout_of(Command::new("rustc").arg("-vV")).context("cannot run rustc")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say its host")
}

/// Runs one of them; inputs that reached something new are kept for the next time.
fn run(program: &Path, target: &str, seconds: u32) -> Result<bool> {
    let directory = workspace::target().join("fuzz/corpus");
    let [corpus, seeds] = ["found", "seeds"].map(|part| directory.join(target).join(part));
    for part in [&corpus, &seeds] {
        fs::create_dir_all(part).with_context(|| format!("cannot make {}", part.display()))?;
    }
    println!("fuzz: {target}, {seconds} s");
    let mut command = Command::new(program);
    command
        .arg(&corpus)
        .arg(&seeds)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={MOST_SECONDS}"))
        .arg(format!("-rss_limit_mb={MOST_MIB}"))
        .arg(format!("-max_len={MOST_BYTES}"))
        .arg(format!("-artifact_prefix={}/", directory.join(target).display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .env("OBSERVER_FUZZ_TARGET", target)
        .env("OBSERVER_FUZZ_SEEDS", &seeds);
    Ok(command
        .status()
        .context("cannot start the fuzz targets")?
        .success())
}
