//! virtiofsd, through which a virtual machine sees this machine's files. virtme-ng can do without, over 9p, but the
//! cloud kernels have no 9p.

use std::path::PathBuf;

use anyhow::Result;

use crate::apt::Package;
use crate::cargo_install::Program;

fn program() -> Program {
    Program {
        name: "virtiofsd",
        version: "1.14.0",
        suffix: String::new(),
    }
}

/// The program. virtme-ng looks for it on the path.
pub fn path() -> Result<PathBuf> {
    program().path()
}

/// The packages that building it needs.
pub fn packages() -> Vec<Package> {
    if program().works() {
        return Vec::new();
    }
    vec![
        Package::with_file("libcap-ng-dev", "/usr/include/cap-ng.h"),
        Package::with_file("libseccomp-dev", "/usr/include/seccomp.h"),
    ]
}

/// Builds it unless it is there.
pub fn ensure() -> Result<()> {
    let program = program();
    if program.works() {
        return Ok(());
    }
    eprintln!("setup: building virtiofsd {} (about a minute)", program.version);
    program.install(|_| {})
}
