//! What others' tools say of what was made.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{deb, fresh, image, rpm};
use crate::processor::Processor;
use crate::{process, workspace};

/// Each file by the tool that knows its kind.
pub fn all(dir: &Path, processors: &[Processor]) -> Result<()> {
    let work = workspace::target().join("dist-check");
    fresh(&work)?;
    for processor in processors {
        lintian(&dir.join(deb::file_name(*processor)))?;
        package_of_rpm(&dir.join(rpm::file_name(*processor)))?;
    }
    unpacked_image(&dir.join(image::file_name()), &work, processors)?;
    let mut sums = process::neutral("sha256sum");
    sums.current_dir(dir).args(["--check", "--quiet", "SHA256SUMS"]);
    process::run_quietly(&mut sums).context("SHA256SUMS does not fit its files")
}

/// Made twice it must be the same bytes.
pub fn same(once: &str, again: &str) -> Result<()> {
    let differing = once.lines().zip(again.lines()).find(|(one, other)| one != other);
    match differing {
        Some((one, other)) => {
            bail!("the same tree gave other bytes when it was packed again: {one}, then {other}")
        }
        None if once.lines().count() != again.lines().count() => {
            bail!("the same tree gave other files when it was packed again")
        }
        None => Ok(()),
    }
}

/// Anything that lintian says is an error, down to what it is pedantic about.
fn lintian(deb: &Path) -> Result<()> {
    let mut lintian = process::neutral("lintian");
    lintian
        .args([
            "--allow-root",
            "--display-info",
            "--pedantic",
            "--no-tag-display-limit",
        ])
        // Four letters in a row of code that happen to be a word; others in each build.
        .args(["--suppress-tags", "spelling-error-in-binary"])
        .args(["--fail-on", "error,warning,info,pedantic"])
        .arg(deb);
    process::run_quietly(&mut lintian).context("lintian finds fault with the package")
}

/// Its digests, and what it installs.
fn package_of_rpm(file: &Path) -> Result<()> {
    let mut digests = process::neutral("rpm");
    process::run_quietly(digests.args(["-K", "--nosignature"]).arg(file))
        .context("the package of rpm has wrong digests")?;
    let mut list = process::neutral("rpm");
    let list = process::stdout_of(list.args(["-qp", "--nosignature", "--list"]).arg(file));
    let list = list.context("rpm cannot read its package")?;
    for path in [
        "/usr/sbin/observer",
        "/usr/lib/systemd/system/observer.service",
        "/usr/lib/systemd/system-preset/95-observer.preset",
        "/usr/share/man/man8/observer.8.gz",
        "/usr/share/licenses/observer/third-party.txt",
    ] {
        if !list.lines().any(|line| line == path) {
            bail!("the package of rpm has no {path}");
        }
    }
    let mut needs = process::neutral("rpm");
    let needs = process::stdout_of(needs.args(["-qp", "--nosignature", "--requires"]).arg(file));
    let needs = needs.context("rpm cannot read its package")?;
    // Its own shell and features of its own format are all that a package with scripts needs.
    match needs
        .lines()
        .find(|line| !line.starts_with("rpmlib(") && !line.starts_with("/bin/sh"))
    {
        Some(need) => bail!("the package of rpm needs {need}"),
        None => Ok(()),
    }
}

fn unpacked_image(tar: &Path, work: &Path, processors: &[Processor]) -> Result<()> {
    let layout = work.join("layout");
    fresh(&layout)?;
    let mut unpack = process::neutral("tar");
    unpack
        .arg("--extract")
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(&layout);
    process::run_quietly(&mut unpack).context("tar cannot read the image")?;
    image::check(&layout, work, processors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_and_other_files_are_told() {
        same("1  a\n2  b\n", "1  a\n2  b\n").unwrap();
        assert!(same("1  a\n2  b\n", "1  a\n3  b\n").is_err());
        assert!(same("1  a\n2  b\n", "1  a\n").is_err());
    }
}
