//! The package for Red Hat's family and SUSE, and rpm, with books of its own: what this machine has was not installed by rpm.

use std::path::Path;

use anyhow::Result;

use super::{Installer, complaints};
use crate::exec;

const BOOKS: &str = "--dbpath=/run/rpm";
/// In these books nothing has `/bin/sh`, which is all that the package asks for (`cargo xtask dist --check` sees to that).
const WITHOUT_SH: &str = "--nodeps";

pub(super) struct Rpm;

impl Installer for Rpm {
    fn kind(&self) -> &'static str {
        "rpm"
    }

    fn zsh(&self) -> &'static str {
        "/usr/share/zsh/site-functions/_observer"
    }

    fn install(&self, package: &Path) -> Result<()> {
        rpm(&["--install", WITHOUT_SH, &package.to_string_lossy()])
    }

    /// The same version: `--force` has rpm do it all the same, with the scripts of both packages.
    fn upgrade(&self, package: &Path) -> Result<()> {
        rpm(&["--upgrade", "--force", WITHOUT_SH, &package.to_string_lossy()])
    }

    fn verify(&self) -> Result<String> {
        complaints("rpm", &[BOOKS, "--verify", WITHOUT_SH, "observer"])
    }

    fn remove(&self) -> Result<()> {
        rpm(&["--erase", "observer"])
    }

    /// An erased package is forgotten.
    fn purge(&self) -> Result<()> {
        Ok(())
    }

    fn is_known(&self) -> Result<bool> {
        let known = exec::output(None, "rpm", &[BOOKS, "--query", "observer"], "")?;
        Ok(known.status.success())
    }
}

fn rpm(words: &[&str]) -> Result<()> {
    exec::run(None, "rpm", &[&[BOOKS], words].concat(), "").map(drop)
}
