//! `--write FILE`: the trace as JSON beside what the screen shows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Report;
use super::json::encode;
use super::record::{Line, Time};

/// A trace file. It always ends in a whole line, also when the disk fills up.
pub struct TraceFile {
    file: File,
    /// Bytes of whole lines written so far.
    whole: u64,
    buffer: Vec<u8>,
}

impl TraceFile {
    /// Creates or opens `path`; its first line empties it. A new file is the owner's alone (mode 0600): packets tell who talks to whom.
    ///
    /// # Errors
    /// What the system says; `ELOOP` if `path` is a symbolic link, which is never followed.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY);
        Ok(Self {
            file: options.open(path)?,
            whole: 0,
            buffer: Vec::new(),
        })
    }
}

impl TraceFile {
    /// Takes away what an older trace has left. What is no ordinary file keeps nothing.
    fn empty(&mut self) -> io::Result<()> {
        match self.file.metadata()?.is_file() {
            true => self.file.set_len(0),
            false => Ok(()),
        }
    }
}

impl Report for TraceFile {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        encode(line, &mut self.buffer)?;
        if self.whole == 0 {
            self.empty()?;
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            // Not every file can be cut (a pipe); the error to tell is the first one.
            let _ = self.file.set_len(self.whole);
            return Err(error);
        }
        self.whole += self.buffer.len() as u64;
        Ok(())
    }

    fn tick(&mut self, _now: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.file.sync_data() {
            // A pipe or /dev/null has nothing to sync.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::report::record::samples;

    #[test]
    fn the_file_is_the_owners_alone_and_holds_the_trace() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("trace.json");
        let mut file = TraceFile::create(&path).expect("creates");
        for line in samples::all() {
            file.line(&line).expect("writes");
        }
        file.finish().expect("syncs");
        assert_eq!(
            fs::metadata(&path).expect("is there").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_to_string(&path).expect("reads").lines().count(),
            samples::all().len()
        );
    }

    #[test]
    fn an_older_trace_is_there_until_the_first_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("trace.json");
        fs::write(&path, "older and longer than a line of a trace\n".repeat(100)).expect("writes");
        let mut file = TraceFile::create(&path).expect("opens");
        assert!(fs::read_to_string(&path).expect("reads").starts_with("older"));
        file.line(&samples::lost_line()).expect("writes");
        let text = fs::read_to_string(&path).expect("reads");
        assert_eq!((text.lines().count(), text.contains("older")), (1, false));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "keep").expect("writes");
        symlink(&target, &link).expect("links");
        let error = TraceFile::create(&link).err().expect("refuses");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        assert_eq!(fs::read_to_string(&target).expect("reads"), "keep");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut full = TraceFile::create(Path::new("/dev/full")).expect("opens");
        let error = full.line(&samples::lost_line()).expect_err("is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
