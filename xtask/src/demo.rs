//! `cargo xtask demo`: the main job, on the cluster that the project was born from.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::kernels;
use crate::lab::{Lab, Place};
use crate::setup;

/// The options of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The backend whose rules drop the packet
    #[arg(value_parser = ["legacy", "nft"])]
    backend: Option<String>,
}

/// Sets up, builds and shows it.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let place = match unable() {
        Some(why) => {
            eprintln!("demo: {why}: showing it in a VM of {}", kernels::DEFAULT);
            Place::Vm(kernels::DEFAULT)
        }
        None if !nix::unistd::geteuid().is_root() => {
            bail!("the demo needs root: sudo env PATH=\"$PATH\" HOME=\"$HOME\" cargo xtask demo")
        }
        None => Place::Host,
    };
    setup::lab()?;
    let code = Lab::build(&[place])?.demo(place, arguments.backend.as_deref())?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Why this machine's own kernel cannot show it, if it cannot.
fn unable() -> Option<&'static str> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel has no BTF");
    }
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    lockdown
        .contains("[confidentiality]")
        .then_some("this kernel's lockdown forbids BPF to read memory")
}
