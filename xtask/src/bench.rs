//! `cargo xtask bench`: the figures of docs/performance.md, on this machine's own kernel and, for what watches the way of
//! packets that live, in a virtual machine.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::kernels::{self, Series};
use crate::lab::Lab;
use crate::setup;
use crate::vm::Clock;

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
    /// A policy that drops 100,000 packets a second, and as many as can be sent, for a minute each, on this machine's kernel
    Flood,
    /// Packets forwarded in a second while somebody watches, in a virtual machine
    Paths,
}

/// Sets up, builds and measures.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let wants = |what| arguments.what.is_none_or(|only| only == what);
    let here = [What::Drops, What::Size, What::Rewrite, What::Flood];
    if here.into_iter().any(wants) && !nix::unistd::geteuid().is_root() {
        bail!("the benchmarks need root: sudo env PATH=\"$PATH\" HOME=\"$HOME\" cargo xtask bench");
    }
    setup::bench()?;
    let lab = Lab::build()?;
    for (what, verb) in [
        (What::Drops, "bench"),
        (What::Size, "bench-size"),
        (What::Rewrite, "bench-rewrite"),
        (What::Flood, "bench-flood"),
    ] {
        if wants(what) {
            let code = lab.bench(verb)?;
            if code != 0 {
                return Ok(exit(code));
            }
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
