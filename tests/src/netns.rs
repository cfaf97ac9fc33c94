//! Named network namespaces: make one, run code in it, take it away.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Where `ip netns` and observer look for the names of network namespaces.
pub const NAMES_DIR: &str = "/run/netns";

/// A network namespace with a name under `/run/netns`. Dropping it removes the name; the kernel frees the
/// namespace with its last socket.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Makes a new namespace and binds it to `name`.
    pub fn create(name: &str) -> Result<Self> {
        let path = name_path(name);
        std::fs::create_dir_all(NAMES_DIR).with_context(|| format!("cannot create {NAMES_DIR}"))?;
        File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let bound = in_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET): run as root")?;
            let here = Path::new("/proc/thread-self/ns/net");
            mount(Some(here), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("cannot bind a namespace to {}", path.display()))
        });
        if let Err(error) = bound {
            remove_name(name);
            return Err(error);
        }
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    /// The name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inode number that identifies the namespace in the kernel.
    pub fn inode(&self) -> Result<u64> {
        Ok(self.file.metadata().context("cannot stat a namespace")?.ino())
    }

    /// The open namespace, for `setns`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs `work` in a thread that lives in this namespace. Sockets made there stay in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_new_thread(|| {
            setns(self.fd(), CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter namespace {}", self.name))?;
            work()
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove_name(&self.name);
    }
}

/// Removes a name from `/run/netns`; what is not there is no error, so that cleaning up can be repeated.
pub fn remove_name(name: &str) {
    let path = name_path(name);
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = std::fs::remove_file(&path);
}

/// The file that carries a namespace's name.
pub fn name_path(name: &str) -> PathBuf {
    Path::new(NAMES_DIR).join(name)
}

fn in_new_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .unwrap_or_else(|_| Err(anyhow!("a thread in a namespace panicked")))
    })
}
