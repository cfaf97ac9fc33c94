//! The licences of all that is linked in, with their texts as the crates ship them: most of these licences ask that they be passed on
//! with the binary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::linked::{Id, Linked};

/// How such a file's name begins.
const BEGIN: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];
/// No text of a licence is longer.
const MOST: u64 = 256 * 1024;

/// The report: a table, then each text once, with whose it is.
pub fn text(linked: &Linked) -> Result<String> {
    let mut report =
        "What is linked into observer beside its own code, and under which licences.\n\n".to_owned();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, one) in linked.crates.iter().filter(|(_, one)| one.is_foreign()) {
        let found = texts_in(&one.dir).with_context(|| format!("looking for the licence of {}", id.name))?;
        let note = if found.is_empty() {
            " (ships no text of it)"
        } else {
            ""
        };
        writeln!(report, "{:<44} {}{note}", named(id), one.licence)?;
        for text in found {
            texts.entry(text).or_default().push(named(id));
        }
    }
    for one in &linked.foreign {
        let name = format!("{} {}", one.name, one.version);
        write!(report, "\n{name:<44} {}\n{}\n", one.licence, one.note)?;
    }
    let mut sorted: Vec<(String, Vec<String>)> = texts.into_iter().collect();
    sorted.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, whose) in sorted {
        let line = "-".repeat(80);
        write!(report, "\n{line}\n{}:\n\n{text}\n", whose.join(", "))?;
    }
    Ok(report)
}

fn named(id: &Id) -> String {
    format!("{} {}", id.name, id.version)
}

/// The texts beside a crate's manifest, in the order of their names.
fn texts_in(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| is_text(file));
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn is_text(file: &Path) -> bool {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    BEGIN.iter().any(|begin| name.starts_with(begin))
        && file
            .metadata()
            .is_ok_and(|data| data.is_file() && data.len() <= MOST)
}

/// Without what differs between copies of one text and is none of it.
fn read(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n").trim_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_from_elsewhere_is_told_and_each_text_once() {
        let linked = Linked::find(crate::processor::Processor::here()).unwrap();
        let report = text(&linked).unwrap();
        for (id, one) in linked.crates.iter().filter(|(_, one)| one.is_foreign()) {
            assert!(
                report.contains(&format!("{} {}", id.name, id.version)),
                "{}",
                id.name
            );
            assert!(!one.licence.is_empty());
        }
        assert!(report.contains("glibc"));
        assert!(!report.contains("\nobserver "));
        let apache =
            "                              Apache License\n                        Version 2.0, January 2004";
        let copies = report.matches(apache).count();
        assert!((1..12).contains(&copies), "{copies}");
    }

    #[test]
    fn texts_are_read_without_what_is_none_of_them() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("LICENSE-MIT"), "\r\nMIT  \r\ntext\r\n").unwrap();
        fs::write(dir.path().join("Cargo.toml"), "").unwrap();
        fs::create_dir(dir.path().join("licenses")).unwrap();
        assert_eq!(texts_in(dir.path()).unwrap(), ["MIT\ntext"]);
    }
}
