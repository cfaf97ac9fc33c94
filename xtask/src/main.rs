//! The repository's own commands: `cargo xtask setup|build|dist|vm|test|oracle|bench|fuzz|demo|lint`.

mod apt;
mod bench;
mod build;
mod cargo_install;
mod debian;
mod demo;
mod dist;
mod features;
mod foreign;
mod fuzz;
mod instructions;
mod interrupt;
mod kernels;
mod lab;
mod linker;
mod lint;
mod manifests;
mod oracle;
mod process;
mod processor;
mod python;
mod qemu;
mod relay;
mod results;
mod setup;
mod static_elf;
mod systemd;
mod test;
mod toolchain;
mod virtiofsd;
mod virtme;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Set-up, build, virtual machines, tests and the demo of observer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building and testing need
    Setup,
    /// Build the eBPF object and the binary that embeds it
    Build(build::Arguments),
    /// Make what a release consists of: packages, an image, checksums, what is linked in
    Dist(dist::Arguments),
    /// Show the main job on a small cluster: real kernel, real rules, real packets
    Demo(demo::Arguments),
    /// Run the unit tests, then every scenario on every kernel
    Test(test::Arguments),
    /// Hold what observer says of random packets through random rulesets against the kernel
    Oracle(oracle::Arguments),
    /// Measure observer: on this machine's kernel, and in a VM what watching costs packets that live
    Bench(bench::Arguments),
    /// Give what observer reads inputs that libFuzzer chooses
    Fuzz(fuzz::Arguments),
    /// Check formatting, clippy, documentation, licences and the manifests of deploy
    Lint,
    /// Run a shell command in a virtual machine of another kernel, this machine's files mounted
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(2)
    })
}

fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    interrupt::watch()?;
    match arguments.verb {
        Verb::Setup => done(setup::main()),
        Verb::Build(arguments) => done(build::main(&arguments)),
        Verb::Dist(arguments) => done(dist::main(&arguments)),
        Verb::Demo(arguments) => demo::main(&arguments),
        Verb::Test(arguments) => test::main(&arguments),
        Verb::Oracle(arguments) => oracle::main(&arguments),
        Verb::Bench(arguments) => bench::main(&arguments),
        Verb::Fuzz(arguments) => fuzz::main(&arguments),
        Verb::Lint => done(lint::main()),
        Verb::Vm(arguments) => vm::main(&arguments),
    }
}

fn done(outcome: Result<()>) -> Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}
