//! The files that a package installs, and what each of them holds.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::moment::Moment;
use super::{VERSION, write};
use crate::processor::Processor;
use crate::{process, workspace};

/// Where the unit of this tree says that the program is, as an administrator installs it by hand; and where a package puts it.
const BY_HAND: &str = "/usr/local/sbin/observer";
const PACKAGED: &str = "/usr/sbin/observer";

/// What is the same in every kind of package; each knows its own places.
pub struct Payload {
    /// What the binary is for.
    pub processor: Processor,
    pub binary: PathBuf,
    /// Unpacked, as the others.
    pub man: Vec<u8>,
    pub bash: Vec<u8>,
    pub zsh: Vec<u8>,
    pub fish: Vec<u8>,
    pub unit: String,
    pub changelog: Vec<u8>,
    pub notices: String,
    pub mit: Vec<u8>,
    pub apache: Vec<u8>,
    /// The time as a changelog of Debian has it.
    pub date: String,
}

impl Payload {
    /// Asks the binary that runs on this machine for what it writes itself, and the tree for the rest.
    pub fn gather(
        processor: Processor,
        binary: &Path,
        own: &Path,
        notices: &str,
        moment: &Moment,
    ) -> Result<Self> {
        let root = workspace::root();
        let read = |name: &str| fs::read(root.join(name)).with_context(|| format!("cannot read {name}"));
        let unit = String::from_utf8(read("observer/systemd/observer.service")?).context("the unit")?;
        Ok(Self {
            processor,
            binary: binary.to_path_buf(),
            man: said(own, &["man"])?,
            bash: said(own, &["completions", "bash"])?,
            zsh: said(own, &["completions", "zsh"])?,
            fish: said(own, &["completions", "fish"])?,
            unit: packaged(&unit)?,
            changelog: read("CHANGELOG.md")?,
            notices: notices.to_owned(),
            mit: read("LICENSE-MIT")?,
            apache: read("LICENSE-APACHE")?,
            date: moment.as_mail()?,
        })
    }
}

/// The unit as a package installs it: the program's place is another, and nobody need copy anything.
fn packaged(unit: &str) -> Result<String> {
    let lines = unit.lines().filter(|line| !line.starts_with("#     install "));
    let text: String = lines
        .map(|line| format!("{}\n", line.replace(BY_HAND, PACKAGED)))
        .collect();
    let text = text.replace("systemctl daemon-reload && ", "");
    if !text.contains(&format!("ExecStart={PACKAGED} ")) || text.contains("/usr/local") {
        bail!("the unit does not start {BY_HAND} any more: see observer/systemd");
    }
    Ok(text)
}

fn said(binary: &Path, words: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(binary)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!("observer {} failed ({})", words.join(" "), output.status);
    }
    Ok(output.stdout)
}

/// Writes a file below a directory, with that mode; directories on the way are as everybody's.
pub fn place(root: &Path, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let file = root.join(path);
    let dir = file.parent().context("a file has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut above = Some(dir);
    while let Some(one) = above.filter(|one| one.starts_with(root)) {
        fs::set_permissions(one, fs::Permissions::from_mode(0o755))?;
        above = one.parent();
    }
    write(&file, bytes)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Packed by gzip, without name and time in it.
pub fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = process::neutral("gzip");
    gzip.args(["-9", "-n", "-c"]);
    let mut child = gzip
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run gzip")?;
    let mut stdin = child.stdin.take().context("gzip reads nothing")?;
    let bytes = bytes.to_vec();
    // It may write before it has read everything.
    let feeding = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().context("cannot wait for gzip")?;
    let fed = feeding.join().is_ok_and(|outcome| outcome.is_ok());
    if !fed || !output.status.success() {
        bail!("gzip failed ({})", output.status);
    }
    Ok(output.stdout)
}

/// The version's section of the changelog: its items, each as one line.
pub fn items(changelog: &str) -> Result<Vec<String>> {
    let of_version = |line: &str| line.starts_with("## ") && line.contains(VERSION);
    let section = changelog.lines().skip_while(|line| !of_version(line)).skip(1);
    let mut items: Vec<String> = Vec::new();
    for line in section.take_while(|line| !line.starts_with("## ")) {
        if let Some(begin) = line.strip_prefix("- ") {
            items.push(begin.to_owned());
        } else if let (Some(item), true) = (items.last_mut(), line.starts_with("  ")) {
            item.push(' ');
            item.push_str(line.trim());
        }
    }
    if items.is_empty() {
        bail!("CHANGELOG.md says nothing of version {VERSION}");
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_unit_starts_the_packaged_program_and_is_the_same_otherwise() {
        let unit = include_str!("../../../observer/systemd/observer.service");
        let packaged = packaged(unit).unwrap();
        let settings = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(|line| format!("{line}\n")).collect::<String>()
        };
        assert_eq!(
            settings(&packaged),
            settings(unit).replace("/usr/local/sbin/", "/usr/sbin/")
        );
        assert!(
            packaged.contains("#     systemctl enable --now observer\n"),
            "{packaged}"
        );
        assert!(super::packaged("[Service]\n").is_err());
    }

    #[test]
    fn the_items_of_the_changelog_are_those_of_the_version() {
        let text = format!("# C\n\n## {VERSION}\n\nFirst.\n\n- one\n  more\n- two\n\n## 0.0.1\n\n- old\n");
        assert_eq!(items(&text).unwrap(), ["one more", "two"]);
        assert!(items("# C\n").is_err());
        items(include_str!("../../../CHANGELOG.md")).unwrap();
    }

    #[test]
    fn what_is_packed_is_the_same_each_time_and_unpacks_to_what_it_was() {
        let text = "line\n".repeat(100_000);
        let once = packed(text.as_bytes()).unwrap();
        assert_eq!(once, packed(text.as_bytes()).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("text.gz");
        fs::write(&file, once).unwrap();
        let back = process::stdout_of(Command::new("gzip").arg("-dc").arg(&file));
        assert_eq!(back.as_deref(), Some(text.as_str()));
    }
}
