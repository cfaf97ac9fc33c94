//! Programs of Python's registry, each at one version, in an environment of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Package;
use crate::{process, workspace};

/// One program at one version.
pub struct Program {
    /// What it is called there, and as a program.
    pub package: &'static str,
    pub name: &'static str,
    /// Exactly this one.
    pub version: &'static str,
}

impl Program {
    /// The directory that holds it and its interpreter.
    pub fn bin(&self) -> Result<PathBuf> {
        Ok(self.environment()?.join("bin"))
    }

    /// The packages that installing it needs.
    pub fn packages(&self) -> Result<Vec<Package>> {
        if self.is_there()? || python_with_venv().is_some() {
            return Ok(Vec::new());
        }
        Ok(["python3", "python3-venv"].map(Package::missing).to_vec())
    }

    /// Installs it unless it is there.
    pub fn ensure(&self) -> Result<()> {
        let (package, version) = (self.package, self.version);
        if self.is_there()? {
            return Ok(());
        }
        let python =
            python_with_venv().context("no python3 here can make an environment: install python3-venv")?;
        eprintln!("setup: installing {package} {version}");
        let environment = self.environment()?;
        if environment.exists() {
            fs::remove_dir_all(&environment)
                .with_context(|| format!("cannot remove the broken {}", environment.display()))?;
        }
        process::run_quietly(Command::new(python).args(["-m", "venv"]).arg(&environment))?;
        process::run_quietly(
            Command::new(environment.join("bin/python3"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .arg(format!("{package}=={version}")),
        )
        .with_context(|| format!("pip could not install {package}: see above"))
    }

    fn is_there(&self) -> Result<bool> {
        // The interpreter is a link to the Python it was made with, which may have gone since.
        let bin = self.bin()?;
        Ok(bin.join(self.name).is_file() && bin.join("python3").exists())
    }

    fn environment(&self) -> Result<PathBuf> {
        Ok(workspace::cache()?.join(format!("{}-{}", self.package, self.version)))
    }
}

fn python_with_venv() -> Option<&'static str> {
    // The first on the path may be anything; Debian's own needs a package for this.
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        process::stdout_of(Command::new(python).args(["-c", "import venv, ensurepip"])).is_some()
    })
}
