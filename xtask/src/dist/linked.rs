//! What is linked into the binary: the crates of observer and of its kernel programs, as cargo resolves them for what is shipped, and what
//! comes with the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::processor::Processor;
use crate::{process, toolchain, workspace};

/// Everything that is linked in.
pub struct Linked {
    /// By name and version.
    pub crates: BTreeMap<Id, Crate>,
    /// What no registry of crates has.
    pub foreign: Vec<Foreign>,
}

/// A crate's name and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub name: String,
    pub version: String,
}

/// A crate that is linked in.
pub struct Crate {
    /// As SPDX writes it.
    pub licence: String,
    /// Where its source is.
    pub dir: PathBuf,
    /// The SHA-256 of its archive; none of ours.
    pub checksum: Option<String>,
    /// What it is linked with, of the same set.
    pub needs: BTreeSet<Id>,
}

impl Crate {
    /// Whether it comes from elsewhere.
    pub fn is_foreign(&self) -> bool {
        self.checksum.is_some()
    }
}

/// A library that is linked in and is no crate.
pub struct Foreign {
    pub name: &'static str,
    pub version: String,
    pub licence: &'static str,
    /// What whoever passes the binary on should know.
    pub note: &'static str,
}

impl Linked {
    /// Asks cargo.
    pub fn find(processor: Processor) -> Result<Self> {
        let mut wanted = tree("observer", processor.target())?;
        wanted.append(&mut tree("observer-ebpf", toolchain::TARGET)?);
        let metadata = metadata()?;
        let sums = checksums(
            &fs::read_to_string(workspace::root().join("Cargo.lock")).context("cannot read Cargo.lock")?,
        );
        let crates = gathered(&metadata, &wanted, &sums)?;
        if let Some(missing) = wanted.iter().find(|id| !crates.contains_key(id)) {
            bail!(
                "cargo links {} {}, and does not describe it",
                missing.name,
                missing.version
            );
        }
        Ok(Self {
            crates,
            foreign: foreign(processor)?,
        })
    }
}

/// The crates that are linked into one of the workspace's: not those that only build scripts and macros are built with.
fn tree(package: &str, target: &str) -> Result<BTreeSet<Id>> {
    let mut cargo = process::cargo();
    cargo.args(["tree", "--locked", "--quiet", "--package", package]);
    cargo.args(["--target", target, "--edges", "normal,no-proc-macro"]);
    cargo.args(["--prefix", "none", "--format", "{p}"]);
    let text =
        process::stdout_of(&mut cargo).with_context(|| format!("cargo cannot list what {package} needs"))?;
    Ok(text.lines().filter_map(listed).collect())
}

/// A line of `cargo tree`: `name v1.2.3`, and for ours where it is.
fn listed(line: &str) -> Option<Id> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    Some(Id { name, version })
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

fn metadata() -> Result<Metadata> {
    let mut cargo = process::cargo();
    cargo.args(["metadata", "--locked", "--quiet", "--format-version", "1"]);
    let text = process::stdout_of(&mut cargo).context("cargo cannot describe what is linked in")?;
    serde_json::from_str(&text).context("cargo describes what is linked in otherwise than expected")
}

fn gathered(
    metadata: &Metadata,
    wanted: &BTreeSet<Id>,
    sums: &BTreeMap<Id, String>,
) -> Result<BTreeMap<Id, Crate>> {
    let id_of = |package: &Package| Id {
        name: package.name.clone(),
        version: package.version.clone(),
    };
    let ids: BTreeMap<&str, Id> = metadata
        .packages
        .iter()
        .map(|package| (package.id.as_str(), id_of(package)))
        .collect();
    let mut crates = BTreeMap::new();
    for package in &metadata.packages {
        let id = id_of(package);
        if !wanted.contains(&id) {
            continue;
        }
        let checksum = sums.get(&id).cloned();
        if package.source.is_some() && checksum.is_none() {
            bail!("Cargo.lock has no checksum of {} {}", id.name, id.version);
        }
        let node = metadata.resolve.nodes.iter().find(|node| node.id == package.id);
        let needs = node.into_iter().flat_map(|node| &node.dependencies);
        let needs = needs.filter_map(|id| ids.get(id.as_str()));
        let licence = package.license.clone();
        let dir = package.manifest_path.parent();
        let made = Crate {
            licence: licence.with_context(|| format!("{} says no licence", id.name))?,
            dir: dir.context("a manifest has a directory")?.to_path_buf(),
            checksum,
            needs: needs.filter(|id| wanted.contains(id)).cloned().collect(),
        };
        crates.insert(id, made);
    }
    Ok(crates)
}

