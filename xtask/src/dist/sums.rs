//! `SHA256SUMS`, as `sha256sum --check` reads it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::write as write_file;
use crate::process;

const FILE: &str = "SHA256SUMS";

/// Writes the sums of all files in a directory there; returns them.
pub fn write(dir: &Path) -> Result<String> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != FILE)
        .collect();
    names.sort();
    let mut text = String::new();
    for name in names {
        text.push_str(&format!("{}  {name}\n", of(&dir.join(&name))?));
    }
    write_file(&dir.join(FILE), text.as_bytes())?;
    Ok(text)
}

/// The SHA-256 of a file, in hexadecimal digits.
pub fn of(path: &Path) -> Result<String> {
    let text = process::stdout_of(process::neutral("sha256sum").arg(path));
    let text = text.with_context(|| format!("sha256sum cannot read {}", path.display()))?;
    match text.split_whitespace().next() {
        Some(sum) if sum.len() == 64 => Ok(sum.to_owned()),
        _ => bail!("sha256sum says no sum of {}", path.display()),
    }
}
