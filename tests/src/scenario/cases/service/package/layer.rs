//! `/usr`, which the machine shares with another, with a layer in memory above it; and what has been written there and elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::exec;

/// Where what is written to these directories goes: the virtual machine has laid it out so (`cargo xtask vm --systemd`).
const WRITTEN: [(&str, &str); 2] = [("/etc", "/run/above/etc"), ("/var", "/run/above/var")];

pub(super) struct Layer {
    upper: PathBuf,
}

impl Layer {
    /// One of its own for each kind of package: programs that were started from another one may still hold it.
    pub(super) fn over_usr(kind: &str) -> Result<Self> {
        let above = Path::new("/run/above-usr").join(kind);
        let (upper, work) = (above.join("upper"), above.join("work"));
        for dir in [&upper, &work] {
            fs::create_dir_all(dir)?;
        }
        let options = format!(
            "xino=off,lowerdir=/usr,upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        exec::run(
            None,
            "mount",
            &["-t", "overlay", "-o", &options, "usr", "/usr"],
            "",
        )?;
        let layer = Self { upper };
        // The other machine may be a container, whose packages must start and stop nothing; this one is none.
        exec::run(None, "rm", &["--force", "/usr/sbin/policy-rc.d"], "")?;
        Ok(layer)
    }

    /// What has been written anywhere: files, and directories that are called after observer.
    pub(super) fn written(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let usr = ("/usr", &*self.upper.to_string_lossy());
        for (dir, upper) in WRITTEN.into_iter().chain([usr]) {
            let which = ["!", "-type", "d", "-o", "-name", "*observer*"];
            let list = exec::run(None, "find", &[&[upper], &which[..]].concat(), "")?;
            let lines = list.lines().filter_map(|line| line.strip_prefix(upper));
            found.extend(lines.map(|line| format!("{dir}{line}")));
        }
        found.sort();
        Ok(found)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // Programs that were started meanwhile are of it.
        let _ = exec::run(None, "umount", &["--lazy", "/usr"], "");
    }
}
