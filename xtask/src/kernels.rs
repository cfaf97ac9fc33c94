//! The kernels to boot: those installed under `/boot`, and the packages that bring one.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};

use crate::apt::{self, Package};

/// A stable series such as 6.12. (6.1 is another.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    major: u32,
    minor: u32,
}

/// The series that every scenario must pass on.
pub const MATRIX: [Series; 2] = [Series { major: 6, minor: 1 }, Series { major: 6, minor: 12 }];

/// The series for what this machine's own kernel cannot do.
pub const DEFAULT: Series = MATRIX[1];

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.major, self.minor))
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<u32>().ok();
        text.split_once('.')
            .and_then(|(major, minor)| {
                Some(Self {
                    major: number(major)?,
                    minor: number(minor)?,
                })
            })
            .ok_or_else(|| format!("{text} is no kernel series: give one such as {DEFAULT}"))
    }
}

/// A kernel that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says in it.
    pub release: String,
}

impl Kernel {
    /// The file to boot.
    pub fn image(&self) -> PathBuf {
        Path::new("/boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The newest installed kernel of a series.
    pub fn installed(series: Series) -> Option<Self> {
        let names = fs::read_dir("/boot")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let releases = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
        // A kernel without its modules boots, and then has no netfilter to look at.
        let whole = releases.filter(|release| Path::new("/lib/modules").join(release).is_dir());
        newest(series, whole).map(|release| Self { release })
    }
}

/// The package of the newest kernel of a series; none if the series is installed, in whatever version: which one
/// exactly matters little, and a download at every run would.
pub fn package(series: Series) -> Result<Option<Package>> {
    if Kernel::installed(series).is_some() {
        return Ok(None);
    }
    let pattern = format!(r"^linux-image-{}\.{}\..*-unsigned$", series.major, series.minor);
    let releases = apt::names(&pattern)?
        .into_iter()
        .filter_map(|name| release_of(&name).map(str::to_owned));
    let release = newest(series, releases).with_context(|| {
        format!("no package of a {series} kernel: install one, with its modules, in /boot")
    })?;
    Ok(Some(Package::missing(format!("linux-image-{release}-unsigned"))))
}

/// The release that a package of an unsigned kernel holds.
fn release_of(package: &str) -> Option<&str> {
    package.strip_prefix("linux-image-")?.strip_suffix("-unsigned")
}

/// The newest ordinary kernel of a series: not a cloud one (few drivers), not a real-time one.
fn newest(series: Series, releases: impl Iterator<Item = String>) -> Option<String> {
    let prefix = format!("{series}.");
    releases
        .filter(|release| release.starts_with(&prefix))
        .filter(|release| {
            !["cloud", "rt", "dbg"]
                .iter()
                .any(|flavour| release.split('-').any(|part| part == *flavour))
        })
        .max_by_key(|release| numbers(release))
}

/// The numbers in a version, for comparing: 6.12.117 is newer than 6.12.99.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(series: &str, releases: &[&str]) -> Option<String> {
        newest(
            series.parse().unwrap(),
            releases.iter().map(|release| (*release).to_owned()),
        )
    }

    #[test]
    fn the_newest_is_found_by_number_and_not_by_letter() {
        let releases = [
            "6.12.100+deb12-amd64",
            "6.12.99+deb12-amd64",
            "6.12.117+deb12-amd64",
        ];
        assert_eq!(pick("6.12", &releases).as_deref(), Some("6.12.117+deb12-amd64"));
        let releases = ["6.1.0-56-amd64", "6.1.0-9-amd64"];
        assert_eq!(pick("6.1", &releases).as_deref(), Some("6.1.0-56-amd64"));
    }

    #[test]
    fn six_one_is_not_six_twelve() {
        assert_eq!(pick("6.1", &["6.12.117+deb12-amd64"]), None);
        assert_eq!(pick("6.12", &["6.1.0-56-amd64"]), None);
    }

    #[test]
    fn cloud_and_real_time_kernels_are_passed_over() {
        let releases = ["6.1.0-56-cloud-amd64", "6.1.0-57-rt-amd64", "6.1.0-50-amd64"];
        assert_eq!(pick("6.1", &releases).as_deref(), Some("6.1.0-50-amd64"));
    }

    #[test]
    fn a_package_names_its_release() {
        assert_eq!(
            release_of("linux-image-6.1.0-56-amd64-unsigned"),
            Some("6.1.0-56-amd64")
        );
        assert_eq!(release_of("linux-image-6.1.0-56-amd64"), None);
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert_eq!(
            "6.12"
                .parse::<Series>()
                .map(|series| series.to_string())
                .as_deref(),
            Ok("6.12")
        );
        for wrong in ["", "6", "6.x", "6.12.3", "host", "-1.2"] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong}");
        }
    }
}
