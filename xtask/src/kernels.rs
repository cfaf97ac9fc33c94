//! The kernels to boot: those installed under `/boot`, and the packages that bring one.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};

use crate::apt::{self, Package};
use crate::debian;
use crate::processor::Processor;

/// A line of Debian's kernels: a stable series, and what it is built for. `6.12`, `6.1-cloud`, `6.12-rt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    major: u32,
    minor: u32,
    flavour: Flavour,
}

/// What a kernel is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flavour {
    /// Any machine.
    Ordinary,
    /// Guests of a cloud: few drivers.
    Cloud,
    /// `PREEMPT_RT`: softirqs and most spin locks can be preempted.
    RealTime,
    /// Any machine, of another processor.
    Arm,
}

impl Series {
    const fn new(major: u32, minor: u32, flavour: Flavour) -> Self {
        Self {
            major,
            minor,
            flavour,
        }
    }

    /// Whether a run of the whole matrix runs all scenarios there that show something only where packets can be followed.
    pub fn runs_all_of_paths(self) -> bool {
        self == DEFAULT
    }

    /// Whether it is too old for observer's programs: only what needs no BPF can be shown there.
    pub fn is_without_bpf(self) -> bool {
        self == OLD
    }

    /// The release of Debian that has it, if that is older than those that have the others.
    fn release(self) -> Option<&'static str> {
        (self == OLD).then_some("bullseye")
    }

    /// The processor that it runs on.
    pub fn processor(self) -> Processor {
        match self.flavour {
            Flavour::Arm => Processor::Aarch64,
            Flavour::Ordinary | Flavour::Cloud | Flavour::RealTime => Processor::X86_64,
        }
    }

    /// Which variant of each scenario it begins with where it runs only one: another than the kernel from the same source.
    pub fn turn(self) -> usize {
        usize::from(self.flavour != Flavour::Ordinary)
    }
}

/// The kernels that the scenarios must pass on.
pub const MATRIX: [Series; 6] = [
    OLD,
    Series::new(6, 1, Flavour::Ordinary),
    Series::new(6, 1, Flavour::Cloud),
    DEFAULT,
    Series::new(6, 12, Flavour::Cloud),
    Series::new(6, 12, Flavour::RealTime),
];

/// The kernel for what this machine's own cannot do.
pub const DEFAULT: Series = Series::new(6, 12, Flavour::Ordinary);

/// A kernel that observer's programs do not load on.
const OLD: Series = Series::new(5, 10, Flavour::Ordinary);

/// The longest name of the matrix, for output in columns.
pub const NAME_WIDTH: usize = "6.12-cloud".len();

impl Flavour {
    const ALL: [Self; 4] = [Self::Ordinary, Self::Cloud, Self::RealTime, Self::Arm];

    /// The word in a release, `6.1.0-56-cloud-amd64`; none for the ordinary one.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Ordinary => None,
            Self::Cloud => Some("cloud"),
            Self::RealTime => Some("rt"),
            Self::Arm => Some(Processor::Aarch64.debian()),
        }
    }

    /// The flavour of a release; none for one that is not for use (`dbg`).
    fn of(release: &str) -> Option<Self> {
        let has = |word: &str| release.split('-').any(|part| part == word);
        // `16k`: with larger pages.
        if has("dbg") || has("16k") {
            return None;
        }
        let mut marked = Self::ALL
            .into_iter()
            .filter(|flavour| flavour.word().is_some_and(has));
        match (marked.next(), marked.next()) {
            (first, None) => Some(first.unwrap_or(Self::Ordinary)),
            // For the clouds of another processor.
            _ => None,
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            major,
            minor,
            flavour,
        } = self;
        match flavour.word() {
            Some(word) => f.pad(&format!("{major}.{minor}-{word}")),
            None => f.pad(&format!("{major}.{minor}")),
        }
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<u32>().ok();
        let parsed = || {
            let (series, flavour) = match text.split_once('-') {
                Some((series, word)) => (series, Some(word)),
                None => (text, None),
            };
            let (major, minor) = series.split_once('.')?;
            let flavour = Flavour::ALL.into_iter().find(|one| one.word() == flavour)?;
            Some(Self::new(number(major)?, number(minor)?, flavour))
        };
        parsed().ok_or_else(|| {
            format!(
                "{text} is no kernel: give a series, with -cloud, -rt or -arm64 or without, such as {DEFAULT}"
            )
        })
    }
}

/// A kernel that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says in it.
    pub release: String,
    /// The root directory that it is installed in, which is the guest's: this machine's, or one of another processor.
    pub root: PathBuf,
}

impl Kernel {
    /// The file to boot.
    pub fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// Whether a guest of it can see this machine's own root directory.
    pub fn is_of_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The newest kernel of a series that is installed on this machine.
    pub fn installed(series: Series) -> Option<Self> {
        Self::installed_in(Path::new("/"), series)
    }

