//! Debian's and Ubuntu's packages: what is missing is told by files, so that a second set-up asks apt nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

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
    /// The release that is preferred, such as `bookworm-backports`.
    pub release: String,
}

/// Installs a package from elsewhere, keeping apt's lists of it in `dir`: this machine's own sources stay as they are.
pub fn install_from(elsewhere: &Elsewhere, package: &str, dir: &Path) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("installing one needs root");
    }
    let list = dir.join("sources.list");
    let lists = dir.join("lists");
    fs::create_dir_all(lists.join("partial")).with_context(|| format!("cannot make {}", lists.display()))?;
    fs::write(&list, &elsewhere.sources).with_context(|| format!("cannot write {}", list.display()))?;
    let list = format!("Dir::Etc::sourcelist={}", list.display());
    let lists = format!("Dir::State::lists={}", lists.display());
    let options = ["-o", &list, "-o", "Dir::Etc::sourceparts=-", "-o", &lists];
    let apt_get = |verb: &[&str]| apt_get(&[&options, verb].concat(), &[]);
    apt_get(&["update"]).context("its sources cannot be read")?;
    eprintln!("setup: installing {package} of {}", elsewhere.release);
    apt_get(&[
        "install",
        "-y",
        "--no-install-recommends",
        "-t",
        &elsewhere.release,
        package,
    ])
    .with_context(|| format!("apt-get could not install {package}"))
}

/// The names of the packages that match `pattern`, an extended regular expression.
pub fn names(pattern: &str) -> Result<Vec<String>> {
    if process::which("apt-cache").is_none() {
        return Ok(Vec::new());
    }
    if nix::unistd::geteuid().is_root() {
        update()?;
    }
    let found = process::stdout_of(Command::new("apt-cache").args(["search", "--names-only", pattern]))
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
