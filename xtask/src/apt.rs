//! Debian's and Ubuntu's packages: what is missing is told by files, so that a second set-up asks apt nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::processor::Processor;

/// A package and the file or command that tells it is there.
#[derive(Debug, Clone)]
pub struct Package {
    name: String,
    sign: Sign,
}

#[derive(Debug, Clone)]
enum Sign {
    Program(&'static str),
    File(String),
    Absent,
}

impl Package {
    /// A package that is there when `program` is on the path.
    pub fn with_program(name: impl Into<String>, program: &'static str) -> Self {
        Self {
            name: name.into(),
            sign: Sign::Program(program),
        }
    }

    /// A package that is there when `file` is.
    pub fn with_file(name: impl Into<String>, file: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            sign: Sign::File(file.into()),
        }
    }

    /// A package that the caller knows to be missing.
    pub fn missing(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            sign: Sign::Absent,
        }
    }

    fn is_there(&self) -> bool {
        match &self.sign {
            Sign::Program(program) => process::which(program).is_some(),
            Sign::File(file) => Path::new(file).exists(),
            Sign::Absent => false,
        }
    }
}

/// Installs those of `packages` that are missing, or says how to.
pub fn ensure(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !package.is_there())
        .map(|package| package.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if process::which("apt-get").is_none() {
        bail!(
            "missing, and without apt-get for you to install under your system's names: {}",
            missing.join(" ")
        );
    }
    if !nix::unistd::geteuid().is_root() {
        println!("sudo apt-get update");
        println!(
            "sudo apt-get install -y --no-install-recommends {}",
            missing.join(" ")
        );
        bail!("packages are missing and installing needs root: run the two commands above, then this again");
    }
    update()?;
    eprintln!("setup: installing {}", missing.join(" "));
    apt_get(&["install", "-y", "--no-install-recommends"], &missing)
        .with_context(|| format!("apt-get could not install {}", missing.join(" ")))?;
    match packages
        .iter()
        .find(|package| !matches!(package.sign, Sign::Absent) && !package.is_there())
    {
        Some(package) => bail!(
            "{} is installed but {:?} is not there: reinstall it",
            package.name,
            package.sign
        ),
        None => Ok(()),
    }
}

/// Where apt finds packages that this machine's own sources do not have.
pub struct Elsewhere {
    /// Sources as apt reads them, this machine's release among them.
    pub sources: String,
    /// Where apt's lists of them are kept.
    pub dir: PathBuf,
    /// The release that is preferred, such as `bookworm-backports`; none: the newest version of a package.
    pub prefer: Option<String>,
    /// The processor that they are for, if another than this machine's.
    pub processor: Option<Processor>,
}

impl Elsewhere {
    /// Writes the sources down and reads their lists; returns the options that make apt use them: this machine's own sources
    /// stay as they are.
    fn open(&self) -> Result<Vec<String>> {
        let list = self.dir.join("sources.list");
        let lists = self.dir.join("lists");
        fs::create_dir_all(lists.join("partial"))
            .with_context(|| format!("cannot make {}", lists.display()))?;
        fs::write(&list, &self.sources).with_context(|| format!("cannot write {}", list.display()))?;
        let mut settings = vec![
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", lists.display()),
            // What apt has worked out of its lists is of its own.
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
        ];
        if let Some(processor) = self.processor {
            // Nothing is there yet, so that all that a package needs is among what is downloaded.
            let status = self.dir.join("status");
            fs::write(&status, []).with_context(|| format!("cannot write {}", status.display()))?;
            let name = processor.debian();
            settings.extend([
                format!("APT::Architecture={name}"),
                format!("APT::Architectures::={name}"),
                format!("Dir::State::status={}", status.display()),
                format!("Dir::Cache::archives={}", self.archives().display()),
            ]);
        }
        let options: Vec<String> = settings
            .into_iter()
            .flat_map(|one| ["-o".to_owned(), one])
            .collect();
        apt_get(&[&words(&options), &["update"][..]].concat(), &[]).context("its sources cannot be read")?;
        Ok(options)
    }

