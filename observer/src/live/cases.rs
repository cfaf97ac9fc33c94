//! Keeps the packet and the rules of which kernel and replay are at odds, as `observer explain` takes them: only where the person
//! asked for it, a few cases only, and nothing that is there already is touched.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::unistd::AccessFlags;

use crate::diagnose::owners::is_plain;
use crate::report::record::Line;
use crate::report::{escape, json};

/// So many cases are kept in a directory, those of earlier runs included.
const MOST: u32 = 16;
/// Larger rulesets are not kept.
const MOST_BYTES: usize = 64 << 20;

/// A ruleset as a tool prints it: the ending of its file's name, and the text.
pub type Printed = (&'static str, String);

/// Where cases are kept.
pub struct Cases {
    directory: PathBuf,
    /// What is known of: each is kept once.
    known: HashSet<String>,
    /// That one could not be kept has been said.
    said: bool,
}

/// Whether cases can be kept there; the directory is made if it is not there.
///
/// # Errors
/// It is none, or cannot be made.
pub fn check(directory: &Path) -> Result<()> {
    Cases::open(directory).map(drop)
}

/// Whether this process can put files there, with the rights that it has kept.
///
/// # Errors
/// It cannot.
pub fn check_writable(directory: &Path) -> Result<()> {
    let can = nix::unistd::eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK);
    can.with_context(|| {
        format!(
            "--keep-disagreements {}: observer gives up root's right to write where it likes; name a directory of its own \
             user, or one that is not there yet",
            directory.display()
        )
    })
}

impl Cases {
    /// Keeps them there; the directory is made if it is not there.
    ///
    /// # Errors
    /// It is none, or cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        let made = DirBuilder::new().mode(0o700).create(directory);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // A link to one is none: it may lead anywhere.
            _ if !directory.symlink_metadata().is_ok_and(|data| data.is_dir()) => {
                Err(io::Error::from(io::ErrorKind::NotADirectory))
            }
            _ => Ok(()),
        }
        .with_context(|| format!("--keep-disagreements {}", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            known: HashSet::new(),
            said: false,
        })
    }

    /// Keeps a drop and the rulesets that `print` finds, and returns the command that shows it again; `None` if it was kept
    /// before, there is no room, or it cannot be written.
    pub fn keep(
        &mut self,
        what: String,
        line: &Line,
        print: impl FnOnce() -> Option<Vec<Printed>>,
    ) -> Option<String> {
        if self.known.len() >= MOST as usize || !self.known.insert(what) {
            return None;
        }
        match self.write(line, &print()?) {
            Ok(command) => command,
            Err(error) => {
                self.say(&error);
                None
            }
        }
    }

    /// Once: what is watched goes on.
    fn say(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.said, true) {
            return;
        }
        let advice = if error.kind() == io::ErrorKind::StorageFull {
            "; free some space"
        } else {
            ""
        };
        let _ = writeln!(
            io::stderr(),
            "observer: --keep-disagreements {}: {error}{advice}; the case is not kept",
            escape(&self.directory.to_string_lossy())
        );
    }

    fn write(&self, line: &Line, printed: &[Printed]) -> io::Result<Option<String>> {
        if printed.iter().any(|(_, text)| text.len() > MOST_BYTES) {
            return Ok(None);
        }
        let Some((number, mut file)) = self.next()? else {
            return Ok(None);
        };
        let mut trace = json(line)?;
        trace.push('\n');
        let mut command = format!(
            "observer explain --from-trace {} --line 1",
            self.path(number, "trace.json").display()
        );
        // The trace last: a case that has one is whole.
        for (ending, text) in printed {
            let path = self.path(number, ending);
            fill(&mut create(&path)?, text.as_bytes())?;
            command.push_str(&format!(" --ruleset {}", path.display()));
        }
        fill(&mut file, trace.as_bytes())?;
        let directory = self.directory.to_string_lossy();
        // A name that a shell would read as more than a word is not put into a command.
        Ok(is_plain(&directory).then_some(command))
    }

    /// The first number that is free, with its trace.
    fn next(&self) -> io::Result<Option<(u32, File)>> {
        for number in 1..=MOST {
            match create(&self.path(number, "trace.json")) {
                Ok(file) => return Ok(Some((number, file))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn path(&self, number: u32, ending: &str) -> PathBuf {
        self.directory.join(format!("disagreement-{number}.{ending}"))
    }
}

/// A new file: what is there, or a link, is never written to.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes all of it, or leaves the file empty: half of a trace or of rules would be taken for all.
fn fill(file: &mut File, text: &[u8]) -> io::Result<()> {
    file.write_all(text).inspect_err(|_| {
        // The error to tell is the first one.
        let _ = file.set_len(0);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::read_drop;
    use crate::report::record::samples;

    #[test]
    fn nothing_is_written_through_a_link() {
        let outside = tempfile::tempdir().expect("a directory");
        let directory = tempfile::tempdir().expect("a directory");
        let planted = outside.path().join("planted");
        let link =
            |name: &str| std::os::unix::fs::symlink(&planted, directory.path().join(name)).expect("a link");
        link("disagreement-1.trace.json");
        link("disagreement-2.nft.json");
        let mut cases = Cases::open(directory.path()).expect("a directory");
        let line = samples::drop_line(samples::policy_drop());
        // The first number is taken; of the second the rules cannot be kept.
        assert_eq!(
            cases.keep("a".to_owned(), &line, || Some(vec![(
                "nft.json",
                "{}".to_owned()
            )])),
            None
        );
        assert!(!planted.exists(), "a file was made through a link");
        // A trace without its rules would be explained by none.
        let half = directory.path().join("disagreement-2.trace.json");
        assert_eq!(std::fs::read(half).expect("it was made"), b"");
        let to_directory = outside.path().join("link");
        std::os::unix::fs::symlink(directory.path(), &to_directory).expect("a link");
        assert!(Cases::open(&to_directory).is_err());
    }

    #[test]
    fn a_case_is_kept_once_and_read_again_and_no_more_than_a_few_are() {
        let directory = std::env::temp_dir().join(format!("observer-cases-{}", std::process::id()));
        let mut cases = Cases::open(&directory).expect("a directory");
        let line = samples::drop_line(samples::policy_drop());
        let printed = || Some(vec![("nft.json", "{}".to_owned())]);
        let command = cases.keep("a".to_owned(), &line, printed).expect("kept");
        let trace = directory.join("disagreement-1.trace.json");
        let rules = directory.join("disagreement-1.nft.json");
        assert_eq!(
            command,
            format!(
                "observer explain --from-trace {} --line 1 --ruleset {}",
                trace.display(),
                rules.display()
            )
        );
        assert_eq!(read_drop(&trace, 1).expect("a drop").1, samples::policy_drop());
        let never = || unreachable!("it is kept already");
        assert_eq!(cases.keep("a".to_owned(), &line, never), None);
        let mut others = Cases::open(&directory).expect("it is there");
        for number in 2..=MOST {
            assert!(others.keep(number.to_string(), &line, printed).is_some());
        }
        let mut more = Cases::open(&directory).expect("it is there");
        assert_eq!(more.keep("b".to_owned(), &line, printed), None, "no room");
        std::fs::remove_dir_all(&directory).expect("removed");
        assert!(Cases::open(Path::new("/dev/null")).is_err());
    }
}
