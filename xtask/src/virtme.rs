//! virtme-ng, which boots a kernel on this machine's own root file system: kept in a Python environment of its own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Package;
use crate::python::Program;
use crate::virtiofsd;

const PROGRAM: Program = Program {
    package: "virtme-ng",
    name: "vng",
    version: "1.42",
};

/// The program to start. It finds the rest of itself on the path, and virtiofsd.
pub fn command() -> Result<Command> {
    let bin = PROGRAM.bin()?;
    let mut first = vec![bin.clone()];
    first.extend(virtiofsd::path()?.parent().map(PathBuf::from));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(first.into_iter().chain(env::split_paths(&path)))
        .with_context(|| format!("{} cannot be on a path", bin.display()))?;
    let mut command = Command::new(bin.join(PROGRAM.name));
    command.env("PATH", path);
    Ok(command)
}

/// The packages that installing it needs.
pub fn packages() -> Result<Vec<Package>> {
    PROGRAM.packages()
}

/// Installs it unless it is there.
pub fn ensure() -> Result<()> {
    PROGRAM.ensure()
}
