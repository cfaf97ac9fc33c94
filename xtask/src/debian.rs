//! Other releases of Debian than this machine's, from where this machine's own comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Elsewhere;
use crate::processor::Processor;
use crate::{process, workspace};

/// The backports of this release, preferred to what it has itself.
pub fn backports() -> Result<Elsewhere> {
    let (name, site) = here()?;
    let release = format!("{name}-backports");
    Ok(Elsewhere {
        sources: sources(&site, &[&name, &release]),
        dir: workspace::cache()?.join("backports"),
        prefer: Some(release),
        processor: None,
    })
}

/// An older release, for packages that this one has no more: nothing of it is preferred to what is here.
pub fn older(release: &str) -> Result<Elsewhere> {
    let (name, site) = here()?;
    Ok(Elsewhere {
        sources: sources(&site, &[&name, release]),
        dir: workspace::cache()?.join(release),
        prefer: None,
        processor: None,
    })
}

/// This release and its backports for another processor: none of these packages is ever installed.
pub fn of_processor(processor: Processor, dir: PathBuf) -> Result<Elsewhere> {
    let (name, site) = here()?;
    Ok(Elsewhere {
        sources: sources(&site, &[&name, &format!("{name}-backports")]),
        dir,
        prefer: None,
        processor: Some(processor),
    })
}

/// This release's name, and where its main component comes from.
fn here() -> Result<(String, String)> {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if value(&system, "ID") != Some("debian") {
        bail!("this is not Debian, whose other releases have one");
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
    Ok((name.to_owned(), site.to_owned()))
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

fn sources(site: &str, releases: &[&str]) -> String {
    const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let keys = if Path::new(KEYS).exists() {
        format!("[signed-by={KEYS}] ")
    } else {
        String::new()
    };
    let line = |release: &&str| format!("deb {keys}{site} {release} main\n");
    releases.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_that_of_the_release_and_not_of_its_updates() {
        let targets = "x-updates main http://a/\nx contrib http://b/\nx main http://c/\n";
        assert_eq!(site(targets, "x"), Some("http://c/"));
        assert_eq!(site(targets, "y"), None);
        let sources = sources("http://c/", &["x", "x-backports"]);
        assert!(sources.ends_with("http://c/ x-backports main\n"));
        assert_eq!(sources.lines().count(), 2);
    }

    #[test]
    fn a_system_tells_its_name_with_or_without_quotes() {
        let text = "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=\"x\"\n";
        assert_eq!(value(text, "ID"), Some("debian"));
        assert_eq!(value(text, "VERSION_CODENAME"), Some("x"));
        assert_eq!(value(text, "NAME"), None);
    }
}
