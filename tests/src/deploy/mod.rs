//! What `deploy` holds, held against itself, against what observer really does, and run as it says.

pub mod chart;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod plugin;
pub mod pod;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

/// The folder of this repository.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// One of its files.
pub fn read(name: &str) -> Result<String> {
    let path = folder().join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The documents of a file of YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(yaml).map_err(|error| anyhow::anyhow!("this is no YAML: {error}"))
}