    /// The same in another root directory.
    pub fn installed_in(root: &Path, series: Series) -> Option<Self> {
        let names = fs::read_dir(root.join("boot"))
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let releases = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
        // A kernel without its modules boots, and then has no netfilter to look at.
        let modules = root.join("lib/modules");
        let whole = releases.filter(|release| modules.join(release).is_dir());
        newest(series, whole).map(|release| Self {
            release,
            root: root.to_path_buf(),
        })
    }
}

/// Installs the newest kernel of a series, if it is one that this machine's own sources do not have.
pub fn ensure_old(series: Series) -> Result<()> {
    let Some(release) = series.release().filter(|_| Kernel::installed(series).is_none()) else {
        return Ok(());
    };
    let install = || {
        let elsewhere = debian::older(release)?;
        let package = newest_package(series, &apt::names_from(&elsewhere, &pattern(series))?)?;
        apt::install_from(&elsewhere, &package)
    };
    install().with_context(|| format!("a {series} kernel is one of Debian's {release}"))
}

/// The package of the newest kernel of a series; none if the series is installed, in whatever version: which one
/// exactly matters little, and a download at every run would.
pub fn package(series: Series) -> Result<Option<Package>> {
    if series.release().is_some() || Kernel::installed(series).is_some() {
        return Ok(None);
    }
    let packages = apt::names(&pattern(series))?;
    newest_package(series, &packages).map(|name| Some(Package::missing(name)))
}

/// What the packages of a series are called, as a regular expression.
pub fn pattern(series: Series) -> String {
    format!(r"^linux-image-{}\.{}\.", series.major, series.minor)
}

/// The newest kernel of a series among these packages.
pub fn newest_package(series: Series, packages: &[String]) -> Result<String> {
    let releases = packages.iter().filter_map(|name| release_of(name));
    let release = newest(series, releases.map(str::to_owned)).with_context(|| {
        format!("no package of a {series} kernel: install one, with its modules, in /boot")
    })?;
    // The signed one needs a second package with the modules; which of the two a mirror has differs.
    let unsigned = format!("linux-image-{release}-unsigned");
    let signed = format!("linux-image-{release}");
    Ok(if packages.contains(&unsigned) {
        unsigned
    } else {
        signed
    })
}

/// The release that a package of a kernel holds.
fn release_of(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?;
    Some(release.strip_suffix("-unsigned").unwrap_or(release))
}

/// The newest kernel of a series, in its flavour.
fn newest(series: Series, releases: impl Iterator<Item = String>) -> Option<String> {
    let prefix = format!("{}.{}.", series.major, series.minor);
    releases
        .filter(|release| release.starts_with(&prefix))
        .filter(|release| Flavour::of(release) == Some(series.flavour))
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
    fn a_flavour_is_taken_for_no_other() {
        let releases = [
            "6.1.0-56-cloud-amd64",
            "6.1.0-57-rt-amd64",
            "6.1.0-50-amd64",
            "6.1.0-58-amd64-dbg",
        ];
        assert_eq!(pick("6.1", &releases).as_deref(), Some("6.1.0-50-amd64"));
        assert_eq!(
            pick("6.1-cloud", &releases).as_deref(),
            Some("6.1.0-56-cloud-amd64")
        );
        assert_eq!(pick("6.1-rt", &releases).as_deref(), Some("6.1.0-57-rt-amd64"));
        assert_eq!(pick("6.12-rt", &releases), None);
        let releases = [
            "6.1.0-56-cloud-arm64",
            "6.1.0-50-arm64",
            "6.1.0-57-rt-arm64",
            "6.1.0-58-arm64-16k",
        ];
        assert_eq!(pick("6.1-arm64", &releases).as_deref(), Some("6.1.0-50-arm64"));
        assert_eq!(pick("6.1-cloud", &releases), None);
    }

    #[test]
    fn a_package_names_its_release_signed_or_not() {
        for package in [
            "linux-image-6.1.0-56-amd64-unsigned",
            "linux-image-6.1.0-56-amd64",
        ] {
            assert_eq!(release_of(package), Some("6.1.0-56-amd64"));
        }
        assert_eq!(release_of("linux-headers-6.1.0-56-amd64"), None);
    }

    #[test]
    fn a_kernel_is_named_by_its_series_and_its_flavour() {
        for name in ["6.12", "6.1-cloud", "6.12-rt", "6.1-arm64"] {
            let series = name.parse::<Series>().map(|series| series.to_string());
            assert_eq!(series.as_deref(), Ok(name));
        }
        for wrong in [
            "", "6", "6.x", "6.12.3", "host", "-1.2", "6.12-", "6.12-big", "-rt",
        ] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_the_matrix_fit_their_column() {
        let widest = MATRIX.iter().map(|series| series.to_string().len()).max();
        assert_eq!(widest, Some(NAME_WIDTH));
    }

    #[test]
    fn one_kernel_of_the_matrix_runs_all_that_paths_show() {
        assert_eq!(
            MATRIX.iter().filter(|series| series.runs_all_of_paths()).count(),
            1
        );
    }
}
