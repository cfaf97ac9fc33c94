//! The emulator that virtual machines run in.
//!
//! Before 8.1 one emulated processor may translate code while another rewrites it, and keep the breakpoint that Linux
//! puts there meanwhile: the guest then ends with `Oops: int3` or hangs, whenever a probe comes on or goes off at a bad
//! moment. Debian 12 has 7.2, and a newer one among its backports.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Elsewhere, Package};
use crate::{process, workspace};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// The first release that guests survive, major and minor.
const WANTED: (u32, u32) = (8, 1);

/// The package, for whoever lists all of them.
pub fn package() -> Package {
    Package::with_program(PACKAGE, PROGRAM)
}

/// Replaces one that is too old by a backport, where that can be had; says so where it cannot.
pub fn ensure() -> Result<()> {
    let Some(old) = installed().filter(|version| *version < WANTED) else {
        return Ok(());
    };
    if let Err(why) = install_backport() {
        eprintln!(
            "setup: QEMU {}.{} is here, under which guests may crash when probes come on or go off; {}.{} or later is \
             wanted: {why:#}",
            old.0, old.1, WANTED.0, WANTED.1
        );
    }
    Ok(())
}

fn install_backport() -> Result<()> {
    let dir = workspace::cache()?.join("backports");
    apt::install_from(&backports()?, PACKAGE, &dir)
}

fn installed() -> Option<(u32, u32)> {
    process::stdout_of(Command::new(PROGRAM).arg("--version")).and_then(|text| version(&text))
}

/// `QEMU emulator version 10.0.2 (Debian …)`
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_once("version ")?.1;
    let mut parts = number.split(|other: char| !other.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The backports of this release, from where the release itself comes.
fn backports() -> Result<Elsewhere> {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if value(&system, "ID") != Some("debian") {
        bail!("this is not Debian, whose backports have one");
    }
    let name = value(&system, "VERSION_CODENAME").context("this Debian has no name")?;
    let targets = process::stdout_of(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(RELEASE) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]));
    let targets = targets.unwrap_or_default();
    let site = site(&targets, name).with_context(|| format!("apt has no source of {name}"))?;
    Ok(Elsewhere {
        sources: sources(site, name),
        release: format!("{name}-backports"),
    })
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once('='));
    let found = pairs.find(|(name, _)| *name == key)?.1;
    Some(found.trim_matches('"'))
}

/// Where the main component of a release comes from.
fn site<'a>(targets: &'a str, release: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(release) && words.next() == Some("main"))
            .then(|| words.next())
            .flatten()
    })
}

fn sources(site: &str, release: &str) -> String {
    const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let keys = if Path::new(KEYS).exists() {
        format!("[signed-by={KEYS}] ")
    } else {
        String::new()
    };
    format!("deb {keys}{site} {release} main\ndeb {keys}{site} {release}-backports main\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_whatever_stands_behind_it() {
        assert_eq!(
            version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"),
            Some((7, 2))
        );
        assert_eq!(version("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(version("QEMU emulator version 9.1rc1"), Some((9, 1)));
        assert_eq!(version("qemu: not found"), None);
        assert!((10, 0) > WANTED && (7, 2) < WANTED);
    }

    #[test]
    fn the_source_is_that_of_the_release_and_not_of_its_updates() {
        let targets = "x-updates main http://a/\nx contrib http://b/\nx main http://c/\n";
        assert_eq!(site(targets, "x"), Some("http://c/"));
        assert_eq!(site(targets, "y"), None);
        assert!(sources("http://c/", "x").ends_with("http://c/ x-backports main\n"));
    }

    #[test]
    fn a_system_tells_its_name_with_or_without_quotes() {
        let text = "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=\"x\"\n";
        assert_eq!(value(text, "ID"), Some("debian"));
        assert_eq!(value(text, "VERSION_CODENAME"), Some("x"));
        assert_eq!(value(text, "NAME"), None);
    }
}