    /// Where it downloads packages to.
    fn archives(&self) -> PathBuf {
        self.dir.join("archives")
    }
}

/// Installs a package from elsewhere.
pub fn install_from(elsewhere: &Elsewhere, package: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("installing one needs root");
    }
    let options = elsewhere.open()?;
    let prefer: Vec<&str> = elsewhere
        .prefer
        .iter()
        .flat_map(|release| ["-t", release])
        .collect();
    eprintln!("setup: installing {package}");
    let verb = ["install", "-y", "--no-install-recommends"];
    apt_get(&[&words(&options), &verb[..], &prefer].concat(), &[package])
        .with_context(|| format!("apt-get could not install {package}"))
}

/// The names of the packages elsewhere that match `pattern`.
pub fn names_from(elsewhere: &Elsewhere, pattern: &str) -> Result<Vec<String>> {
    let options = elsewhere.open()?;
    search(&words(&options), pattern)
}

/// Unpacks packages from elsewhere below a directory, and all that they need, without installing any.
pub fn unpack_from(elsewhere: &Elsewhere, packages: &[&str], dir: &Path) -> Result<()> {
    let options = elsewhere.open()?;
    let archives = elsewhere.archives();
    fs::create_dir_all(archives.join("partial"))
        .with_context(|| format!("cannot make {}", archives.display()))?;
    let verb = ["install", "-y", "--no-install-recommends", "--download-only"];
    apt_get(&[&words(&options), &verb[..]].concat(), packages)
        .with_context(|| format!("apt-get could not download {}", packages.join(" ")))?;
    unpack_all(&archives, dir)
}

/// Unpacks a package from elsewhere below a directory, without what it needs.
pub fn download_from(elsewhere: &Elsewhere, package: &str, dir: &Path) -> Result<()> {
    download_with(&elsewhere.open()?, package, dir)
}

/// Unpacks a package below a directory, without installing it.
pub fn download(package: &str, dir: &Path) -> Result<()> {
    if process::which("apt-get").is_none() {
        bail!("no apt-get is here to download {package}");
    }
    download_with(&[], package, dir)
}

fn download_with(options: &[String], package: &str, dir: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .current_dir(dir)
        .arg("-qq")
        .args(options)
        .args(["download", package]);
    process::run_quietly(&mut command).with_context(|| format!("apt-get could not download {package}"))?;
    unpack_all(dir, dir)
}

/// Unpacks the packages that lie in a directory, which then has them no more.
fn unpack_all(archives: &Path, dir: &Path) -> Result<()> {
    let entries = fs::read_dir(archives).with_context(|| format!("cannot list {}", archives.display()))?;
    for file in entries.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|end| end == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            process::run_quietly(unpack.arg("--extract").arg(&file).arg(dir))?;
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    Ok(())
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// The names of the packages that match `pattern`, an extended regular expression.
pub fn names(pattern: &str) -> Result<Vec<String>> {
    if process::which("apt-cache").is_none() {
        return Ok(Vec::new());
    }
    if nix::unistd::geteuid().is_root() {
        update()?;
    }
    search(&[], pattern)
}

fn search(options: &[&str], pattern: &str) -> Result<Vec<String>> {
    let mut command = Command::new("apt-cache");
    command.args(options).args(["search", "--names-only", pattern]);
    let found = process::stdout_of(&mut command)
        .with_context(|| format!("apt-cache search {pattern} failed: run it by hand to see why"))?;
    // Each line is `name - description`.
    Ok(found
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// Refreshes the package lists, once in the life of this process.
fn update() -> Result<()> {
    static DONE: std::sync::Mutex<bool> = std::sync::Mutex::new(false);
    let mut done = DONE
        .lock()
        .map_err(|_| anyhow::anyhow!("another set-up step failed: see above"))?;
    if !*done {
        eprintln!("setup: refreshing the package lists");
        apt_get(&["update"], &[]).context("apt-get update failed: see above")?;
        *done = true;
    }
    Ok(())
}

fn apt_get(verb: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"])
        .args(verb)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    process::run_quietly(&mut command)
}
