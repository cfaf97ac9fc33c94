//! Where things are: the tree, its build output and what is kept between builds.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::processor::Processor;

/// The root of this source tree.
pub fn root() -> PathBuf {
    // cargo says at run time where this package is; a binary run by hand knows where it was built.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package
        .parent()
        .map_or_else(|| package.clone(), Path::to_path_buf)
}

/// cargo's build output, as cargo itself would choose it.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)),
        None => root().join("target"),
    }
}

/// The eBPF crate's own build output: another compiler, so another directory. What its programs see of the kernel differs with the
/// processor.
pub fn ebpf_target(processor: Processor) -> PathBuf {
    target().join(if processor.is_here() {
        "ebpf".to_owned()
    } else {
        format!("ebpf-{processor}")
    })
}

/// The object that the binary embeds.
pub fn ebpf_object(processor: Processor) -> PathBuf {
    ebpf_target(processor).join("bpfel-unknown-none/release/observer-ebpf")
}

/// How a program of this workspace is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quickly, for working on it.
    Debug,
    /// As it is shipped.
    Release,
    /// The lab: optimised a little, and linked quickly.
    Lab,
}

impl Profile {
    /// What cargo calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "dev",
            Self::Release => "release",
            Self::Lab => "lab",
        }
    }

    /// Where cargo leaves what it builds so, in the target directory.
    fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            other => other.name(),
        }
    }
}

/// A program of this workspace.
pub fn binary(name: &str, profile: Profile, processor: Processor) -> PathBuf {
    let built = if processor.is_here() {
        target()
    } else {
        target().join(processor.target())
    };
    built.join(profile.directory()).join(name)
}

/// What is built or downloaded once and serves every checkout.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            let home = env::var_os("HOME").context("neither HOME nor XDG_CACHE_HOME is set: set one")?;
            PathBuf::from(home).join(".cache")
        }
    };
    Ok(base.join("observer"))
}
