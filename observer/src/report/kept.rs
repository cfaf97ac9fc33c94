//! A file that is written beside what the screen shows, piece by piece.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file that always ends in a whole piece, also when the disk fills up.
pub struct KeptFile {
    file: File,
    /// Bytes of whole pieces written so far.
    whole: u64,
}

impl KeptFile {
    /// Creates or opens `path`; what is appended first empties it. A new file is the owner's alone (mode 0600): packets tell who
    /// talks to whom.
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
        })
    }

    /// Makes `path`, which must not be there; else as [`KeptFile::create`].
    ///
    /// # Errors
    /// What the system says; `EEXIST` also if `path` is a symbolic link.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY);
        Ok(Self {
            file: options.open(path)?,
            whole: 0,
        })
    }

    /// Appends a whole piece.
    ///
    /// # Errors
    /// What the system says; the file then ends with the piece before.
    pub fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.whole == 0 {
            self.empty()?;
        }
        if let Err(error) = self.file.write_all(piece) {
            // Not every file can be cut (a pipe); the error to tell is the first one.
            let _ = self.file.set_len(self.whole);
            return Err(error);
        }
        self.whole += piece.len() as u64;
        Ok(())
    }

    /// Waits until it is on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_data() {
            // A pipe or /dev/null has nothing to sync.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }

    /// Takes away what was there before. What is no ordinary file keeps nothing.
    fn empty(&mut self) -> io::Result<()> {
        match self.file.metadata()?.is_file() {
            true => self.file.set_len(0),
            false => Ok(()),
        }
    }
}
