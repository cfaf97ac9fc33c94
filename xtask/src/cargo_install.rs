//! Programs that cargo installs for this repository, each at one version, built once and kept in the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// One program at one version, in a directory of its own.
pub struct Program {
    /// The crate, and the program in it.
    pub name: &'static str,
    /// Exactly this one.
    pub version: &'static str,
    /// What else tells this build from others of the same version; may be empty.
    pub suffix: String,
}

impl Program {
    /// Where it is, or will be.
    pub fn path(&self) -> Result<PathBuf> {
        Ok(self.prefix()?.join("bin").join(self.name))
    }

    /// Whether it is there and starts: one whose shared libraries have been removed does not.
    pub fn works(&self) -> bool {
        self.path()
            .is_ok_and(|path| process::stdout_of(Command::new(path).arg("--version")).is_some())
    }

    /// Builds it; `adjust` adds arguments and variables.
    pub fn install(&self, adjust: impl FnOnce(&mut Command)) -> Result<()> {
        let mut cargo = process::cargo();
        // Built in a directory of cargo's choice, with no flags of ours: not part of this workspace.
        process::forget(&mut cargo, |variable| {
            variable.ends_with("RUSTFLAGS")
                || variable.starts_with("CARGO_TARGET_")
                || variable.starts_with("CARGO_BUILD_")
        });
        cargo
            .args([
                "install",
                self.name,
                "--version",
                self.version,
                "--locked",
                "--force",
                "--quiet",
            ])
            .arg("--root")
            .arg(self.prefix()?);
        adjust(&mut cargo);
        process::run_quietly(&mut cargo)
            .with_context(|| format!("{} {} did not build", self.name, self.version))
    }

    fn prefix(&self) -> Result<PathBuf> {
        Ok(workspace::cache()?.join(format!("{}-{}{}", self.name, self.version, self.suffix)))
    }
}
