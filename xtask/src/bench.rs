//! `cargo xtask bench`: the figures of docs/performance.md, on this machine's own kernel.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::lab::Lab;
use crate::setup;

/// Sets up, builds and measures.
pub fn main() -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the benchmarks need root: sudo env PATH=\"$PATH\" HOME=\"$HOME\" cargo xtask bench");
    }
    setup::lab()?;
    let code = Lab::build()?.bench()?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