/// The checksums of a `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            package.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(" = ")?;
                Some(value.trim_matches('"').to_owned())
            })
        };
        if let (Some(name), Some(version), Some(sum)) = (field("name"), field("version"), field("checksum")) {
            found.insert(Id { name, version }, sum);
        }
    }
    found
}

/// Rust's library, and what a static link takes of the C library's and the compiler's.
fn foreign(processor: Processor) -> Result<Vec<Foreign>> {
    let rustc = process::rustc_says(&["-vV"])?;
    let release = rustc.lines().find_map(|line| line.strip_prefix("release: "));
    let gcc = processor.tool("gcc");
    let glibc = glibc(&gcc)?;
    let version = process::stdout_of(Command::new(&gcc).arg("-dumpfullversion"));
    Ok(vec![
        Foreign {
            name: "rust-std",
            version: release
                .context("rustc does not tell its release")?
                .trim()
                .to_owned(),
            licence: "MIT OR Apache-2.0",
            note: "Rust's standard library, linked statically. Its source has the licences of what is in it.",
        },
        Foreign {
            name: "glibc",
            version: glibc,
            licence: "LGPL-2.1-or-later",
            note: "The GNU C library, linked statically and unchanged. Whoever wants another version in it builds \
                   observer from its source, which is complete and free: `cargo xtask build --release` links the one of \
                   the machine that it runs on.",
        },
        Foreign {
            name: "libgcc",
            version: version
                .with_context(|| format!("{gcc} cannot tell its version"))?
                .trim()
                .to_owned(),
            licence: "GPL-3.0-or-later WITH GCC-exception-3.1",
            note: "GCC's runtime library, for unwinding, linked statically: its exception allows that for programs under any \
                   licence.",
        },
    ])
}

/// The version of the C library that a compiler links.
fn glibc(gcc: &str) -> Result<String> {
    let mut command = Command::new(gcc);
    command.args(["-E", "-dM", "-include", "features.h", "-x", "c", "/dev/null"]);
    let macros = process::stdout_of(&mut command).with_context(|| format!("{gcc} finds no C library"))?;
    let value = |name: &str| {
        let define = format!("#define {name} ");
        macros.lines().find_map(|line| line.strip_prefix(&define))
    };
    let (major, minor) = value("__GLIBC__")
        .zip(value("__GLIBC_MINOR__"))
        .with_context(|| format!("the C library of {gcc} is not the GNU one"))?;
    Ok(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_in_is_there_and_what_only_builds_it_is_not() {
        let linked = Linked::find(Processor::here()).unwrap();
        let has = |name: &str| linked.crates.keys().any(|id| id.name == name);
        for inside in [
            "observer",
            "observer-common",
            "observer-ebpf",
            "aya",
            "aya-ebpf",
            "clap",
        ] {
            assert!(has(inside), "{inside}");
        }
        for outside in ["observer-tests", "xtask", "serde_derive", "boon", "libfuzzer-sys"] {
            assert!(!has(outside), "{outside}");
        }
        for (id, one) in &linked.crates {
            assert_eq!(one.is_foreign(), !id.name.starts_with("observer"), "{}", id.name);
            for needed in &one.needs {
                assert!(linked.crates.contains_key(needed), "{needed:?}");
            }
        }
    }

    #[test]
    fn checksums_are_those_of_crates_that_have_one() {
        let lock = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ff\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let id = Id {
            name: "a".into(),
            version: "1.0.0".into(),
        };
        assert_eq!(checksums(lock), BTreeMap::from([(id, "ff".to_owned())]));
    }
}
