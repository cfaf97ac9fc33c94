//! The package for Debian and dpkg.

use std::path::Path;

use anyhow::Result;

use super::{Installer, complaints};
use crate::exec;

pub(super) struct Dpkg;

impl Installer for Dpkg {
    fn kind(&self) -> &'static str {
        "deb"
    }

    fn zsh(&self) -> &'static str {
        "/usr/share/zsh/vendor-completions/_observer"
    }

    fn install(&self, package: &Path) -> Result<()> {
        dpkg(&["--install", &package.to_string_lossy()])
    }

    fn upgrade(&self, package: &Path) -> Result<()> {
        self.install(package)
    }

    fn verify(&self) -> Result<String> {
        complaints("dpkg", &["--verify", "observer"])
    }

    fn remove(&self) -> Result<()> {
        dpkg(&["--remove", "observer"])
    }

    fn purge(&self) -> Result<()> {
        dpkg(&["--purge", "observer"])
    }

    fn is_known(&self) -> Result<bool> {
        let known = exec::output(None, "dpkg-query", &["--show", "observer"], "")?;
        Ok(known.status.success())
    }
}

/// Its triggers would look through the manual pages of the whole machine: minutes, emulated.
fn dpkg(words: &[&str]) -> Result<()> {
    exec::run(None, "dpkg", &[&["--no-triggers"], words].concat(), "").map(drop)
}
