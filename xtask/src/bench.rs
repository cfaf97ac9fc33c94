//! `cargo xtask bench`: the figures of docs/performance.md, on this machine's own kernel and, for what watches the way of
//! packets that live, in a virtual machine.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::kernels::{self, Series};
use crate::lab::{Lab, Place};
use crate::processor::Processor;
use crate::vm::Clock;
use crate::workspace::{self, Profile};
use crate::{build, instructions, setup};

/// The options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only these; all where nothing is said
    #[arg(value_enum)]
    what: Option<What>,
    /// The kernel whose packets live: a series, with -cloud or -rt or without
    #[arg(long, value_name = "KERNEL", default_value_t = kernels::DEFAULT)]
    kernel: Series,
    /// How many times each watcher of packets that live is measured
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// What those packets are measured by
    #[arg(long, value_enum, default_value_t = Clock::Instructions)]
    clock: Clock,
    /// Only watchers with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// Record the instructions that were counted
    #[arg(long)]
    update: bool,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Start, latency, memory and the cost of a drop, on this machine's kernel
    Drops,
    /// Reading and asking 50,000 rules of each kind, on this machine's kernel
    Size,
    /// 20,000 rules that are rewritten every second, on this machine's kernel
    Rewrite,
    /// How the cost grows with rules, namespaces and drops, on this machine's kernel: writes docs/benchmarks.md
    Scaling,
    /// Instructions of pieces of the work in user space, held against what is recorded
    Instructions,
    /// A policy that drops 100,000 packets a second, and as many as can be sent, for a minute each, on this machine's kernel
    Flood,
    /// Packets forwarded in a second while somebody watches, in a virtual machine
    Paths,
}

/// Sets up, builds and measures.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let wants = |what| arguments.what.is_none_or(|only| only == what);
    if arguments.update && !wants(What::Instructions) {
        bail!("--update is for `cargo xtask bench instructions`");
    }
    let on_this_kernel = [What::Drops, What::Size, What::Rewrite, What::Scaling, What::Flood];
    if on_this_kernel.into_iter().any(wants) && !nix::unistd::geteuid().is_root() {
        bail!("the benchmarks need root: sudo env PATH=\"$PATH\" HOME=\"$HOME\" cargo xtask bench");
    }
    setup::bench()?;
    if arguments.what == Some(What::Instructions) {
        build::lab(Processor::here())?;
        let part = instructions::compare(
            &workspace::binary("observer-lab", Profile::Lab, Processor::here()),
            arguments.update,
        )?;
        println!("{}", part.totals.line());
        return Ok(exit(i32::from(part.totals.failed > 0)));
    }
    let place = wants(What::Paths).then_some(Place::Vm(arguments.kernel));
    let lab = Lab::build(place.as_slice())?;
    for (what, verb) in [
        (What::Drops, "bench"),
        (What::Size, "bench-size"),
        (What::Rewrite, "bench-rewrite"),
        (What::Scaling, "bench-scaling"),
        (What::Flood, "bench-flood"),
    ] {
        if wants(what) {
            let code = lab.bench(verb)?;
            if code != 0 {
                return Ok(exit(code));
            }
        }
    }
    if wants(What::Instructions) {
        let part = instructions::compare(lab.program(), arguments.update)?;
        if part.totals.failed > 0 {
            return Ok(exit(1));
        }
    }
    if wants(What::Paths) {
        return lab
            .bench_paths(
                arguments.kernel,
                arguments.rounds,
                &arguments.only,
                arguments.clock,
            )
            .map(exit);
    }
    Ok(ExitCode::SUCCESS)
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
