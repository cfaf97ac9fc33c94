//! The file of `--otlp-buffer`: requests one behind the other, each with its length and how many records it has.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::outbox::Parcel;
use crate::report::escape;

/// What the file begins with.
const HEAD: &[u8; 16] = b"observer-otlp/1\n";
/// Before each request: its length in bytes and its number of records, each four bytes, the lowest first.
const MARK: usize = 8;
/// No request is longer.
const MAX_PARCEL: u32 = 64 << 20;

/// The file, and where in it things are.
pub(super) struct Spool {
    file: File,
    /// Where the oldest request begins.
    first: u64,
    /// Where the next one will.
    end: u64,
    /// How long it gets at most.
    max: u64,
    /// Records in it.
    records: u64,
}

impl Spool {
    /// Opens or creates it. A new one is the owner's alone (mode 0600); what a run before has left in it goes first.
    ///
    /// # Errors
    /// It cannot be opened, is another's, or in use: one line that says what to do.
    pub(super) fn open(path: &Path, max: u64) -> Result<Self> {
        let shown = escape(&path.to_string_lossy()).into_owned();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
            .open(path)
            .with_context(|| format!("--otlp-buffer {shown}"))?;
        // SAFETY: a call on a descriptor that is open.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            bail!("--otlp-buffer {shown}: another observer uses it; name another file");
        }
        let mut spool = Self {
            file,
            first: HEAD.len() as u64,
            end: HEAD.len() as u64,
            max,
            records: 0,
        };
        let is_ours = spool
            .recover()
            .with_context(|| format!("--otlp-buffer {shown}"))?;
        if !is_ours {
            bail!("--otlp-buffer {shown}: is no buffer of observer; name another file");
        }
        Ok(spool)
    }

    /// Finds what is in it. False if it is something else. A request that was not written whole is cut off.
    fn recover(&mut self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        if !metadata.is_file() {
            return Ok(false);
        }
        let length = metadata.len();
        if length == 0 {
            self.file.write_all_at(HEAD, 0)?;
            return Ok(true);
        }
        let mut head = [0; HEAD.len()];
        if length < HEAD.len() as u64 || self.file.read_exact_at(&mut head, 0).is_err() || head != *HEAD {
            return Ok(false);
        }
        while let Some((bytes, records)) = self.mark(self.end)? {
            let end = self.end + MARK as u64 + u64::from(bytes);
            if end > length || bytes > MAX_PARCEL {
                break;
            }
            self.end = end;
            self.records += u64::from(records);
        }
        self.file.set_len(self.end)?;
        Ok(true)
    }

    fn mark(&self, at: u64) -> io::Result<Option<(u32, u32)>> {
        let mut mark = [0; MARK];
        match self.file.read_exact_at(&mut mark, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let [a, b, c, d, e, f, g, h] = mark;
        Ok(Some((
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        )))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Puts one behind the others.
    ///
    /// # Errors
    /// There is no room for it, here or on the disk. The file is as it was.
    pub(super) fn append(&mut self, parcel: &Parcel) -> io::Result<()> {
        let framed = framed(parcel);
        if self.end + framed.len() as u64 > self.max {
            return Err(io::Error::other("it is as long as it may get"));
        }
        if let Err(error) = self.file.write_all_at(&framed, self.end) {
            // The first error is the one to tell.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += framed.len() as u64;
        self.records += u64::from(parcel.records);
        Ok(())
    }

    /// Takes the oldest out. The file keeps it until it is [settled](Self::settle): if this process dies before it is delivered, the
    /// next one delivers it.
    pub(super) fn take(&mut self) -> Option<Parcel> {
        if self.is_empty() {
            return None;
        }
        let read = self.mark(self.first).and_then(|mark| {
            let (bytes, records) = mark.ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut body = vec![0; bytes.min(MAX_PARCEL) as usize];
            self.file.read_exact_at(&mut body, self.first + MARK as u64)?;
            Ok(Parcel { body, records })
        });
        match read {
            Ok(parcel) => {
                self.first += (MARK + parcel.body.len()) as u64;
                self.records = self.records.saturating_sub(u64::from(parcel.records));
                Some(parcel)
            }
            Err(error) => {
                // Somebody else has cut it: nothing more can be read.
                log::warn!("--otlp-buffer: {error}");
                self.first = self.end;
                self.records = 0;
                None
            }
        }
    }

    /// What was taken is delivered. The room is free again when all of it is.
    pub(super) fn settle(&mut self) {
        if self.is_empty() && self.end > HEAD.len() as u64 && self.file.set_len(HEAD.len() as u64).is_ok() {
            self.first = HEAD.len() as u64;
            self.end = self.first;
        }
    }

    /// Puts these before the others, at the end of a run.
    ///
    /// # Errors
    /// There is no room, or the disk fails. Then the file has the others alone.
    pub(super) fn keep(&mut self, parcels: &[Parcel]) -> io::Result<()> {
        let mut rest = vec![0; usize::try_from(self.end - self.first).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut rest, self.first)?;
        let mut all: Vec<u8> = parcels.iter().flat_map(framed).collect();
        let kept_bytes = all.len();
        all.extend_from_slice(&rest);
        if (HEAD.len() + all.len()) as u64 > self.max.max(self.end) {
            all.drain(..kept_bytes);
            self.rewrite(&all)?;
            return Err(io::Error::other("it is as long as it may get"));
        }
        self.rewrite(&all)
    }

    fn rewrite(&mut self, all: &[u8]) -> io::Result<()> {
        self.file.write_all_at(all, HEAD.len() as u64)?;
        self.first = HEAD.len() as u64;
        self.end = self.first + all.len() as u64;
        self.file.set_len(self.end)?;
        self.file.sync_data()
    }
}

fn framed(parcel: &Parcel) -> Vec<u8> {
    let bytes = u32::try_from(parcel.body.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(MARK + parcel.body.len());
    framed.extend_from_slice(&bytes.to_le_bytes());
    framed.extend_from_slice(&parcel.records.to_le_bytes());
    framed.extend_from_slice(&parcel.body);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &str) -> Parcel {
        Parcel {
            body: text.as_bytes().to_vec(),
            records: 3,
        }
    }

    #[test]
    fn what_is_left_is_found_again_and_what_is_not_whole_is_cut_off() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("buffer");
        let mut spool = Spool::open(&path, 1000).expect("opens");
        spool.append(&parcel("one")).expect("fits");
        spool.append(&parcel("two")).expect("fits");
        assert_eq!(spool.take(), Some(parcel("one")));
        drop(spool);
        let whole = std::fs::read(&path).expect("is there");
        for cut in HEAD.len()..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("can be written");
            let mut spool = Spool::open(&path, 1000).expect("opens");
            let all: Vec<_> = std::iter::from_fn(|| spool.take()).collect();
            let complete = (cut - HEAD.len()) / (MARK + 3);
            assert_eq!(all, [parcel("one"), parcel("two")][..complete]);
        }
    }

    #[test]
    fn it_gets_no_longer_than_it_may_and_has_room_again_once_it_is_empty() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("buffer");
        let mut spool = Spool::open(&path, 16 + 2 * 11).expect("opens");
        spool.append(&parcel("one")).expect("fits");
        spool.append(&parcel("two")).expect("fits");
        assert!(spool.append(&parcel("six")).is_err());
        assert_eq!(spool.records(), 6);
        spool.take();
        spool.settle();
        assert!(spool.append(&parcel("six")).is_err(), "one is in it");
        spool.take();
        spool.settle();
        spool.append(&parcel("six")).expect("fits");
        assert_eq!(spool.take(), Some(parcel("six")));
    }

    #[test]
    fn another_file_is_left_as_it_is_and_no_link_is_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("other");
        std::fs::write(&path, "something of somebody's\n").expect("can be written");
        let refused = |path: &Path| Spool::open(path, 1000).err().map(|error| format!("{error:#}"));
        assert!(
            refused(&path)
                .expect("refuses")
                .contains("is no buffer of observer")
        );
        assert_eq!(
            std::fs::read(&path).expect("is there"),
            b"something of somebody's\n"
        );
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("can be made");
        assert!(refused(&link).is_some());
        assert!(refused(Path::new("/dev/null")).is_some());
        let ours = directory.path().join("ours");
        let _used = Spool::open(&ours, 1000).expect("opens");
        assert!(refused(&ours).expect("refuses").contains("another observer"));
    }
}
