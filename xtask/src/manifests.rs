//! What of `deploy` other people's programs read, held against what these know: Kubernetes' schemas, the shell's, Prometheus' rules.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::python::Program;
use crate::{apt, process, workspace};

/// It carries the schemas of all these versions with it.
const VALIDATE: Program = Program {
    package: "kubernetes-validate",
    name: "kubernetes-validate",
    version: "1.37.0",
};
/// The oldest one that knows all that the manifests say, and the newest.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];
const SCRIPTS: [&str; 4] = [
    "kubectl-observer",
    "debian/postinst",
    "debian/prerm",
    "debian/postrm",
];

/// All of them.
pub fn check() -> Result<()> {
    let deploy = workspace::root().join("deploy");
    for version in VERSIONS {
        let mut validate = Command::new(VALIDATE.bin()?.join(VALIDATE.name));
        validate.args(["--strict", "--quiet", "-k", version]);
        process::run_quietly(validate.arg(deploy.join("observer.yaml")))
            .with_context(|| format!("deploy/observer.yaml is none for Kubernetes {version}"))?;
    }
    let mut shellcheck = process::neutral("shellcheck");
    // Functions that only a trap calls are told by a level below.
    shellcheck
        .current_dir(&deploy)
        .args(["--shell=sh", "--severity=warning"]);
    process::run_quietly(shellcheck.args(SCRIPTS))
        .context("shellcheck finds fault with a script of deploy")?;
    match promtool() {
        Ok(promtool) => process::run_quietly(
            Command::new(promtool)
                .args(["check", "rules"])
                .arg(deploy.join("alerts.yaml")),
        )
        .context("promtool finds fault with deploy/alerts.yaml"),
        Err(error) => {
            eprintln!("lint: alert rules are not checked: {error:#}");
            Ok(())
        }
    }
}

/// What that needs.
pub fn ensure() -> Result<()> {
    let mut packages = VALIDATE.packages()?;
    packages.push(apt::Package::with_program("shellcheck", "shellcheck"));
    apt::ensure(&packages)?;
    VALIDATE.ensure()
}

/// promtool, from Debian's package of Prometheus, which is not installed: that would start a server.
fn promtool() -> Result<PathBuf> {
    if let Some(installed) = process::which("promtool") {
        return Ok(installed);
    }
    let dir = workspace::cache()?.join("promtool");
    let program = dir.join("usr/bin/promtool");
    if !program.is_file() {
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        apt::download("prometheus", &dir)?;
    }
    Ok(program)
}
