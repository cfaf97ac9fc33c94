//! The package for Debian and Ubuntu, built by dpkg-deb from the files of `deploy/debian`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::VERSION;
use super::moment::Moment;
use super::payload::{Payload, packed, place};
use crate::processor::Processor;
use crate::{process, workspace};

/// Of the package, for one version of observer.
const REVISION: u32 = 1;
/// No mailbox (RFC 2606): the project has none that it could name for good.
const MAINTAINER: &str = "observer@packages.invalid";

const DOC: &str = "usr/share/doc/observer";

/// As Debian names them.
pub fn file_name(processor: Processor) -> String {
    format!("observer_{VERSION}-{REVISION}_{}.deb", processor.debian())
}

/// Builds it in `work` and leaves it in `dir`.
pub fn build(payload: &Payload, work: &Path, dir: &Path, moment: &Moment) -> Result<()> {
    let processor = payload.processor;
    let root = work.join("root");
    let source = |name: &str| {
        let path = workspace::root().join("deploy/debian").join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let binary = fs::read(&payload.binary).context("cannot read the binary")?;
    let files: Vec<(String, u32, Vec<u8>)> = vec![
        ("usr/sbin/observer".to_owned(), 0o755, binary),
        (
            "lib/systemd/system/observer.service".to_owned(),
            0o644,
            payload.unit.clone().into(),
        ),
        (
            "usr/share/man/man8/observer.8.gz".to_owned(),
            0o644,
            packed(&payload.man)?,
        ),
        (
            "usr/share/bash-completion/completions/observer".to_owned(),
            0o644,
            payload.bash.clone(),
        ),
        (
            "usr/share/zsh/vendor-completions/_observer".to_owned(),
            0o644,
            payload.zsh.clone(),
        ),
        (
            "usr/share/fish/vendor_completions.d/observer.fish".to_owned(),
            0o644,
            payload.fish.clone(),
        ),
        (
            format!("{DOC}/copyright"),
            0o644,
            copyright(&source("copyright")?, &payload.mit).into(),
        ),
        (format!("{DOC}/changelog.gz"), 0o644, packed(&payload.changelog)?),
        (
            format!("{DOC}/changelog.Debian.gz"),
            0o644,
            packed(changelog(&payload.date).as_bytes())?,
        ),
        (
            format!("{DOC}/third-party.txt.gz"),
            0o644,
            packed(payload.notices.as_bytes())?,
        ),
        (
            "usr/share/lintian/overrides/observer".to_owned(),
            0o644,
            source("lintian-overrides")?.into(),
        ),
    ];
    let mut sums = String::new();
    let mut bytes = 0;
    for (path, mode, content) in &files {
        place(&root, path, *mode, content)?;
        bytes += content.len();
        writeln!(sums, "{}  {path}", md5(&root.join(path))?)?;
    }
    let control = source("control")?
        .replace("{{version}}", &format!("{VERSION}-{REVISION}"))
        .replace("{{architecture}}", processor.debian())
        .replace("{{maintainer}}", MAINTAINER)
        .replace("{{kibibytes}}", &bytes.div_ceil(1024).to_string());
    place(&root, "DEBIAN/control", 0o644, control.as_bytes())?;
    place(&root, "DEBIAN/md5sums", 0o644, sums.as_bytes())?;
    for script in ["postinst", "prerm", "postrm"] {
        place(
            &root,
            &format!("DEBIAN/{script}"),
            0o755,
            source(script)?.as_bytes(),
        )?;
    }
    let mut dpkg = process::neutral("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zxz", "--build"])
        .arg(&root)
        .arg(dir.join(file_name(processor)));
    process::run_quietly(moment.set(&mut dpkg)).context("dpkg-deb could not build the package")
}

/// With the text of the licence that Debian does not have itself, as a paragraph of that file.
fn copyright(begin: &str, mit: &[u8]) -> String {
    let text = String::from_utf8_lossy(mit);
    let lines = text.lines().map(|line| match line.trim() {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    });
    begin.trim_end().to_owned() + "\n" + &lines.collect::<String>()
}

fn changelog(date: &str) -> String {
    format!(
        "observer ({VERSION}-{REVISION}) unstable; urgency=medium\n\n  \
         * Version {VERSION}: changelog.gz says what is in it.\n\n \
         -- The observer contributors <{MAINTAINER}>  {date}\n"
    )
}

fn md5(path: &Path) -> Result<String> {
    let text = process::stdout_of(Command::new("md5sum").arg(path)).context("md5sum cannot read a file")?;
    let sum = text.split_whitespace().next();
    Ok(sum.context("md5sum says no sum")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_becomes_a_paragraph() {
        let text = copyright("License: Expat\n\n", b"MIT\n\ntext\n");
        assert_eq!(text, "License: Expat\n MIT\n .\n text\n");
    }

    #[test]
    fn the_maintainer_scripts_are_read_by_sh() {
        for script in ["postinst", "prerm", "postrm"] {
            let path = workspace::root().join("deploy/debian").join(script);
            let read = Command::new("sh").arg("-n").arg(path).status();
            assert!(read.is_ok_and(|status| status.success()), "{script}");
        }
    }
}
