//! `--write FILE`: the trace as JSON beside what the screen shows.

use std::io;
use std::path::Path;

use super::Report;
use super::json::encode;
use super::kept::KeptFile;
use super::record::{Line, Time};

/// A trace file. It always ends in a whole line, also when the disk fills up.
pub struct TraceFile {
    file: KeptFile,
    buffer: Vec<u8>,
}

impl TraceFile {
    /// Creates or opens `path`; its first line empties it.
    ///
    /// # Errors
    /// What the system says; `ELOOP` if `path` is a symbolic link.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: KeptFile::create(path)?,
            buffer: Vec::new(),
        })
    }

    /// Makes `path`, which must not be there.
    ///
    /// # Errors
    /// What the system says; `EEXIST` if there is anything of that name.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: KeptFile::create_new(path)?,
            buffer: Vec::new(),
        })
    }
}

impl Report for TraceFile {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        encode(line, &mut self.buffer)?;
        self.file.append(&self.buffer)
    }

    fn tick(&mut self, _now: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.sync()
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
