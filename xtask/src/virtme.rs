//! virtme-ng, which boots a kernel on this machine's own root file system: kept in a Python environment of its own.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Package;
use crate::{process, virtiofsd, workspace};

const VERSION: &str = "1.42";

/// The program to start. It finds the rest of itself on the path, and virtiofsd.
pub fn command() -> Result<Command> {
    let bin = environment()?.join("bin");
    let mut first = vec![bin.clone()];
    first.extend(virtiofsd::path()?.parent().map(PathBuf::from));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(first.into_iter().chain(env::split_paths(&path)))
        .with_context(|| format!("{} cannot be on a path", bin.display()))?;
    let mut command = Command::new(bin.join("vng"));
    command.env("PATH", path);
    Ok(command)
}

/// The packages that installing it needs.
pub fn packages() -> Result<Vec<Package>> {
    if is_there()? || python_with_venv().is_some() {
        return Ok(Vec::new());
    }
    Ok(["python3", "python3-venv"].map(Package::missing).to_vec())
}

/// Installs it unless it is there.
pub fn ensure() -> Result<()> {
    if is_there()? {
        return Ok(());
    }
    let python =
        python_with_venv().context("no python3 here can make an environment: install python3-venv")?;
    eprintln!("setup: installing virtme-ng {VERSION}");
    let environment = environment()?;
    if environment.exists() {
        fs::remove_dir_all(&environment)
            .with_context(|| format!("cannot remove the broken {}", environment.display()))?;
    }
    process::run_quietly(Command::new(python).args(["-m", "venv"]).arg(&environment))?;
    process::run_quietly(
        Command::new(environment.join("bin/python3"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("virtme-ng=={VERSION}")),
    )
    .context("pip could not install virtme-ng: see above")
}

fn is_there() -> Result<bool> {
    // The interpreter is a link to the Python it was made with, which may have gone since.
    let bin = environment()?.join("bin");
    Ok(bin.join("vng").is_file() && bin.join("python3").exists())
}

fn environment() -> Result<PathBuf> {
    Ok(workspace::cache()?.join(format!("virtme-ng-{VERSION}")))
}

fn python_with_venv() -> Option<&'static str> {
    // The first on the path may be anything; Debian's own needs a package for this.
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        process::stdout_of(Command::new(python).args(["-c", "import venv, ensurepip"])).is_some()
    })
}
